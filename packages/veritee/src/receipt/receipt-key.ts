import { concat, utf8 } from '../bytes/bytes.ts'
import { sha256Digest } from '../bytes/digest.ts'
import { fail } from '../errors.ts'
import { eventOf, type Receipt } from './receipt.ts'

const prefix = utf8('veritee.receipt-key.v1\n')

/** What a receipt says of its key (`X-Veritee-Receipt-Key`, 32 random bytes) without giving it away: `sha256:` and hex, over a prefix and the key. */
export function receiptKeyCommitment(key: Uint8Array): Promise<string> {
  if (key.length !== 32) throw new TypeError('receiptKeyCommitment: expected 32 bytes')
  return sha256Digest(concat(prefix, key))
}

/**
 * Verifies that a key is the one that the receipt's signer drew for it; null for a receipt that commits to none. So whoever passed a key on can no more have
 * changed it than the receipt, and what is found by means of it is found of the signer (rule S5). The receipt must have been verified. Throws `receipt_key_mismatch`.
 */
export async function checkReceiptKey(receipt: Pick<Receipt, 'events'>, key: Uint8Array | null): Promise<void> {
  const committed = eventOf(receipt, 'veritee.receipt_key')?.commitment ?? null
  const found = key === null ? null : await receiptKeyCommitment(key)
  if (found !== committed) throw fail('receipt_key_mismatch', `expected the key of ${committed ?? 'none'}, found that of ${found ?? 'none'}`)
}
