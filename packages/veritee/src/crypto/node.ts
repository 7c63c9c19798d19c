// The one file of the library, outside client/ and bin/, that may import Node: the fast path of `#crypto`.
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  generateKeyPairSync,
  hash,
  hkdfSync,
  type KeyObject,
  randomBytes as nodeRandom,
  sign,
  verify,
} from 'node:crypto'
import * as plain from './codec.ts'
import type { AgreementKey, Ed25519Key, MaybePromise, P256Key, SigningKey } from './types.ts'

// SubjectPublicKeyInfo up to the key in base64 (RFC 5480, RFC 8410): 27 and 12 bytes, so the key itself begins at a base64 boundary.
const spkiP256 = 'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE'
const spkiEd25519 = 'MCowBQYDK2VwAyEA'
const spkiX25519 = 'MCowBQYDK2VuAyEA'
/** PrivateKeyInfo of an X25519 key up to its 32 bytes (RFC 8410 section 7). */
const pkcs8X25519 = '302e020100300506032b656e04220420'

export function sha256(bytes: Uint8Array): Uint8Array {
  // By way of hex, which Node makes in a third of the time that it takes for a buffer.
  return plain.decodeHex(hash('sha256', bytes, 'hex')) as Uint8Array
}

export function sha256Hex(content: Uint8Array | string): string {
  return hash('sha256', content, 'hex')
}

export function sha256Behind(first: number, bytes: Uint8Array): Uint8Array {
  // From Node's pool: memory of its own for each event of a stream would cost as much as its hash.
  const message = Buffer.allocUnsafe(bytes.length + 1)
  message[0] = first
  message.set(bytes, 1)
  return sha256(message)
}

export function sha256HexOfBoth(first: Uint8Array, second: Uint8Array): string {
  // From Node's pool, as above.
  const message = Buffer.allocUnsafe(first.length + second.length)
  message.set(first)
  message.set(second, first.length)
  return hash('sha256', message, 'hex')
}

export function utf8OfBoth(first: string, second: string): Uint8Array {
  // Not the text of both: V8 would copy it together before Node writes it. Memory of its own would cost more than to write it, too.
  const length = Buffer.byteLength(first)
  const out = Buffer.allocUnsafe(length + Buffer.byteLength(second))
  out.write(first)
  out.write(second, length)
  return out
}

// Keys as key objects, here and for ciphers: that bytes are none, Node finds out by throwing too, which takes five times as long as all else.
export function hmacSha256(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac('sha256', createSecretKey(key)).update(bytes).digest())
}

/**
 * As PEM text, because Node tells it from a key object by its type alone. For an object such as `{ key, format: 'der' }` or `{ key, format: 'jwk' }`
 * it finds that out by throwing and catching four errors, which takes longer than the import.
 */
function importSpki(prefix: string, publicKey: Uint8Array): KeyObject | null {
  const text = prefix + Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.length).toString('base64')
  // Lines of 64 characters (RFC 7468 section 2).
  const lines = text.length > 64 ? `${text.slice(0, 64)}\n${text.slice(64)}` : text
  try {
    return createPublicKey(`-----BEGIN PUBLIC KEY-----\n${lines}\n-----END PUBLIC KEY-----\n`)
  } catch {
    return null
  }
}

export function importP256(publicKey: Uint8Array): P256Key | null {
  const key = publicKey.length === 64 ? importSpki(spkiP256, publicKey) : null
  if (key === null) return null
  // The bare key and a DER signature, for the same reason: `{ key, dsaEncoding: 'ieee-p1363' }` adds a third to the time of a verification.
  return { verify: (signature, message) => signature.length === 64 && verify('sha256', message, key, ecdsaSigValue(signature)) }
}

/** The Ecdsa-Sig-Value (RFC 3279 section 2.2.3) of r || s: two INTEGERs in their shortest form, non-negative. */
function ecdsaSigValue(signature: Uint8Array): Uint8Array {
  let r = 0
  while (r < 31 && signature[r] === 0) r++
  let s = 32
  while (s < 63 && signature[s] === 0) s++
  const rPadding = (signature[r] as number) >> 7
  const sPadding = (signature[s] as number) >> 7
  const rLength = 32 - r + rPadding
  const sLength = 64 - s + sPadding
  // From Node's pool, where earlier contents remain: a new array of this length would be memory of its own to the garbage collector.
  const out = Buffer.allocUnsafe(6 + rLength + sLength)
  out[0] = 0x30
  out[1] = 4 + rLength + sLength
  out[2] = 0x02
  out[3] = rLength
  // Where there is padding, this is it.
  out[4] = 0
  let at = 4 + rPadding
  while (r < 32) out[at++] = signature[r++] as number
  out[4 + rLength] = 0x02
  out[5 + rLength] = sLength
  out[6 + rLength] = 0
  at = 6 + rLength + sPadding
  while (s < 64) out[at++] = signature[s++] as number
  return out
}

export function importEd25519(publicKey: Uint8Array): Ed25519Key | null {
  const key = publicKey.length === 32 ? importSpki(spkiEd25519, publicKey) : null
  if (key === null) return null
  return { verify: (signature, message) => signature.length === 64 && verify(null, message, key, signature) }
}

export function verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): MaybePromise<boolean> {
  return importEd25519(publicKey)?.verify(signature, message) ?? false
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

export function generateX25519(): AgreementKey {
  return agreementKey(generateKeyPairSync('x25519').privateKey)
}

export function importX25519(privateKey: Uint8Array): AgreementKey {
  const der = Buffer.concat([Buffer.from(pkcs8X25519, 'hex'), privateKey])
  return agreementKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
}

function agreementKey(privateKey: KeyObject): AgreementKey {
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return {
    publicKey: new Uint8Array(spki.subarray(spki.length - 32)),
    agree: (peer) => {
      const publicKey = peer.length === 32 ? importSpki(spkiX25519, peer) : null
      if (publicKey === null) return null
      try {
        return new Uint8Array(diffieHellman({ privateKey, publicKey }))
      } catch {
        // OpenSSL refuses a shared secret of zeros.
        return null
      }
    },
  }
}

// Memory of their own for the results: Node's pool lies behind the arrays of others too. Views on it, for Node's own decoders.
const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)

// Up to this many bytes, an array lies on the heap of JavaScript until native code asks for it, and moving it out takes longer than decoding it here.
const maxOnHeap = 64

export function decodeHex(text: string): Uint8Array | null {
  if (text.length <= 2 * maxOnHeap) return plain.decodeHex(text)
  // Node looks at the low byte of each character only, and stops at what is no digit. As many bytes as characters: all are ASCII.
  if (text.length % 2 !== 0 || Buffer.byteLength(text) !== text.length) return null
  const out = new Uint8Array(text.length / 2)
  return viewOf(out).write(text, 'hex') === out.length ? out : null
}

export function encodeHex(bytes: Uint8Array): string {
  return bytes.length <= 16 ? plain.encodeHex(bytes) : viewOf(bytes).toString('hex')
}

export function decodeBase64(text: string): Uint8Array | null {
  if (text.length % 4 !== 0) return null
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  const out = new Uint8Array((text.length / 4) * 3 - padding)
  const view = viewOf(out)
  // Node skips what is no digit. The canonical form is the one that it writes.
  return view.write(text, 'base64') === out.length && view.toString('base64') === text ? out : null
}

// Below this many bytes, a call out of JavaScript takes longer than the comparison.
const minToCompareOutside = 64

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  const { length } = a
  if (length >= minToCompareOutside) return length === b.length && Buffer.compare(a, b) === 0
  return plain.sameBytes(a, b)
}

export function randomBytes(length: number): Uint8Array {
  return new Uint8Array(nodeRandom(length))
}

export function hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, info, length))
}

const gcm = 'aes-256-gcm'
const tagBytes = 16

export function sealAes256Gcm(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array): Uint8Array {
  const cipher = createCipheriv(gcm, createSecretKey(key), nonce, { authTagLength: tagBytes })
  const body = cipher.update(plain)
  cipher.final()
  return new Uint8Array(Buffer.concat([body, cipher.getAuthTag()]))
}

export function openAes256Gcm(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array): Uint8Array | null {
  if (sealed.length < tagBytes) return null
  const end = sealed.length - tagBytes
  const decipher = createDecipheriv(gcm, createSecretKey(key), nonce, { authTagLength: tagBytes })
  decipher.setAuthTag(sealed.subarray(end))
  const plain = decipher.update(sealed.subarray(0, end))
  try {
    decipher.final()
  } catch {
    // What has been deciphered is not authentic, and nobody is to see it.
    plain.fill(0)
    return null
  }
  return plain
}
