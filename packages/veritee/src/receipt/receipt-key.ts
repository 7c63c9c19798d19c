import * as crypto from '#crypto'
import { utf8 } from '../bytes/bytes.ts'
import type { MaybePromise } from '../crypto/types.ts'
import { whenDone } from '../crypto/when-done.ts'
import { fail } from '../errors.ts'
import { eventOf, type Receipt } from './receipt.ts'

const prefix = utf8('veritee.receipt-key.v1\n')

/** What a receipt says of its key (`X-Veritee-Receipt-Key`, 32 random bytes) without giving it away: `sha256:` and hex, over a prefix and the key. */
export async function receiptKeyCommitment(key: Uint8Array): Promise<string> {
  return commitmentOf(key)
}

/** At once where hashing is, as under Node. */
function commitmentOf(key: Uint8Array): MaybePromise<string> {
  if (key.length !== 32) throw new TypeError('receiptKeyCommitment: expected 32 bytes')
  return whenDone(crypto.sha256HexOfBoth(prefix, key), (hex) => `sha256:${hex}`)
}

/**
 * Verifies that a key is the one that the receipt's signer drew for it; null for a receipt that commits to none. So whoever passed a key on can no more have
 * changed it than the receipt, and what is found by means of it is found of the signer (rule S5). The receipt must have been verified. Throws `receipt_key_mismatch`,
 * at once where hashing is, as under Node.
 */
export function checkReceiptKey(receipt: Pick<Receipt, 'events'>, key: Uint8Array | null): MaybePromise<void> {
  const committed = eventOf(receipt, 'veritee.receipt_key')?.commitment ?? null
  return whenDone(key === null ? null : commitmentOf(key), (found) => {
    if (found !== committed) throw fail('receipt_key_mismatch', `expected the key of ${committed ?? 'none'}, found that of ${found ?? 'none'}`)
  })
}
