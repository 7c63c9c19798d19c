import { fromHex } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import type { FraudEvidence } from 'veritee/fraud'
import { type GetLogFile, readLogRange } from 'veritee/log'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { laterView, type ReadViews } from '../log/later.ts'
import type { AuditEvidence } from './audit.ts'

/** What a validator reads of the log that a receipt promised. Nothing of it is believed. */
export interface OmissionLog {
  readonly get: GetLogFile
  readonly views: ReadViews
}

/**
 * What shows that a receipt was left out of its log (spec/fraud-proof.md, "Broken promises"): all leaves of the log, and the view of a later receipt of the same keyset. Null where there is no such view, where the
 * log has more leaves than a proof holds, or does not answer: then the omission stays a charge. It is for `verifyFraudProof` to say whether it proves anything.
 */
export async function omissionOf(
  { report, workerReceipt, receiptKey }: Pick<AuditEvidence, 'report' | 'workerReceipt' | 'receiptKey'>,
  log: OmissionLog,
): Promise<FraudEvidence | null> {
  if (report === null || workerReceipt === null) return null
  try {
    const receipt = parseReceipt(workerReceipt)
    const place = eventOf(receipt, 'veritee.chain')?.sequence
    if (place === undefined) return null
    const range = await readLogRange(log.get)
    const later = await laterView((bundle) => log.views(bundle), report, place, range.leaves.length)
    if (later === null) return null
    const key = receiptKey === null ? null : fromHex(receiptKey)
    return { kind: 'promise_broken', report, receipts: [workerReceipt], statements: [later.text], log: { range, salt: null, receiptKey: key } }
  } catch (error) {
    if (error instanceof VeriteeError) return null
    throw error
  }
}
