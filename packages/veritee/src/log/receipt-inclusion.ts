import type { Verified } from '../attestation/claims.ts'
import { fail } from '../errors.ts'
import { eventOf, type Receipt } from '../receipt/receipt.ts'
import { auditViewOf } from './audit-view.ts'
import { logEntry } from './statement.ts'
import { verifyTlogProof } from './tlog-proof.ts'
import type { LogTrust } from './trust.ts'
import { advance, type SeenCheckpoint, type VerifiedCheckpoint } from './verify.ts'

/** Where a receipt stands in the log. */
export interface LoggedReceipt {
  readonly index: number
  readonly checkpoint: VerifiedCheckpoint
  /** To be kept, and handed to the next check. */
  readonly seen: SeenCheckpoint
}

/** What a log, or whoever else, offers for a receipt. Nothing of it is trusted. */
export interface OfferedInclusion {
  /** A `tlog-proof`. */
  readonly proof: string
  /** Consistency proof between the checkpoint of the proof and the one seen; empty where there is none or they are of one size. */
  readonly consistency: readonly Uint8Array[]
}

/**
 * Verifies that the audit view of a receipt is in the log (rules S6, S21), in this order: the receipt promises this log; the view that follows from the receipt and its key is
 * the entry of the proof, under a checkpoint with the quorum of witnesses; that checkpoint is of one history with the largest seen (`seen`, null at first).
 *
 * The receipt must have been verified; this does not. It does not say that the log holds the receipts before and after it.
 * Throws `log_promise_missing`, `log_origin_mismatch`, `audit_view_malformed`, and what `verifyTlogProof` and `advance` throw.
 */
export async function verifyInclusion(
  receipt: Verified<Receipt>,
  receiptKey: Uint8Array | null,
  offered: OfferedInclusion,
  trust: LogTrust,
  seen: SeenCheckpoint | null,
): Promise<LoggedReceipt> {
  promiseOf(receipt, trust)
  const entry = await logEntry(await auditViewOf(receipt, receiptKey))
  const { index, checkpoint } = await verifyTlogProof(offered.proof, entry, trust)
  return { index, checkpoint, seen: await advance(seen, checkpoint, offered.consistency) }
}

/**
 * True where the promise of a receipt is broken: a witnessed checkpoint is later than what was promised, by as much as a checkpoint may be behind (`graceSeconds`), and the
 * receipt is absent. That it is absent is for the caller to have found out, by reading the whole log under that checkpoint: absence has no short proof. Throws as {@link verifyInclusion}.
 */
export function isPromiseDue(receipt: Verified<Receipt>, trust: LogTrust, checkpoint: VerifiedCheckpoint, graceSeconds: number): boolean {
  return checkpoint.witnessedAt > promiseOf(receipt, trust) + graceSeconds
}

function promiseOf(receipt: Receipt, { origin }: LogTrust): number {
  const promise = eventOf(receipt, 'veritee.log')
  if (promise === undefined) throw fail('log_promise_missing', 'expected the receipt to promise a log, found no veritee.log')
  if (promise.origin !== origin)
    throw fail('log_origin_mismatch', `expected a receipt for ${JSON.stringify(origin)}, found one for ${JSON.stringify(promise.origin)}`)
  return promise.promised_by
}
