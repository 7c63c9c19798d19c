import { toHex } from '../../bytes/hex.ts'
import type { QuoteClaims } from '../claims.ts'
import type { Chain } from '../pki/chain.ts'
import type { Quote } from '../quote/quote.ts'
import { isSgxDebug, sgxClaims } from '../sgx/report.ts'
import type { TcbEvaluation } from '../tcb/evaluate.ts'
import type { QeIdentity } from '../tcb/qe-identity.ts'
import type { TcbInfo } from '../tcb/tcb-info.ts'
import { isTdDebug, tdxClaims } from '../tdx/report.ts'
import { type Pck, pckAuthority } from './pck.ts'
import type { RevocationLists } from './revocation.ts'
import type { Session } from './session.ts'

/** Puts into words what the steps established. It checks nothing: only `verifyQuote` may call the result verified. */
export function collectClaims(
  session: Session,
  quote: Quote,
  pck: Pck,
  lists: RevocationLists,
  tcbInfo: TcbInfo,
  identity: QeIdentity,
  tcb: TcbEvaluation,
): QuoteClaims {
  const { sgx } = pck
  const { body } = quote
  const hex = toHex(body.bytes)
  const [infoIssued, identityIssued, listIssued] = [tcbInfo.issueDate.getTime(), identity.issueDate.getTime(), lists.pck.thisUpdate.getTime()]
  return {
    quoteVersion: quote.version,
    body: body.kind === 'sgx' ? sgxClaims(body, hex) : tdxClaims(body, hex),
    debug: body.kind === 'sgx' ? isSgxDebug(body) : isTdDebug(body),
    reportData: body.kind === 'sgx' ? hex.slice(2 * 320, 2 * 384) : hex.slice(2 * 520, 2 * 584),
    platform: {
      ppid: sgx.ppid,
      fmspc: sgx.fmspc,
      pceId: sgx.pceId,
      cpuSvn: sgx.cpuSvn,
      pceSvn: sgx.pceSvn,
      platformInstanceId: sgx.platformInstanceId,
      dynamicPlatform: sgx.dynamicPlatform,
      cachedKeys: sgx.cachedKeys,
      smtEnabled: sgx.smtEnabled,
      ca: pckAuthority(pck),
    },
    tcb: {
      status: tcb.launch.status,
      tcbDate: tcb.launch.tcbDate,
      advisories: tcb.launch.advisories,
      launch: tcb.launch,
      current: tcb.current,
      evaluationDataNumber: Math.min(tcbInfo.evaluationDataNumber, identity.evaluationDataNumber),
    },
    simulated: pck.simulated,
    collateral: {
      earliestIssue: new Date(Math.min(infoIssued, identityIssued, listIssued)),
      latestIssue: new Date(Math.max(infoIssued, identityIssued, listIssued)),
      earliestExpiration: earliestEnd(session.chains, tcbInfo, identity, lists),
    },
    trailingBytes: quote.trailingBytes,
  }
}

function earliestEnd(chains: readonly Chain[], tcbInfo: TcbInfo, identity: QeIdentity, { root, pck }: RevocationLists): Date {
  let end = Math.min(tcbInfo.nextUpdate.getTime(), identity.nextUpdate.getTime(), root.nextUpdate.getTime(), pck.nextUpdate.getTime())
  for (const { certificates } of chains) for (const { notAfter } of certificates) end = Math.min(end, notAfter.getTime())
  return new Date(end)
}
