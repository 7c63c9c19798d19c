import * as crypto from '#crypto'
import { toBase64 } from '../bytes/base64.ts'
import { concat, utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { fail } from '../errors.ts'
import { type Blinded, type BlindKey, type BlindRandomness, blind, integer } from './blind-rsa.ts'

/** Tokens of type 2, "Blind RSA (2048-bit)", of Privacy Pass (RFC 9577, RFC 9578), as bytes. Normative: spec/access-tokens.md. */

/** Bytes of a token's public key, its modulus, its parts and the whole. */
export const modulusBytes = 256
export const requestBytes: number = 3 + modulusBytes
const inputBytes = 2 + 3 * 32
export const tokenBytes: number = inputBytes + modulusBytes
const tokenType = Uint8Array.of(0, 2)

/** RFC 9578 section 6.5: id-RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes, up to the modulus, and the exponent 65537 behind it. */
const keyPrefix = fromHex(
  '30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a301806092a864886f70d010108300b0609608648016503040202' +
    'a2030201300382010f003082010a0282010100',
)
const keySuffix = fromHex('0203010001')

/** A public key of an issuer. */
export interface TokenKey {
  /** SubjectPublicKeyInfo, as it is published. */
  readonly spki: Uint8Array
  /** SHA-256 of it, hex. */
  readonly id: string
  readonly rsa: BlindKey
}

/** The published form of a modulus of exactly 2048 bits, with the exponent 65537. */
export function tokenKeySpki(modulus: Uint8Array): Uint8Array {
  if (modulus.length !== modulusBytes) throw new TypeError('tokenKeySpki: expected 256 bytes')
  return concat(keyPrefix, modulus, keySuffix)
}

/** Reads a public key: this one form, byte for byte. Throws `access_token_invalid`. */
export async function parseTokenKey(spki: Uint8Array): Promise<TokenKey> {
  const modulus = spki.subarray(keyPrefix.length, keyPrefix.length + modulusBytes)
  const n = modulus.length === modulusBytes ? integer(modulus) : 0n
  if (toHex(spki) !== toHex(concat(keyPrefix, modulus, keySuffix)) || n >> 2047n !== 1n || (n & 1n) === 0n)
    throw fail('access_token_invalid', 'expected a public key of 2048 bits in the form of RFC 9578 section 6.5')
  return { spki, id: toHex(await crypto.sha256(spki)), rsa: { n, e: 65_537n } }
}

/** The bytes of a TokenChallenge (RFC 9577 section 2.1). Names in ASCII; `context` of 32 bytes, or of none. */
export function challengeBytes(issuerName: string, originInfo: string, context: Uint8Array = new Uint8Array(0)): Uint8Array {
  const named = (text: string): Uint8Array => concat(Uint8Array.of(text.length >> 8, text.length & 0xff), utf8(text))
  return concat(tokenType, named(issuerName), Uint8Array.of(context.length), concat(context, named(originInfo)))
}

/** A token as it is asked for. */
export interface PendingToken {
  /** TokenRequest (RFC 9578 section 6.1), 259 bytes. */
  readonly request: Uint8Array
  /** The token, of what the issuer answered: 256 bytes. Throws `access_token_invalid`. */
  finalize(response: Uint8Array): Uint8Array
}

/** Begins to get one token (RFC 9578 section 6.1). `nonce`: 32 random bytes. Throws `access_token_invalid`. */
export async function requestToken(
  key: TokenKey,
  challenge: Uint8Array,
  nonce: Uint8Array = crypto.randomBytes(32),
  random?: BlindRandomness,
): Promise<PendingToken> {
  const id = fromHex(key.id)
  const input = concat(tokenType, nonce, await crypto.sha256(challenge), id)
  const { blinded, finalize }: Blinded = await blind(key.rsa, input, random)
  return { request: concat(tokenType, id.subarray(31), blinded), finalize: (response) => concat(input, finalize(response)) }
}

/** A token taken apart; whether it is genuine its issuer's key says. */
export interface ParsedToken {
  readonly nonce: Uint8Array
  readonly challengeDigest: Uint8Array
  /** Hex. */
  readonly keyId: string
  /** What the authenticator signs: all before it. */
  readonly input: Uint8Array
  readonly authenticator: Uint8Array
}

/** Null for what is not 354 bytes of type 2. */
export function parseToken(bytes: Uint8Array): ParsedToken | null {
  if (bytes.length !== tokenBytes || bytes[0] !== 0 || bytes[1] !== 2) return null
  return {
    nonce: bytes.subarray(2, 34),
    challengeDigest: bytes.subarray(34, 66),
    keyId: toHex(bytes.subarray(66, 98)),
    input: bytes.subarray(0, inputBytes),
    authenticator: bytes.subarray(inputBytes),
  }
}

/** The value of `Authorization` with a token (RFC 9577 section 2.2). */
export function tokenAuthorization(token: Uint8Array): string {
  return `PrivateToken token="${base64Url(token)}"`
}

const authorizationPattern = /^PrivateToken +token=(?:"([\w-]{472})"|([\w-]{472}))$/i

/** The token of a value of `Authorization`; null where it has none, of this form alone. */
export function tokenOfAuthorization(value: string): Uint8Array | null {
  const found = authorizationPattern.exec(value)
  return found === null ? null : fromBase64Url(found[1] ?? found[2] ?? '')
}

/** The challenge of `WWW-Authenticate` (RFC 9577 section 2.1). */
export function tokenChallenge(challenge: Uint8Array, spki: Uint8Array): string {
  return `PrivateToken challenge="${base64Url(challenge)}", token-key="${base64Url(spki)}"`
}

/** With padding, as RFC 9577 has it. */
export function base64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_')
}

/** With its padding; null for anything else. */
export function fromBase64Url(text: string): Uint8Array | null {
  return /^[\w=-]*$/.test(text) ? crypto.decodeBase64(text.replaceAll('-', '+').replaceAll('_', '/')) : null
}
