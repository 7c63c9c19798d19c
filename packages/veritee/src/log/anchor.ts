import { utf8 } from '../bytes/bytes.ts'
import { sha256Digest } from '../bytes/digest.ts'
import { toHex } from '../bytes/hex.ts'
import { jcs } from '../bytes/jcs.ts'
import type { SeenCheckpoint } from './verify.ts'

/** Before what a request was made: the tree of a log that its nonce was made of, and what kept the nonce unforeseeable. */
export interface NonceAnchor {
  readonly checkpoint: Pick<SeenCheckpoint, 'origin' | 'size' | 'root'>
  /** 32 random bytes, never used twice. */
  readonly salt: Uint8Array
}

/**
 * A nonce of a requester (`X-Veritee-Nonce`, 64 hex digits) that is made of a checkpoint, and looks like any other. What the receipt that echoes it says was signed
 * after that tree was there, whatever the clocks said: so nothing of it is among the tree's leaves, and an absence takes only the leaves after (spec/log.md).
 */
export async function anchoredNonce({ checkpoint: { origin, size, root }, salt }: NonceAnchor): Promise<string> {
  if (salt.length !== 32 || root.length !== 32) throw new TypeError('anchoredNonce: expected a salt and a root of 32 bytes')
  const message = `veritee.nonce-anchor.v1\n${jcs({ origin, root: toHex(root), salt: toHex(salt), size })}`
  return (await sha256Digest(utf8(message))).slice('sha256:'.length)
}
