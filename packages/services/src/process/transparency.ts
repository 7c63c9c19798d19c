import { join } from 'node:path'
import { signOperatorStatement } from 'veritee/admission'
import { toHex } from 'veritee/bytes'
import type { SigningKey } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { Appender } from '../log/appender.ts'
import { Outbox } from '../log/outbox.ts'
import type { Report } from './logs/log.ts'
import type { Metrics } from './metrics.ts'
import type { Readiness } from './readiness.ts'

export interface TransparencyConfig {
  readonly url: string | null
  readonly origin: string | null
  readonly promise_seconds: number
  readonly outbox: string | null
}

/** Throws `config_invalid` for half of a log. */
export function checkTransparency({ url, origin, outbox }: TransparencyConfig): void {
  if ((url === null) !== (origin === null)) throw fail('config_invalid', 'transparency: expected both url and origin, or neither')
  if (url === null && outbox !== null) throw fail('config_invalid', 'transparency.outbox: expected none without a log')
}

/**
 * Opens the way to the log that a configuration names; null where it names none. What an earlier process left is submitted first. With `inMemory` (as receipts are) nothing is kept on the disk, and a crash
 * breaks the promises of the last moments; it is said. Throws `file_unavailable`.
 */
export async function openTransparency(options: {
  readonly config: TransparencyConfig
  readonly state: string
  readonly inMemory: boolean
  readonly operator: SigningKey | null
  readonly report: Report
  readonly now: () => Date
}): Promise<Appender | null> {
  const { config, state, inMemory, operator, report, now } = options
  const { url, origin } = config
  if (url === null || origin === null) return null
  const outbox = await Outbox.open(inMemory ? null : (config.outbox ?? join(state, 'log-outbox')))
  if (inMemory) report('what is promised to the log is in memory only: a crash breaks promises', { event: 'store.opened', level: 'warn' })
  else if (outbox.kept.length > 0) report(`${outbox.kept.length} statements of earlier runs wait for the log`, { event: 'store.opened' })
  const operatorOf = async (keysetDigest: string): Promise<{ key: string; signature: string } | null> =>
    operator === null ? null : { key: toHex(operator.publicKey), signature: await signOperatorStatement(keysetDigest, operator) }
  return new Appender({ origin, url, promiseSeconds: config.promise_seconds, outbox, operatorOf, now })
}

/** Figures of the way to the log, and readiness where promises are at risk. */
export function showTransparency(appender: Appender | null, metrics: Metrics, readiness: Readiness): void {
  if (appender === null) return
  readiness.add('log_promises_at_risk', () => appender.risks)
  metrics.gauge('veritee_log_outbox_statements', 'Statements that wait for the transparency log.', () => [[{}, appender.waiting]])
  metrics.total('veritee_log_submitted_total', 'Statements that the transparency log has taken.', () => [[{}, appender.totals.submitted]])
  metrics.total('veritee_log_submission_failures_total', 'Submissions that failed.', () => [[{}, appender.totals.failures]])
}
