import { fromHex, leafHash, toHex } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { type AuditView, auditViewOf, logEntry, type VerifiedCheckpoint } from 'veritee/log'
import { parseReceipt } from 'veritee/receipt'
import type { AuditedView, Obstacle, UnsignedAuditRecord } from 'veritee/scoring'
import type { AuditEvidence, Audited } from '../audit/audit.ts'
import type { LogAccess } from './access.ts'
import { laterView } from './later.ts'

/** Seconds that a checkpoint may be behind what the log has. */
const graceSeconds = 60

/** What is asked of the log that a receipt promised. */
export interface SettlingLog extends Pick<LogAccess, 'trust' | 'find' | 'checkpoint' | 'views'> {
  /** All leaves that stand behind a checkpoint which every own receipt came after, until this one, verified under both. `from` is the index of the first. */
  readonly leaves: (head: VerifiedCheckpoint) => Promise<{ readonly from: number; readonly leaves: readonly Uint8Array[] }>
}

/**
 * Looks for the receipt of an audit of own traffic in the log that it promised (rule S21), and says in the record where it stands. Null where it is not there yet and the time, `until` (Unix seconds), is not over.
 * Then it is judged, once: `log_omitted`, and the worker at fault, where its promise is due and the log has a later view of the same keyset, whose signature and place hold, and not this one. An enclave sends its
 * views in their order and goes on when the log has the one before, so no outage of the log, of the way to it or of this validator brings that about. Absent alone it is an obstacle, and such an audit no pass.
 * That it is absent the log's word does not show: all leaves are read that may be it, and make up the tree that the witnesses have signed. One that is there, whatever the log says, is in its place.
 * A log that shows two histories throws `log_fork`.
 *
 * What must stand in the log follows from the receipt and the key that it commits to. Another key is none of it, and there is nothing to look for then; what came of such an audit stays.
 */
export async function settle(audited: Audited, log: SettlingLog, now: Date, until: number): Promise<Audited | null> {
  const view = await viewOf(audited.evidence)
  if (view === null || view.log.origin !== log.trust.origin) return audited
  let why: Obstacle
  try {
    const there = await placeOf(log, view)
    if (there !== null) return placed(audited, there)
    // Without its key the view is not known, as where an answer was withheld: there is nothing to wait for.
    if (audited.evidence.receiptKey === null) return audited
    if (now.getTime() < until * 1000) return null
    const found = await judged(log, view, audited.evidence)
    if (found !== 'pending') return found === 'omitted' ? omitted(audited) : placed(audited, found)
    why = 'log_pending'
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.code === 'log_fork') throw error
    why = 'log_unavailable'
  }
  if (now.getTime() < until * 1000) return null
  const { verdict } = audited.record
  return verdict === 'pass' ? changed(audited, { verdict: 'inconclusive', reason: why }) : audited
}

/** Where it stands in one tree of the log, by its leaves; `omitted` where it does not, its promise is due by what the witnesses of that tree say, and a later view of its keyset stands there. */
async function judged(
  log: SettlingLog,
  view: AuditView,
  { report }: AuditEvidence,
): Promise<NonNullable<AuditedView['log']> | 'omitted' | 'pending'> {
  const head = await log.checkpoint()
  if (report === null || head.witnessedAt <= view.log.promised_by + graceSeconds) return 'pending'
  // First: of a tree in which nothing comes later, the leaves need not be read.
  const later = await laterView((bundle) => log.views(bundle), report, view.sequence, head.size)
  if (later === null) return 'pending'
  const { from, leaves } = await log.leaves(head)
  const placeIn = async (one: AuditView): Promise<NonNullable<AuditedView['log']> | null> => {
    const leaf = toHex(await leafHash(await logEntry(one)))
    const at = leaves.findIndex((other) => toHex(other) === leaf)
    return at === -1 ? null : { origin: log.trust.origin, index: from + at, leaf }
  }
  const there = await placeIn(view)
  if (there !== null) return there
  return (await placeIn(later.view)) === null ? 'pending' : 'omitted'
}

async function placeOf(log: SettlingLog, view: AuditView): Promise<AuditedView['log']> {
  const entry = await logEntry(view)
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
