import { createHash } from 'node:crypto'
import type { ReceiptEvent } from 'veritee/receipt'

/** Commits to the key that went out with an answer; none where none did. It is `receiptKeyCommitment`, at once: a receipt takes its number without waiting. */
export function keyEvents(receiptKey: Uint8Array | undefined): ReceiptEvent[] {
  if (receiptKey === undefined) return []
  const commitment = `sha256:${createHash('sha256').update('veritee.receipt-key.v1\n').update(receiptKey).digest('hex')}`
  return [{ type: 'veritee.receipt_key', commitment }]
}
