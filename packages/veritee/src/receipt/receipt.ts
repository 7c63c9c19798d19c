import * as crypto from '#crypto'
import type { Verified } from '../attestation/claims.ts'
import { textDigest } from '../bytes/digest.ts'
import { fromHex } from '../bytes/hex.ts'
import { type Json, jcs } from '../bytes/jcs.ts'
import { parseCanonical, parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import type { MaybePromise } from '../crypto/types.ts'
import { whenDone } from '../crypto/when-done.ts'
import { fail } from '../errors.ts'
import { parseEvent, type ReceiptEvent, type UpstreamFailed, type UpstreamVerified } from './events.ts'
import { type Keyset, ReceiptKeys } from './keyset.ts'

/** The signed record of one inference (aci/1 section 7.3). `Unsigned` is the same document before its signature. */
export type UnsignedReceipt = {
  readonly api_version: 'aci/1'
  readonly receipt_id: string
  readonly chat_id: string | null
  readonly model: string | null
  readonly workload_keyset_digest: string
  readonly endpoint: string
  readonly method: string
  readonly served_at: number
  readonly event_log: readonly ReceiptEvent[]
  readonly key_id: string
}

export interface Receipt {
  /** The document as served, for hashing, signing and keeping. */
  readonly document: { readonly [name: string]: Json }
  /** Its JCS form: what it is cited by, and, without the signature, what is signed. */
  readonly canonical: string
  readonly receiptId: string
  readonly chatId: string | null
  readonly model: string | null
  readonly keysetDigest: string
  readonly endpoint: string
  readonly servedAt: number
  /** Known events in order; unknown types are left out here and stay in `document`. */
  readonly events: readonly ReceiptEvent[]
  readonly keyId: string
  /** 64 bytes. */
  readonly signature: Uint8Array
}

/** What {@link verifyReceiptCore} looks at; of the events, those that are compared. */
export type ReceiptCore = Pick<Receipt, 'canonical' | 'receiptId' | 'keysetDigest' | 'servedAt' | 'events' | 'keyId' | 'signature'>

export const maxReceiptBytes: number = 1 << 18
const shape = new Shape('receipt_malformed')
const members = [
  'api_version',
  'receipt_id',
  'chat_id',
  'model',
  'workload_keyset_digest',
  'endpoint',
  'method',
  'served_at',
  'event_log',
  'key_id',
  'signature',
]
/** Types of which a receipt may hold one at most: two of them could say two things. */
const single: ReadonlySet<ReceiptEvent['type']> = new Set([
  'request.received',
  'request.forwarded',
  'response.returned',
  'veritee.request',
  'veritee.model',
  'veritee.inference',
  'veritee.choices',
  'veritee.receipt_key',
  'veritee.log',
  'veritee.chain',
  'veritee.stream',
  'veritee.upstream_receipt',
  'veritee.response.received',
  'veritee.outcome',
  'veritee.external_engine',
  'veritee.rewrite',
  'veritee.opaque',
  'veritee.transport',
] as const)
const limits = { maxLength: maxReceiptBytes, maxDepth: 12 }

/** Reads a receipt document: shape and event order only. Throws `receipt_malformed`. Any JSON encoding of the same document is the same receipt. */
export function parseReceipt(text: string): Receipt {
  // Nearly all come in the form that is signed.
  const canonical = parseCanonical(text, limits)
  const value = canonical ?? parseDocument(text, limits, 'receipt_malformed', 'the receipt')
  const o = shape.object(value, 'receipt', members)
  shape.oneOf(o.api_version, 'api_version', ['aci/1'])
  const log = shape.array(o.event_log, 'event_log', 256)
  const events = readEvents(log)
  if (shape.record(log[0], 'event_log[0]').type !== 'request.received') throw shape.refuse('event_log[0]', 'the event request.received')
  // aci/1 section 7.5 allows events for further attempts, but one worker served.
  if (events.filter((event) => event.type === 'upstream.verified' && event.result === 'verified').length > 1)
    throw shape.refuse('event_log', 'at most one upstream that was verified')
  if (!events.some((event) => event.type === 'response.returned')) throw shape.refuse('event_log', 'an event response.returned')
  if (canonical === undefined) onlyIntegers(value, 'receipt')
  shape.string(o.method, 'method', 16)
  return {
    document: value as { readonly [name: string]: Json },
    canonical: canonical === undefined ? jcs(value as Json) : text,
    receiptId: shape.string(o.receipt_id, 'receipt_id', 128),
    chatId: shape.nullableString(o.chat_id, 'chat_id', 256),
    model: shape.nullableString(o.model, 'model', 256),
    keysetDigest: shape.digest(o.workload_keyset_digest, 'workload_keyset_digest'),
    endpoint: shape.string(o.endpoint, 'endpoint', 256),
    servedAt: shape.integer(o.served_at, 'served_at'),
    events,
    keyId: shape.string(o.key_id, 'key_id', 128),
    signature: fromHex(shape.hex(o.signature, 'signature', 64)),
  }
}

/** The events that are known, in their order. */
function readEvents(log: readonly unknown[]): ReceiptEvent[] {
  const events: ReceiptEvent[] = []
  const seen = new Set<string>()
  for (let i = 0; i < log.length; i++) {
    const event = parseEvent(log[i], `event_log[${i}]`)
    if (event === null) continue
    if (single.has(event.type)) {
      if (seen.has(event.type)) throw shape.refuse('event_log', `at most one event ${event.type}`)
      seen.add(event.type)
    }
    events.push(event)
  }
  return events
}

/** aci/1 documents have integer numbers only; anything else has no agreed canonical form here. */
function onlyIntegers(value: unknown, at: string): void {
  if (typeof value === 'number') shape.safeInteger(value, at)
  if (value !== null && typeof value === 'object') for (const item of Object.values(value)) onlyIntegers(item, at)
}

/** The event of a type that occurs once at most. (Of `upstream.verified` there may be several: see {@link upstreamOf}.) */
export function eventOf<T extends ReceiptEvent['type']>(receipt: Pick<Receipt, 'events'>, type: T): Extract<ReceiptEvent, { type: T }> | undefined {
  const { events } = receipt
  for (let i = 0; i < events.length; i++) if (events[i]?.type === type) return events[i] as Extract<ReceiptEvent, { type: T }>
  return undefined
}

/** What the receipt says of the worker that served: the verified attempt where there is one, else the first that failed. */
export function upstreamOf(receipt: Receipt): UpstreamVerified | UpstreamFailed | undefined {
  const attempts = receipt.events.filter((event) => event.type === 'upstream.verified')
  return attempts.find(({ result }) => result === 'verified') ?? attempts[0]
}

/** Digest of a receipt for citing it: `sha256:` over the JCS form of the whole document, signature included. */
export function receiptDigest(receipt: Pick<Receipt, 'canonical'>): Promise<string> {
  return textDigest(receipt.canonical)
}

/** What the caller saw, to be compared with what the receipt says. A field set to null is not compared; say so in the verdict. */
export interface ReceiptExpectation {
  /** Digest of the request body bytes sent. */
  readonly requestHash: string | null
  /** Digest of the response body bytes received. */
  readonly responseHash: string | null
  /** The `X-Veritee-Nonce` sent. */
  readonly clientNonce: string | null
}

/**
 * Verifies a receipt (aci/1 section 9.3) against an established keyset, in this order: the key is one of the keyset's;
 * the signature verifies over the JCS form without `signature`; the receipt names the keyset; it was served before the keyset's `not_after`;
 * request bytes, response bytes and nonce are those expected.
 *
 * Does not verify the keyset (see `verifyReport`), the session or the worker's receipt.
 * Throws `receipt_key_unknown`, `receipt_signature_invalid`, `receipt_keyset_mismatch`, `keyset_expired`, `receipt_request_mismatch`,
 * `receipt_response_mismatch`, `receipt_nonce_mismatch`.
 */
export async function verifyReceipt(
  receipt: Receipt,
  keys: Keyset | ReceiptKeys,
  keysetDigest: string,
  expected: ReceiptExpectation,
): Promise<Verified<Receipt>> {
  await verifyReceiptCore(receipt, keys instanceof ReceiptKeys ? keys : new ReceiptKeys(keys), keysetDigest, expected)
  return receipt as Verified<Receipt>
}

/** All that {@link verifyReceipt} verifies, for who has read no more of a receipt: throws as that does, at once where signatures are verified at once, as under Node. */
export function verifyReceiptCore(receipt: ReceiptCore, keys: ReceiptKeys, keysetDigest: string, expected: ReceiptExpectation): MaybePromise<void> {
  return whenDone(keys.verify(receipt.keyId, receipt.signature, unsignedBytes(receipt.canonical)), (valid) => {
    if (!valid) throw fail('receipt_signature_invalid', `receipt ${receipt.receiptId}: the signature does not verify under key ${receipt.keyId}`)
    if (receipt.keysetDigest !== keysetDigest) throw fail('receipt_keyset_mismatch', `expected ${keysetDigest}, found ${receipt.keysetDigest}`)
    const { not_after: notAfter } = keys.keyset
    if (receipt.servedAt >= notAfter) throw fail('keyset_expired', `expected a receipt served before ${notAfter}, found ${receipt.servedAt}`)
    compareReceipt(receipt, expected)
  })
}

/**
 * What {@link verifyReceipt} compares, of a receipt whose signature was verified before. Throws `receipt_request_mismatch`, `receipt_response_mismatch`,
 * `receipt_nonce_mismatch`.
 */
export function compareReceipt(receipt: Pick<Receipt, 'events'>, { requestHash, responseHash, clientNonce }: ReceiptExpectation): void {
  same('receipt_request_mismatch', requestHash, eventOf(receipt, 'request.received')?.body_hash)
  same('receipt_response_mismatch', responseHash, eventOf(receipt, 'response.returned')?.body_hash)
  same('receipt_nonce_mismatch', clientNonce, eventOf(receipt, 'veritee.request')?.client_nonce)
}

/** `,"signature":"` and 128 digits, `","workload_keyset_digest":"sha256:`, 64 digits, `"}`: both are the last members of every receipt, and of one length. */
const tailLength = 14 + 128 + 35 + 64 + 2

/** The JCS form of a receipt without its signature, by cutting: a second canonical form would cost as much as a hash of it does. */
export function unsignedForm(canonical: string): string {
  const tail = canonical.length - tailLength
  return canonical.slice(0, tail) + canonical.slice(tail + 14 + 128 + 1)
}

/** {@link unsignedForm} in UTF-8. */
function unsignedBytes(canonical: string): Uint8Array {
  const tail = canonical.length - tailLength
  return crypto.utf8OfBoth(canonical.slice(0, tail), canonical.slice(tail + 14 + 128 + 1))
}

function same(
  code: 'receipt_request_mismatch' | 'receipt_response_mismatch' | 'receipt_nonce_mismatch',
  expected: string | null,
  found: string | null | undefined,
): void {
  if (expected !== null && found !== expected) throw fail(code, `expected ${expected}, found ${found ?? 'none'}`)
}
