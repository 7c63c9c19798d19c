import { fromHex } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import type { FraudEvidence } from 'veritee/fraud'
import { type GetLogFile, parseLogStatement, readLogRange } from 'veritee/log'
import { eventOf, parseReceipt } from 'veritee/receipt'
import type { AuditEvidence } from './audit.ts'

/** What a validator reads of the log that a receipt promised. Nothing of it is believed. */
export interface OmissionLog {
  readonly get: GetLogFile
  /** Statements behind the entries of a bundle, a line each, empty for those without; null where the log gives none. */
  readonly views: (bundle: number) => Promise<readonly string[] | null>
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
    const later = await laterView(log, receipt.keysetDigest, place, Math.ceil(range.leaves.length / 256))
    if (later === null) return null
    const key = receiptKey === null ? null : fromHex(receiptKey)
    return { kind: 'promise_broken', report, receipts: [workerReceipt], statements: [later], log: { range, salt: null, receiptKey: key } }
  } catch (error) {
    if (error instanceof VeriteeError) return null
    throw error
  }
}

/** The newest first: a keyset that goes on serving is found at once. */
async function laterView(log: OmissionLog, keyset: string, place: number, bundles: number): Promise<string | null> {
  for (let bundle = bundles - 1; bundle >= 0; bundle--)
    for (const line of (await log.views(bundle)) ?? []) {
      // A text that does not name the keyset is none of its statements.
      const statement = line.includes(keyset) ? parseLogStatement(line).statement : null
      if (statement?.version === 'veritee.audit-view.v1' && statement.workload_keyset_digest === keyset && statement.sequence > place) return line
    }
  return null
}
