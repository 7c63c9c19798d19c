import * as crypto from '#crypto'
import { concat, utf8 } from '../../bytes/bytes.ts'
import type { AgreementKey } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import type { FrameKey } from './frame-key.ts'

/**
 * HPKE (RFC 9180) in the one form that EHBP uses: base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 * Written here, because the library has no dependencies and because under Node every step is one synchronous call; tests compare it with another implementation.
 */

const empty = new Uint8Array(0)
const version = utf8('HPKE-v1')
const kemSuite = concat(utf8('KEM'), Uint8Array.of(0x00, 0x20))
const suite = concat(utf8('HPKE'), Uint8Array.of(0x00, 0x20, 0x00, 0x01, 0x00, 0x02))
const requestInfo = utf8('ehbp request')
const keyBytes = 32
const nonceBytes = 12

/** One side of one exchange, both of which derive the same. */
export interface HpkeContext {
  /** The encapsulated key, 32 bytes. */
  readonly enc: Uint8Array
  readonly request: FrameKey
  readonly exporterSecret: Uint8Array
}

/** The requester's side. Throws `ehbp_malformed` for a key that is none. `ephemeral` is for test vectors: without one, a fresh key is made. */
export async function setupSender(publicKey: Uint8Array, ephemeral?: AgreementKey): Promise<HpkeContext> {
  const own = ephemeral ?? (await crypto.generateX25519())
  return schedule(await own.agree(publicKey), own.publicKey, publicKey)
}

/** The service's side. Throws `ehbp_malformed` for an encapsulated key that is none; one made for another key gives keys that open nothing. */
export async function setupRecipient(own: AgreementKey, enc: Uint8Array): Promise<HpkeContext> {
  return schedule(await own.agree(enc), enc, own.publicKey)
}

async function schedule(dh: Uint8Array | null, enc: Uint8Array, recipient: Uint8Array): Promise<HpkeContext> {
  if (dh === null) throw fail('ehbp_malformed', 'expected an X25519 public key of 32 bytes that agrees on a secret')
  const eaePrk = await labeledExtract(kemSuite, empty, 'eae_prk', dh)
  const shared = await labeledExpand(kemSuite, eaePrk, 'shared_secret', concat(enc, recipient), keyBytes)
  const pskIdHash = await labeledExtract(suite, empty, 'psk_id_hash', empty)
  const infoHash = await labeledExtract(suite, empty, 'info_hash', requestInfo)
  const context = concat(Uint8Array.of(0), pskIdHash, infoHash)
  const secret = await labeledExtract(suite, shared, 'secret', empty)
  return {
    enc,
    request: {
      key: await labeledExpand(suite, secret, 'key', context, keyBytes),
      baseNonce: await labeledExpand(suite, secret, 'base_nonce', context, nonceBytes),
    },
    exporterSecret: await labeledExpand(suite, secret, 'exp', context, 32),
  }
}

/** `Context.Export` (RFC 9180 section 5.3), up to 32 bytes. */
export function exportSecret(context: HpkeContext, label: string, length: number): Promise<Uint8Array> {
  return labeledExpand(suite, context.exporterSecret, 'sec', utf8(label), length)
}

async function labeledExtract(id: Uint8Array, salt: Uint8Array, label: string, secret: Uint8Array): Promise<Uint8Array> {
  return extract(salt, concat(version, id, utf8(label), secret))
}

function labeledExpand(id: Uint8Array, prk: Uint8Array, label: string, info: Uint8Array, length: number): Promise<Uint8Array> {
  return expand(prk, concat(Uint8Array.of(length >> 8, length & 0xff), version, id, utf8(label), info), length)
}

/** HKDF-Extract (RFC 5869 section 2.2). */
export async function extract(salt: Uint8Array, secret: Uint8Array): Promise<Uint8Array> {
  return crypto.hmacSha256(salt, secret)
}

/** HKDF-Expand (RFC 5869 section 2.3) of at most one block, which is all that is needed here. */
export async function expand(prk: Uint8Array, info: Uint8Array, length: number): Promise<Uint8Array> {
  if (length > 32) throw new TypeError('expand: expected at most 32 bytes')
  return (await crypto.hmacSha256(prk, concat(info, Uint8Array.of(1)))).slice(0, length)
}
