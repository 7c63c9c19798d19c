import { fromHex, leafHash, toHex } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { type AuditView, auditViewOf, logEntry } from 'veritee/log'
import { parseReceipt } from 'veritee/receipt'
import type { AuditedView, Obstacle, UnsignedAuditRecord } from 'veritee/scoring'
import type { AuditEvidence, Audited } from '../audit/audit.ts'
import type { LogAccess } from './access.ts'

/** Seconds that a checkpoint may be behind what the log has. */
const graceSeconds = 60

/**
 * Looks for the receipt of an audit of own traffic in the log that it promised (rule S21), and says in the record where it stands. Null where it is not to be told yet: it is not there, and the promise is
 * not due, or the log does not answer; from `until` on (Unix seconds) that is an obstacle, and such an audit no pass. A log that shows two histories throws `log_fork`.
 *
 * Absent after its promise, it is `log_omitted`, and the worker at fault: what must stand in the log follows from the receipt and the key that it commits to. Another key is none of it, and there is nothing to
 * look for then; what came of such an audit stays.
 */
export async function settle(audited: Audited, log: LogAccess, now: Date, until: number): Promise<Audited | null> {
  const view = await viewOf(audited.evidence)
  if (view === null || view.log.origin !== log.trust.origin) return audited
  const entry = await logEntry(view)
  let why: Obstacle
  try {
    const there = await placeOf(log, entry)
    if (there !== null) return placed(audited, there)
    // Without its key the view is not known, as where an answer was withheld: there is nothing to wait for.
    if (audited.evidence.receiptKey === null) return audited
    const head = await log.checkpoint()
    if (head.witnessedAt > view.log.promised_by + graceSeconds) {
      // It may have come between the two.
      const late = await placeOf(log, entry)
      return late === null ? omitted(audited) : placed(audited, late)
    }
    why = 'log_pending'
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.code === 'log_fork') throw error
    why = 'log_unavailable'
  }
  if (now.getTime() < until * 1000) return null
  const { verdict } = audited.record
  return verdict === 'pass' ? changed(audited, { verdict: 'inconclusive', reason: why }) : audited
}

async function placeOf(log: LogAccess, entry: Uint8Array): Promise<AuditedView['log']> {
  const found = await log.find(entry)
  return found === null ? null : { origin: log.trust.origin, index: found.index, leaf: toHex(await leafHash(entry)) }
}

function placed({ record, evidence }: Audited, log: AuditedView['log']): Audited {
  const { view } = record
  return { record: { ...record, view: view === null ? null : { ...view, log } }, evidence }
}

function omitted(audited: Audited): Audited {
  const { verdict } = audited.record
  return verdict === 'pass' || verdict === 'inconclusive' ? changed(audited, { reason: 'log_omitted', verdict: 'fail', charged: 'worker' }) : audited
}

function changed({ record, evidence }: Audited, change: Partial<UnsignedAuditRecord>): Audited {
  return { record: { ...record, ...change }, evidence }
}

/** The view that must stand in the log; null where no receipt came that its keyset signed, it promises no log, or the key is not the one that it commits to. */
async function viewOf({ workerReceipt, receiptKey }: Pick<AuditEvidence, 'workerReceipt' | 'receiptKey'>): Promise<AuditView | null> {
  if (workerReceipt === null) return null
  try {
    return await auditViewOf(parseReceipt(workerReceipt), receiptKey === null ? null : fromHex(receiptKey))
  } catch (error) {
    if (error instanceof VeriteeError) return null
    throw error
  }
}
