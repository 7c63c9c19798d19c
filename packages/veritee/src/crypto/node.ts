// The one file of the library, outside client/ and bin/, that may import Node: the fast path of `#crypto`.
import { createHash, createHmac, createPublicKey, generateKeyPairSync, type KeyObject, randomBytes as nodeRandom, sign, verify } from 'node:crypto'
import type { SigningKey } from './types.ts'

const spkiP256 = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex')
const spkiEd25519 = Buffer.from('302a300506032b6570032100', 'hex')

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(bytes).digest())
}

export function hmacSha256(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac('sha256', key).update(bytes).digest())
}

function importSpki(prefix: Buffer, publicKey: Uint8Array): KeyObject | null {
  try {
    return createPublicKey({ key: Buffer.concat([prefix, publicKey]), format: 'der', type: 'spki' })
  } catch {
    return null
  }
}

export function verifyP256(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  if (publicKey.length !== 64 || signature.length !== 64) return false
  const key = importSpki(spkiP256, publicKey)
  return key !== null && verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature)
}

export function verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false
  const key = importSpki(spkiEd25519, publicKey)
  return key !== null && verify(null, message, key, signature)
}

export function generateP256(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  return {
    publicKey: new Uint8Array(spki.subarray(spki.length - 64)),
    sign: (message) => new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
  }
}

export function generateEd25519(): SigningKey {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const spki = publicKey.export({ format: 'der', type: 'spki' })
  return {
    publicKey: new Uint8Array(spki.subarray(spki.length - 32)),
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  }
}

export function randomBytes(length: number): Uint8Array {
  return new Uint8Array(nodeRandom(length))
}
