import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto'
import type { SigningKey } from 'veritee/crypto'

function privateKey(byte: number): KeyObject {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), Buffer.alloc(32, byte)])
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

/** {@link fixedKey} as a command reads it. */
export function fixedPem(byte: number): string {
  return String(privateKey(byte).export({ format: 'pem', type: 'pkcs8' }))
}

/** An Ed25519 key that is the same in every process: signatures of equal texts are equal. For tests only. */
export function fixedKey(byte: number): SigningKey {
  const key = privateKey(byte)
  const publicKey = new Uint8Array(createPublicKey(key).export({ type: 'spki', format: 'der' }).subarray(-32))
  return { publicKey, sign: (message) => new Uint8Array(sign(null, message, key)) }
}
