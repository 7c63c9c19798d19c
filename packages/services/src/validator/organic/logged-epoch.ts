import type { FraudContext } from 'veritee/fraud'
import { parseTlogProof } from 'veritee/log'
import { epochWindow, type ScoringPolicy } from 'veritee/scoring'
import type { ContentAudits } from '../content/replay.ts'
import { type LoggedEpoch, settlingLog } from '../epoch/logged.ts'
import type { LogAccess } from '../log/access.ts'
import { type Agreeing, agreeOn } from '../log/agree.ts'
import type { Clock } from '../log/patience.ts'
import { NamedReports } from '../named-reports.ts'
import type { EpochStore } from '../store/epoch-store.ts'
import { auditOrganic, hidden, type OrganicContext } from './audit.ts'
import { Reports } from './reports.ts'
import { Window } from './window.ts'

export interface LoggedEpochOptions {
  readonly access: LogAccess
  /** Of the proof of the seed, a tlog-proof. */
  readonly seedProof: string
  readonly clock: Clock
  readonly policy: ScoringPolicy
  readonly epoch: number
  /** Of the admission manifest. */
  readonly salt: string
  /** Ed25519, 32 bytes hex. */
  readonly validator: string
  /** Whose evidence counts. */
  readonly evidence: Omit<FraudContext, 'at'>
  readonly store: EpochStore
  /** URLs of controllers, whose workers may be unknown to own probes. */
  readonly controllers: readonly string[]
  /** Contents that requesters handed over; null where none are taken. */
  readonly contents: ContentAudits | null
  /** Others with whom checkpoints are agreed on; null without any. */
  readonly agreeing: Agreeing | null
}

/** What an epoch does with the log of its policy. Its receipts are looked for until the middle of the next epoch, leaves audited a quarter longer: the commitment to the records is due at its end. */
export function loggedEpoch({
  access,
  seedProof,
  clock,
  policy,
  epoch,
  salt,
  validator,
  evidence,
  store,
  controllers,
  contents,
  agreeing,
}: LoggedEpochOptions): LoggedEpoch {
  const { length } = policy.epoch
  const window = epochWindow(policy, epoch)
  const context: OrganicContext = {
    network: policy.network,
    salt,
    validator,
    epoch,
    ...window,
    ...evidence,
    origin: access.trust.origin,
    window: new Window(access),
    reports: new Reports(store, new NamedReports(store, epoch), controllers),
    contents,
  }
  return {
    access,
    settling: settlingLog(access, parseTlogProof(seedProof).checkpoint, clock),
    closes: window.closes,
    agree: agreeing === null ? null : (name, own, from) => agreeOn({ epoch, name, own, from }, agreeing),
    settleBy: window.closes + length / 2,
    until: window.closes + (3 * length) / 4,
    probability: policy.organic.probability,
    audit: (index, leaf) => auditOrganic(context, index, leaf),
    giveUp: (index, leaf) => hidden(context, index, leaf),
  }
}
