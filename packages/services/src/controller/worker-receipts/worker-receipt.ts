import { eventOf, type Receipt, type ReceiptCore, type ReceiptEvent } from 'veritee/receipt'
import type { Usage } from '../stages/access.ts'

/** What a controller looks at in a worker's receipt. */
export type WorkerReceipt = ReceiptCore & {
  /** Null where the receipt has no token counts. */
  readonly usage: Usage | null
}

/** Events that are compared with what was sent and received. The others are the requester's to judge. */
export const compared: ReadonlySet<ReceiptEvent['type']> = new Set([
  'request.received',
  'response.returned',
  'veritee.request',
  'veritee.model',
  'veritee.receipt_key',
  'veritee.stream',
])

export function workerReceiptOf(receipt: Receipt): WorkerReceipt {
  const { canonical, receiptId, keysetDigest, servedAt, keyId, signature } = receipt
  const events = receipt.events.filter(({ type }) => compared.has(type))
  return { canonical, receiptId, keysetDigest, servedAt, keyId, signature, events, usage: usageOf(receipt) }
}

/** The token counts that a worker signed, of whichever engine; null where its receipt has none. */
export function usageOf(receipt: Pick<Receipt, 'events'>): Usage | null {
  const counts = eventOf(receipt, 'veritee.inference') ?? eventOf(receipt, 'veritee.external_engine')
  return counts === undefined ? null : { promptTokens: counts.prompt_tokens ?? 0, completionTokens: counts.completion_tokens ?? 0 }
}
