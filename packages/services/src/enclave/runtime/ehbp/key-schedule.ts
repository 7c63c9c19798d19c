import { createSecretKey, type KeyObject } from 'node:crypto'
import { concatAll, toHex, utf8 } from 'veritee/bytes'
import { hmacSha256 } from './hmac.ts'

/**
 * The key schedule of `veritee/ehbp` at the side of a service: the same values, without a promise, and what is the same for every request made once. Tests hold both against the same
 * vectors. Keys are key objects: given bytes, Node takes several times as long for a cipher as for what it enciphers.
 */

/** What the frames of one direction of one exchange are sealed with. */
export interface SealKey {
  readonly key: KeyObject
  /** 12 bytes. */
  readonly baseNonce: Uint8Array
}

/** What a service derives from an encapsulated key. */
export interface RecipientContext {
  readonly enc: Uint8Array
  readonly request: SealKey
  /** `Context.Export("ehbp response", 32)`. */
  readonly responseSecret: Uint8Array
}

const keyBytes = 32
const nonceBytes = 12
const empty = new Uint8Array(0)
/** Behind the info of an Expand of one block (RFC 5869 section 2.3). */
const firstBlock = Uint8Array.of(1)
const version = utf8('HPKE-v1')
const kemSuite = concatAll([utf8('KEM'), Uint8Array.of(0x00, 0x20)])
const suite = concatAll([utf8('HPKE'), Uint8Array.of(0x00, 0x20, 0x00, 0x01, 0x00, 0x02)])

/** What stands before the secret of a LabeledExtract (RFC 9180 section 4). */
function extracting(id: Uint8Array, label: string): Uint8Array {
  return concatAll([version, id, utf8(label)])
}

/** What stands before the info of a LabeledExpand. */
function expanding(id: Uint8Array, label: string, length: number): Uint8Array {
  return concatAll([Uint8Array.of(length >> 8, length & 0xff), version, id, utf8(label)])
}

const eaePrk = extracting(kemSuite, 'eae_prk')
const sharedSecret = expanding(kemSuite, 'shared_secret', keyBytes)
const secretLabel = extracting(suite, 'secret')
/** Base mode, no PSK, and EHBP's info. */
const scheduleContext = concatAll([
  Uint8Array.of(0),
  hmacSha256(empty, extracting(suite, 'psk_id_hash')),
  hmacSha256(empty, extracting(suite, 'info_hash'), utf8('ehbp request')),
])
const scheduled = (label: string, length: number): Uint8Array => concatAll([expanding(suite, label, length), scheduleContext, firstBlock])
const requestKey = scheduled('key', keyBytes)
const requestNonce = scheduled('base_nonce', nonceBytes)
const exporter = scheduled('exp', keyBytes)
const responseExport = concatAll([expanding(suite, 'sec', keyBytes), utf8('ehbp response'), firstBlock])

/** `shared` is what X25519 gave for `enc`, `own` the public key of the service. */
export function recipientContext(shared: Uint8Array, enc: Uint8Array, own: Uint8Array): RecipientContext {
  const secret = hmacSha256(hmacSha256(hmacSha256(empty, eaePrk, shared), sharedSecret, enc, own, firstBlock), secretLabel)
  return {
    enc,
    request: { key: createSecretKey(hmacSha256(secret, requestKey)), baseNonce: hmacSha256(secret, requestNonce).subarray(0, nonceBytes) },
    responseSecret: hmacSha256(hmacSha256(secret, exporter), responseExport),
  }
}

const answered = (label: string): Uint8Array => concatAll([utf8(label), firstBlock])
const responseKey = answered('key')
const responseBaseNonce = answered('nonce')
const credentialLabel = answered('veritee receipt credential')
const receiptKeyLabel = answered('veritee receipt key')
const receiptNonceLabel = answered('veritee receipt key nonce')

/** The keys of an answer, from the exchange and the 32 bytes that the service drew for it. What few answers need is derived where it is asked for. */
export class AnswerKeys {
  readonly response: SealKey
  readonly #prk: Uint8Array

  constructor({ responseSecret, enc }: Pick<RecipientContext, 'responseSecret' | 'enc'>, responseNonce: Uint8Array) {
    if (enc.length !== 32 || responseNonce.length !== 32) throw new TypeError('AnswerKeys: expected 32 bytes')
    this.#prk = hmacSha256(concatAll([enc, responseNonce]), responseSecret)
    this.response = this.#seal(responseKey, responseBaseNonce)
  }

  /** Under it a worker keeps the receipt of the exchange: 64 hex digits, known to the two sides only. */
  get receiptCredential(): string {
    return toHex(hmacSha256(this.#prk, credentialLabel))
  }

  /** Seals one thing, the key of the receipt's token digests: a second under the same nonce would give both away. */
  get receiptKeySeal(): SealKey {
    return this.#seal(receiptKeyLabel, receiptNonceLabel)
  }

  #seal(key: Uint8Array, nonce: Uint8Array): SealKey {
    return { key: createSecretKey(hmacSha256(this.#prk, key)), baseNonce: hmacSha256(this.#prk, nonce).subarray(0, nonceBytes) }
  }
}
