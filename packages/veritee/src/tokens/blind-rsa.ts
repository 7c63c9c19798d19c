import * as crypto from '#crypto'
import { concat } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { fail } from '../errors.ts'

/** RSABSSA-SHA384-PSS-Deterministic (RFC 9474 section 5): SHA-384 for hash and MGF1, a salt of 48 bytes, the message as it is. The client's half; signing is the issuer's. */

export interface BlindKey {
  readonly n: bigint
  readonly e: bigint
}

/** Bytes of the salt of a signature. */
export const saltBytes = 48

const hashBytes = 48

/** A message that was blinded. Whoever signs `blinded` learns nothing of the message: it is any element with the same probability. */
export interface Blinded {
  /** As long as the modulus, to be signed. */
  readonly blinded: Uint8Array
  /** Unblinds what the signer made of it and verifies it: the signature, as long as the modulus. Throws `access_token_invalid`. */
  finalize(signed: Uint8Array): Uint8Array
}

/** What is drawn for one message. Neither may serve twice. */
export interface BlindRandomness {
  readonly salt: Uint8Array
  /** At least 1 and below the modulus. */
  readonly r: bigint
}

/** Blinds a message (RFC 9474 section 4.2). Throws `access_token_invalid` for a modulus that has a factor in common with what was drawn, which no honest one has. */
export async function blind(key: BlindKey, message: Uint8Array, random: BlindRandomness = draw(key)): Promise<Blinded> {
  const { n, e } = key
  const length = bytesOf(n)
  const m = integer(await encodePss(message, random.salt, bitsOf(n) - 1))
  const inverse = inverseOf(random.r, n)
  if (inverse === null || inverseOf(m, n) === null) throw fail('access_token_invalid', 'expected a modulus of two large primes')
  return {
    blinded: octets((m * power(random.r, e, n)) % n, length),
    finalize: (signed) => {
      const z = signed.length === length ? integer(signed) : n
      const s = z < n ? (z * inverse) % n : 0n
      // The encoding that was signed is our own, so a signature whose power is that encoding is one that every verifier accepts.
      if (power(s, e, n) !== m) throw fail('access_token_invalid', 'expected a blind signature under the key of this issuer')
      return octets(s, length)
    },
  }
}

/** EMSA-PSS-ENCODE of RFC 8017 section 9.1.1 into `bits` bits. */
export async function encodePss(message: Uint8Array, salt: Uint8Array, bits: number): Promise<Uint8Array> {
  const length = Math.ceil(bits / 8)
  const hashed = await sha384(concat(new Uint8Array(8), await sha384(message), salt))
  const block = new Uint8Array(length - hashBytes - 1)
  block[block.length - salt.length - 1] = 1
  block.set(salt, block.length - salt.length)
  const masked = block.map((byte) => byte)
  for (let at = 0, counter = 0; at < masked.length; at += hashBytes, counter++) {
    const mask = await sha384(concat(hashed, Uint8Array.of(0, 0, 0, counter)))
    for (let i = 0; i < hashBytes && at + i < masked.length; i++) masked[at + i] = (block[at + i] ?? 0) ^ (mask[i] ?? 0)
  }
  masked[0] = (masked[0] ?? 0) & (0xff >> (8 * length - bits))
  return concat(masked, hashed, Uint8Array.of(0xbc))
}

/** Of WebCrypto, which Node has too: who has no tokens carries no second hash. */
async function sha384(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await globalThis.crypto.subtle.digest('SHA-384', bytes as Uint8Array<ArrayBuffer>))
}

function draw({ n }: BlindKey): BlindRandomness {
  const length = bytesOf(n)
  for (;;) {
    const r = integer(crypto.randomBytes(length))
    if (r > 0n && r < n) return { salt: crypto.randomBytes(saltBytes), r }
  }
}

/** `base` to the power of a small public exponent. */
function power(base: bigint, exponent: bigint, n: bigint): bigint {
  let result = 1n
  for (let [square, rest] = [base, exponent]; rest > 0n; rest >>= 1n, square = (square * square) % n) if (rest & 1n) result = (result * square) % n
  return result
}

/** Null where there is none. */
function inverseOf(a: bigint, n: bigint): bigint | null {
  let [r, next, t, nextT] = [n, a, 0n, 1n]
  while (next > 0n) {
    const quotient = r / next
    ;[r, next, t, nextT] = [next, r - quotient * next, nextT, t - quotient * nextT]
  }
  return r === 1n ? (t + n) % n : null
}

export function integer(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes)}`)
}

function octets(value: bigint, length: number): Uint8Array {
  return fromHex(value.toString(16).padStart(2 * length, '0'))
}

function bitsOf(n: bigint): number {
  return n.toString(2).length
}

function bytesOf(n: bigint): number {
  return Math.ceil(bitsOf(n) / 8)
}
