import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
} from 'node:crypto'
import { parseJson, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { TeePubkey } from './runtime-data.ts'

/** A JWE in flattened JSON serialization (RFC 7516 section 7.2.2), without unprotected headers and `aad`. Every member is base64url. */
export type FlattenedJwe = {
  readonly protected: string
  readonly encrypted_key: string
  readonly iv: string
  readonly ciphertext: string
  readonly tag: string
}

const wrapAlg = 'ECDH-ES+A256KW'
const contentAlg = 'A256GCM'
const wrapIv = Buffer.alloc(8, 0xa6)
const curves = { 'P-256': ['prime256v1', 32], 'P-521': ['secp521r1', 66] } as const
const shape = new Shape('kbs_jwe_invalid')

/**
 * A tee-pubkey of a request as a key: EC on P-256 or P-521 with `ECDH-ES+A256KW`, or RSA of 2048 to 4096 bits with `RSA-OAEP-256` and an odd exponent of 65537 to 2^32; its
 * members and no others. `RSA1_5`, which the protocol also knows, is refused. Throws `kbs_request_malformed`.
 */
export function parseTeePubkey(value: unknown): { readonly jwk: TeePubkey; readonly key: KeyObject } {
  const own = new Shape('kbs_request_malformed')
  const { kty } = own.record(value, 'tee-pubkey')
  const text = (item: unknown, name: string): string => {
    if (typeof item !== 'string' || item.length > 1024 || !/^[A-Za-z0-9_-]+$/.test(item)) throw own.refuse(`tee-pubkey.${name}`, 'base64url')
    return item
  }
  let jwk: TeePubkey
  if (own.oneOf(kty, 'tee-pubkey.kty', ['EC', 'RSA']) === 'EC') {
    const o = own.object(value, 'tee-pubkey', ['kty', 'crv', 'alg', 'x', 'y'])
    const crv = own.oneOf(o.crv, 'tee-pubkey.crv', ['P-256', 'P-521'])
    jwk = { kty: 'EC', crv, alg: own.oneOf(o.alg, 'tee-pubkey.alg', [wrapAlg]), x: text(o.x, 'x'), y: text(o.y, 'y') }
    const wrong = [jwk.x, jwk.y].some((coordinate) => Buffer.from(coordinate, 'base64url').length !== curves[crv][1])
    if (wrong) throw own.refuse('tee-pubkey', `coordinates of ${curves[crv][1]} bytes`)
  } else {
    const o = own.object(value, 'tee-pubkey', ['kty', 'alg', 'n', 'e'])
    jwk = { kty: 'RSA', alg: own.oneOf(o.alg, 'tee-pubkey.alg', ['RSA-OAEP-256']), n: text(o.n, 'n'), e: text(o.e, 'e') }
  }
  try {
    const key = createPublicKey({ key: jwk as unknown as import('node:crypto').JsonWebKey, format: 'jwk' })
    const { modulusLength: bits, publicExponent: exponent } = key.asymmetricKeyDetails ?? {}
    if (bits !== undefined && (bits < 2048 || bits > 4096)) throw new RangeError(`a modulus of ${bits} bits`)
    // 1 would encrypt nothing, and one as long as the modulus costs a thousand times the work.
    if (exponent !== undefined && (exponent < 65_537n || exponent > 0xffff_ffffn || exponent % 2n === 0n)) throw new RangeError('another exponent')
    return { jwk, key }
  } catch (cause) {
    throw fail(
      'kbs_request_malformed',
      'tee-pubkey: expected a point on its curve, or an RSA key of 2048 to 4096 bits with an odd exponent of 65537 to 2^32',
      cause,
    )
  }
}

/** Encrypts to a key that {@link parseTeePubkey} gave. A fresh content key, and for EC a fresh ephemeral key, each time. */
export function sealJwe({ jwk, key }: { readonly jwk: TeePubkey; readonly key: KeyObject }, plain: Uint8Array): FlattenedJwe {
  const contentKey = randomBytes(32)
  // Trustee's client serializes the header it has read again to compute the additional data, so the order of the members is not ours to choose.
  let header: string
  let encryptedKey: Buffer
  if (jwk.kty === 'EC') {
    const ephemeral = generateKeyPairSync('ec', { namedCurve: curves[jwk.crv][0] })
    const { x, y } = ephemeral.publicKey.export({ format: 'jwk' })
    header = JSON.stringify({ alg: wrapAlg, enc: contentAlg, epk: { crv: jwk.crv, kty: 'EC', x, y } })
    const wrap = createCipheriv('id-aes256-wrap', wrappingKey(ephemeral.privateKey, key), wrapIv)
    encryptedKey = Buffer.concat([wrap.update(contentKey), wrap.final()])
  } else {
    header = JSON.stringify({ alg: jwk.alg, enc: contentAlg })
    encryptedKey = publicEncrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, contentKey)
  }
  const iv = randomBytes(12)
  const protectedHeader = Buffer.from(header).toString('base64url')
  const cipher = createCipheriv('aes-256-gcm', contentKey, iv).setAAD(Buffer.from(protectedHeader, 'ascii'))
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()])
  contentKey.fill(0)
  return {
    protected: protectedHeader,
    encrypted_key: encryptedKey.toString('base64url'),
    iv: iv.toString('base64url'),
    ciphertext: ciphertext.toString('base64url'),
    tag: cipher.getAuthTag().toString('base64url'),
  }
}

/**
 * Opens a JWE that was encrypted to this private P-256 key. Only `ECDH-ES+A256KW` with `A256GCM` and an `epk` is taken: whatever else a header says
 * (`zip`, `crit`, `apu`, another algorithm) is refused. It says nothing about who encrypted. Throws `kbs_jwe_invalid`.
 */
export function openJwe(value: unknown, privateKey: KeyObject): Uint8Array {
  const o = shape.object(value, 'jwe', ['protected', 'encrypted_key', 'iv', 'ciphertext', 'tag'])
  const protectedHeader = shape.string(o.protected, 'protected', 4096)
  const parsed = headerOf(protectedHeader)
  const encryptedKey = bytes(o.encrypted_key, 'encrypted_key', 40)
  const iv = bytes(o.iv, 'iv', 12)
  const tag = bytes(o.tag, 'tag', 16)
  const ciphertext = bytes(o.ciphertext, 'ciphertext')
  try {
    const epk = createPublicKey({ key: parsed, format: 'jwk' })
    const unwrap = createDecipheriv('id-aes256-wrap', wrappingKey(privateKey, epk), wrapIv)
    const contentKey = Buffer.concat([unwrap.update(encryptedKey), unwrap.final()])
    try {
      const decipher = createDecipheriv('aes-256-gcm', contentKey, iv, { authTagLength: 16 })
      decipher.setAAD(Buffer.from(protectedHeader, 'ascii')).setAuthTag(tag)
      const opened = decipher.update(ciphertext)
      try {
        decipher.final()
        return new Uint8Array(opened)
      } finally {
        // The caller overwrites what he gets, and there is to be no second copy.
        opened.fill(0)
      }
    } finally {
      contentKey.fill(0)
    }
  } catch (cause) {
    throw fail('kbs_jwe_invalid', 'expected a resource encrypted to the key of this request', cause)
  }
}

function headerOf(text: string): { kty: 'EC'; crv: 'P-256'; x: string; y: string } {
  let header: unknown
  try {
    header = parseJson(bytes(text, 'protected').toString('utf8'), { maxLength: 4096, maxDepth: 3 })
  } catch (cause) {
    throw fail('kbs_jwe_invalid', 'protected: expected strict JSON in base64url', cause)
  }
  const o = shape.object(header, 'protected', ['alg', 'enc', 'epk'])
  shape.oneOf(o.alg, 'alg', [wrapAlg])
  shape.oneOf(o.enc, 'enc', [contentAlg])
  const epk = shape.object(o.epk, 'epk', ['kty', 'crv', 'x', 'y'])
  const coordinate = (name: 'x' | 'y'): string => bytes(epk[name], `epk.${name}`, 32).toString('base64url')
  return { kty: shape.oneOf(epk.kty, 'epk.kty', ['EC']), crv: shape.oneOf(epk.crv, 'epk.crv', ['P-256']), x: coordinate('x'), y: coordinate('y') }
}

function bytes(value: unknown, where: string, length?: number): Buffer {
  if (typeof value !== 'string' || !/^[A-Za-z0-9_-]*$/.test(value)) throw shape.refuse(where, 'base64url')
  const decoded = Buffer.from(value, 'base64url')
  if (length !== undefined && decoded.length !== length) throw shape.refuse(where, `${length} bytes`)
  return decoded
}

/** Concat KDF (RFC 7518 section 4.6.2) for A256KW, with empty PartyUInfo and PartyVInfo: one round of SHA-256. */
function wrappingKey(privateKey: KeyObject, publicKey: KeyObject): Buffer {
  const secret = diffieHellman({ privateKey, publicKey })
  const number = (value: number): Buffer => {
    const four = Buffer.alloc(4)
    four.writeUInt32BE(value)
    return four
  }
  const info = [number(wrapAlg.length), Buffer.from(wrapAlg), number(0), number(0), number(256)]
  const key = createHash('sha256')
    .update(Buffer.concat([number(1), secret, ...info]))
    .digest()
  secret.fill(0)
  return key
}
