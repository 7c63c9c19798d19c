import { eventOf, parseReceipt, parseStatement, receiptDigest } from 'veritee/receipt'
import type { ReceiptArchive } from '../../enclave/runtime/receipts/archive.ts'
import type { ReceiptRecord } from '../../enclave/runtime/receipts/record.ts'
import type { Usage } from '../stages/access.ts'
import { usageOf } from '../worker-receipts/worker-receipt.ts'

/** One charge: where to find the receipts that it follows from, and what a worker signed. */
export interface Charge {
  readonly receipt_id: string
  /** SHA-256 of the controller's receipt as served, and of the worker's that it cites. */
  readonly receipt_digest: string
  readonly upstream_receipt_digest: string
  readonly keyset_digest: string
  readonly served_at: number
  readonly model: string | null
  readonly prompt_tokens: number
  readonly completion_tokens: number
}

const pageSize = 500

/**
 * What the receipts of one key come to, a page at a time: every answer whose worker's receipt matched, with the token counts in that receipt, or, where the
 * answer could not be read here, in the statement of the worker about it. Whoever has the
 * key can fetch each receipt and the worker's, verify both, and add up the same.
 */
export async function chargesOf(
  archive: ReceiptArchive,
  tag: string,
  after: number,
): Promise<{ readonly charges: readonly Charge[]; readonly next: number | null }> {
  const { records, next } = await archive.ofCredential(tag, after, pageSize)
  return { charges: (await Promise.all(records.map(chargeOf))).filter((charge) => charge !== null), next }
}

async function chargeOf({ id, text, upstream, at, keysetDigest }: ReceiptRecord): Promise<Charge | null> {
  if (upstream === null) return null
  const own = parseReceipt(text)
  const cited = eventOf(own, 'veritee.upstream_receipt')
  if (cited?.result !== 'match' || cited.digest === null) return null
  const used = eventOf(own, 'veritee.opaque') === undefined ? usageOf(parseReceipt(upstream.text)) : statedUsage(upstream.text)
  if (used === null) return null
  return {
    receipt_id: id,
    receipt_digest: await receiptDigest(own),
    upstream_receipt_digest: cited.digest,
    keyset_digest: keysetDigest,
    served_at: at,
    model: own.model,
    prompt_tokens: used.promptTokens,
    completion_tokens: used.completionTokens,
  }
}

/** Of an exchange that was encrypted to the worker. */
function statedUsage(text: string): Usage | null {
  const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = parseStatement(text).statement
  return promptTokens === null || completionTokens === null ? null : { promptTokens, completionTokens }
}
