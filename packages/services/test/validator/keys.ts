import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import type { SigningKey } from 'veritee/crypto'

/** An Ed25519 key that is the same in every process: signatures of equal texts are equal. For tests only. */
export function fixedKey(byte: number): SigningKey {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, byte)])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32))
  return { publicKey, sign: (message) => new Uint8Array(sign(null, message, key)) }
}
