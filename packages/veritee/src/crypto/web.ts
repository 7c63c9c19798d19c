import { decodeBase64, encodeHex } from './codec.ts'
import type { AgreementKey, Ed25519Key, P256Key, SigningKey } from './types.ts'

export { decodeBase64, decodeHex, encodeHex, sameBytes } from './codec.ts'

type Algorithm = { readonly name: string; readonly namedCurve?: string; readonly hash?: string }
const p256: Algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
const p256Sign: Algorithm = { name: 'ECDSA', hash: 'SHA-256' }
const ed25519: Algorithm = { name: 'Ed25519' }

// WebCrypto's types demand an ArrayBuffer behind each view; ours never sit on shared memory.
const view = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => bytes as Uint8Array<ArrayBuffer>

const bytesOf = (content: Uint8Array | string): Uint8Array => (typeof content === 'string' ? new TextEncoder().encode(content) : content)

export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', view(bytes)))
}

export async function sha256Hex(content: Uint8Array | string): Promise<string> {
  return encodeHex(await sha256(bytesOf(content)))
}

export async function sha256Behind(first: number, bytes: Uint8Array): Promise<Uint8Array> {
  const message = new Uint8Array(bytes.length + 1)
  message[0] = first
  message.set(bytes, 1)
  return sha256(message)
}

export async function sha256HexOfBoth(first: Uint8Array, second: Uint8Array): Promise<string> {
  const message = new Uint8Array(first.length + second.length)
  message.set(first)
  message.set(second, first.length)
  return encodeHex(await sha256(message))
}

export function utf8OfBoth(first: string, second: string): Uint8Array {
  return bytesOf(first + second)
}

export async function hmacSha256(key: Uint8Array, bytes: Uint8Array): Promise<Uint8Array> {
  // WebCrypto refuses an empty key. HMAC pads keys with zeros, so one zero byte is the same key.
  const raw = key.length === 0 ? new Uint8Array(1) : key
  const imported = await crypto.subtle.importKey('raw', view(raw), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, view(bytes)))
}

async function importRaw(raw: Uint8Array, algorithm: Algorithm): Promise<CryptoKey | null> {
  try {
    return await crypto.subtle.importKey('raw', view(raw), algorithm, false, ['verify'])
  } catch {
    return null
  }
}

async function verifyWith(key: CryptoKey, algorithm: Algorithm, signature: Uint8Array, message: Uint8Array): Promise<boolean> {
  try {
    return await crypto.subtle.verify(algorithm, key, view(signature), view(message))
  } catch {
    return false
  }
}

export async function importP256(publicKey: Uint8Array): Promise<P256Key | null> {
  if (publicKey.length !== 64) return null
  const raw = new Uint8Array(65)
  raw[0] = 4
  raw.set(publicKey, 1)
  const key = await importRaw(raw, p256)
  return key === null ? null : { verify: async (signature, message) => signature.length === 64 && verifyWith(key, p256Sign, signature, message) }
}

export async function importEd25519(publicKey: Uint8Array): Promise<Ed25519Key | null> {
  const key = publicKey.length === 32 ? await importRaw(publicKey, ed25519) : null
  return key === null ? null : { verify: async (signature, message) => signature.length === 64 && verifyWith(key, ed25519, signature, message) }
}

export async function verifyEd25519(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): Promise<boolean> {
  return (await (await importEd25519(publicKey))?.verify(signature, message)) ?? false
}

async function generate(algorithm: Algorithm, signWith: Algorithm, strip: number): Promise<SigningKey> {
  const pair = (await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])) as CryptoKeyPair
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))
  return {
    publicKey: raw.subarray(strip),
    sign: async (message) => new Uint8Array(await crypto.subtle.sign(signWith, pair.privateKey, view(message))),
  }
}

export function generateP256(): Promise<SigningKey> {
  return generate(p256, p256Sign, 1)
}

export function generateEd25519(): Promise<SigningKey> {
  return generate(ed25519, ed25519, 0)
}

const x25519: Algorithm = { name: 'X25519' }
/** PrivateKeyInfo of an X25519 key up to its 32 bytes (RFC 8410 section 7). */
const pkcs8X25519 = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20] as const

export async function generateX25519(): Promise<AgreementKey> {
  const pair = (await crypto.subtle.generateKey(x25519, false, ['deriveBits'])) as CryptoKeyPair
  return agreementKey(pair.privateKey, new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)))
}

export async function importX25519(privateKey: Uint8Array): Promise<AgreementKey> {
  const der = new Uint8Array([...pkcs8X25519, ...privateKey])
  const key = await crypto.subtle.importKey('pkcs8', der, x25519, true, ['deriveBits'])
  // The public half stands in no other export of a private key.
  const { x = '' } = await crypto.subtle.exportKey('jwk', key)
  const publicKey = decodeBase64(`${x.replaceAll('-', '+').replaceAll('_', '/')}=`)
  if (publicKey === null) throw new TypeError('importX25519: the key has no public half')
  return agreementKey(key, publicKey)
}

function agreementKey(key: CryptoKey, publicKey: Uint8Array): AgreementKey {
  return {
    publicKey,
    agree: async (peer) => {
      if (peer.length !== 32) return null
      try {
        const imported = await crypto.subtle.importKey('raw', view(peer), x25519, false, [])
        const shared = new Uint8Array(await crypto.subtle.deriveBits({ name: 'X25519', public: imported }, key, 256))
        return shared.some((byte) => byte !== 0) ? shared : null
      } catch {
        return null
      }
    },
  }
}

export function randomBytes(length: number): Uint8Array {
  const out = new Uint8Array(length)
  // WebCrypto gives 65,536 bytes at a time at most.
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(out.subarray(at, at + 65_536))
  return out
}

export async function hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey('raw', view(secret), 'HKDF', false, ['deriveBits'])
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt: view(salt), info: view(info) }, key, 8 * length))
}

async function aes(key: Uint8Array, use: 'encrypt' | 'decrypt'): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', view(key), 'AES-GCM', false, [use])
}

export async function sealAes256Gcm(key: Uint8Array, nonce: Uint8Array, plain: Uint8Array): Promise<Uint8Array> {
  const imported = await aes(key, 'encrypt')
  return new Uint8Array(await crypto.subtle.encrypt({ name: 'AES-GCM', iv: view(nonce) }, imported, view(plain)))
}

export async function openAes256Gcm(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array): Promise<Uint8Array | null> {
  const imported = await aes(key, 'decrypt')
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv: view(nonce) }, imported, view(sealed)))
  } catch {
    return null
  }
}
