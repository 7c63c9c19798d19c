import { audit } from './evidence/audit.ts'
import { bundleCreate, bundleVerify } from './evidence/bundle.ts'
import { collateral } from './evidence/collateral.ts'
import { epochVerify } from './evidence/epoch.ts'
import { fraudVerify } from './evidence/fraud.ts'
import { inspect } from './evidence/inspect.ts'
import { logFork, logInclusion, logVerify } from './evidence/log.ts'
import { receipt } from './evidence/receipt.ts'
import { replay, replayCalibrate } from './evidence/replay.ts'
import { verify } from './evidence/verify.ts'
import { policyAccept } from './policies/accept.ts'
import { policyInit } from './policies/init.ts'
import { policyCheck, policyExplain } from './policies/read.ts'
import { proxy } from './proxy/proxy.ts'
import { chat } from './service/chat.ts'
import { watch } from './service/watch.ts'
import type { Command } from './terminal/command.ts'

/** Every command, in the order in which help tells of them. `completions` is made of this table, and stands in `veritee.ts`. */
export const commands: readonly Command[] = [
  verify,
  watch,
  chat,
  proxy,
  receipt,
  bundleCreate,
  bundleVerify,
  audit,
  fraudVerify,
  epochVerify,
  logInclusion,
  logVerify,
  logFork,
  replay,
  replayCalibrate,
  policyInit,
  policyAccept,
  policyCheck,
  policyExplain,
  collateral,
  inspect,
]
