import * as crypto from '#crypto'
import { networkName } from '../../admission/manifest.ts'
import type { Verified } from '../../attestation/claims.ts'
import { utf8 } from '../../bytes/bytes.ts'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import type { SigningKey } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import { maxEpoch, workerIdFromJson } from '../audit/parse.ts'
import { maxRecordsPerEpoch, type WorkerId } from '../audit/record.ts'

/** What one validator hands over to another, so that it runs an answer again (rule S18), without the signature. Normative: spec/confirmation.md. */
export interface UnsignedConfirmationRequest {
  readonly version: 'veritee.confirmation-request.v1'
  readonly network: string
  /** Ed25519, 32 bytes hex: who asks, and signs. */
  readonly validator: string
  readonly epoch: number
  /** Of its record. What that found is not told: whoever confirms has to find it. */
  readonly index: number
  /** Of its record, Unix seconds. */
  readonly at: number
  readonly worker: WorkerId
  /** Digest. */
  readonly keyset: string
  /** Digest of the audit view of the receipt. */
  readonly view: string
  /** Digest of the engine that ran the answer again: build and CPU variant. */
  readonly engine: string
  /** Of a request of the validator's own. Never published. */
  readonly exchange: {
    /** Bodies as they were sent, UTF-8. */
    readonly request: string
    readonly response: string
    /** The worker's report and receipt, JSON. */
    readonly report: string
    readonly receipt: string
    /** The key to the receipt's digests, 32 bytes hex; null where the receipt has none. */
    readonly receipt_key: string | null
  }
}

export type ConfirmationRequest = UnsignedConfirmationRequest & { readonly signature: string }

export const confirmationRequestVersion = 'veritee.confirmation-request.v1'
/** Characters. */
export const maxConfirmationRequestLength: number = 1 << 20

const shape = new Shape('confirmation_request_malformed')
const members = ['version', 'network', 'validator', 'epoch', 'index', 'at', 'worker', 'keyset', 'view', 'engine', 'exchange', 'signature'] as const

/** Reads a request: strict JSON in its JCS form, closed and bounded. Nothing that it holds is looked into or verified. Throws `confirmation_request_malformed`. */
export function parseConfirmationRequest(text: string): ConfirmationRequest {
  const limits = { maxLength: maxConfirmationRequestLength, maxDepth: 4, integersOnly: true } as const
  const value = parseDocument(text, limits, 'confirmation_request_malformed', 'the request for a confirmation')
  const request = fromJson(value)
  if (jcs(value as Json) !== text) throw shape.refuse('request', 'its canonical form (JCS)')
  return request
}

function fromJson(value: unknown): ConfirmationRequest {
  const o = shape.object(value, 'request', members)
  const exchange = shape.object(o.exchange, 'exchange', ['request', 'response', 'report', 'receipt', 'receipt_key'])
  const text = (name: 'request' | 'response' | 'report' | 'receipt'): string =>
    shape.string(exchange[name], `exchange.${name}`, maxConfirmationRequestLength)
  return {
    version: shape.oneOf(o.version, 'version', [confirmationRequestVersion]),
    network: networkName(o.network, 'network', shape),
    validator: shape.hex(o.validator, 'validator', 32),
    epoch: shape.integer(o.epoch, 'epoch', maxEpoch),
    index: shape.integer(o.index, 'index', maxRecordsPerEpoch - 1),
    at: shape.integer(o.at, 'at'),
    worker: workerIdFromJson(o.worker, 'worker', shape),
    keyset: shape.digest(o.keyset, 'keyset'),
    view: shape.digest(o.view, 'view'),
    engine: shape.digest(o.engine, 'engine'),
    exchange: {
      request: text('request'),
      response: text('response'),
      report: text('report'),
      receipt: text('receipt'),
      receipt_key: exchange.receipt_key === null ? null : shape.hex(exchange.receipt_key, 'exchange.receipt_key', 32),
    },
    signature: shape.hex(o.signature, 'signature', 64),
  }
}

/** Signs a request and gives its text (JCS). Throws `confirmation_request_malformed` for one that no reader would take, one that is too long among them. */
export async function signConfirmationRequest(request: UnsignedConfirmationRequest, key: SigningKey): Promise<string> {
  if (request.validator !== toHex(key.publicKey)) throw new TypeError('signConfirmationRequest: expected the key of the validator that it names')
  const signature = toHex(await key.sign(signedBytes(request)))
  const text = jcs({ ...request, signature } as unknown as Json)
  parseConfirmationRequest(text)
  return text
}

/**
 * Reads a request and verifies its signature under the validator key that it names. Whether that validator counts in the network, and whether what is handed over is what the worker signed,
 * is not judged here. Throws `confirmation_request_malformed`, `confirmation_request_signature_invalid`.
 */
export async function verifyConfirmationRequest(text: string): Promise<Verified<ConfirmationRequest>> {
  const request = parseConfirmationRequest(text)
  const { signature, ...unsigned } = request
  if (!(await crypto.verifyEd25519(fromHex(request.validator), fromHex(signature), signedBytes(unsigned))))
    throw fail('confirmation_request_signature_invalid', `expected a signature of ${request.validator}`)
  return request as Verified<ConfirmationRequest>
}

function signedBytes(unsigned: UnsignedConfirmationRequest): Uint8Array {
  return utf8(`${confirmationRequestVersion}\n${jcs(unsigned as unknown as Json)}`)
}
