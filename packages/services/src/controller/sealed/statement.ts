import { VeriteeError } from 'veritee/errors'
import { type ExpectedStatement, type SealedStatement, type UpstreamReceiptEvent, verifySealedStatement } from 'veritee/receipt'
import type { AdmittedWorker } from '../registry.ts'
import { fetchFromWorker } from '../upstream.ts'

export interface StatementCheck {
  readonly event: UpstreamReceiptEvent
  /** Verified, with its text; null unless it matches. */
  readonly stated: { readonly statement: SealedStatement; readonly text: string } | null
}

/**
 * The check of rule S10 for an exchange that this controller cannot read: fetches the worker's statement over the pinned connection, and verifies that it is
 * signed under the session's keyset and is of exactly the encrypted bytes that went by. Never throws; `absent` and `mismatch` are results.
 */
export async function checkStatement(worker: AdmittedWorker, expected: ExpectedStatement): Promise<StatementCheck> {
  const failed = (result: 'absent' | 'mismatch', reason: string): StatementCheck => ({
    event: { type: 'veritee.upstream_receipt', digest: null, result, reason: reason.slice(0, 500).toWellFormed() },
    stated: null,
  })
  let text: string
  try {
    text = await fetchFromWorker(worker, `/v1/veritee/statements/${expected.receiptId}`)
  } catch (error) {
    return failed('absent', `the worker's statement could not be fetched: ${error instanceof Error ? error.message : 'unknown failure'}`)
  }
  try {
    const { keyset, keysetDigest } = worker.service.report
    const statement = await verifySealedStatement(text, keyset, keysetDigest, expected)
    return {
      event: { type: 'veritee.upstream_receipt', digest: statement.receipt_digest, result: 'match', reason: null },
      stated: { statement, text },
    }
  } catch (error) {
    if (error instanceof VeriteeError) return failed('mismatch', `${error.code}: ${error.message}`)
    throw error
  }
}
