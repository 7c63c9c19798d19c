import * as crypto from '#crypto'
import { concat, utf8 } from '../../bytes/bytes.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { toHex } from '../../bytes/hex.ts'
import { VeriteeError } from '../../errors.ts'
import { ehbpKeyOf, paddingBytes, type SealedRequest, sealRequest } from '../../seal/ehbp/index.ts'
import type { Service } from '../establish.ts'
import { beginOpening, type Opening } from '../sealed/opening.ts'
import type { WorkerKey } from '../sealed/worker-keys.ts'
import type { TransportResponse } from '../transport.ts'
import { type Call, modelOf } from './call.ts'

/** To whom the bodies of a request are encrypted: nobody, the service that is asked, or a worker behind it. */
export type Recipient = { readonly to: 'none' } | { readonly to: 'service' } | { readonly to: 'worker'; readonly worker: WorkerKey }

/** A request that was sent, and the beginning of its answer. */
export interface Sent {
  readonly service: Service
  readonly call: Call
  /** The body that the receipts are over. */
  readonly requestBody: Uint8Array
  readonly clientNonce: string
  readonly response: TransportResponse
  /** The body of the answer, opened where it was encrypted. */
  readonly body: AsyncIterable<Uint8Array>
  readonly sealed: SentSealed | null
  readonly abort: AbortController
}

export interface SentSealed {
  readonly to: 'controller' | 'worker'
  readonly worker: WorkerKey | null
  readonly request: SealedRequest
  readonly opening: Opening
  readonly wireRequestHash: string
}

/** Long enough for a model to read a long prompt: callers end requests by their own signal. */
const idleTimeoutMs = 600_000

/**
 * Sends a call to a verified service, with a nonce of its own (rule S10), sealed where it is to be. Throws `service_unavailable`, `channel_mismatch` before a byte was
 * sent, the codes of `ehbpKeyOf` and, for an answer that is not encrypted as it had to be, `ehbp_stale_key`, `service_refused`, `ehbp_malformed`.
 */
export async function sendCall(service: Service, call: Call, recipient: Recipient): Promise<Sent> {
  const clientNonce = toHex(crypto.randomBytes(32))
  const abort = new AbortController()
  const signal = AbortSignal.any([abort.signal, call.signal])
  const base = { method: call.method, path: call.path, signal, idleTimeoutMs }
  const plain = call.body ?? new Uint8Array(0)
  const headers = { 'content-type': 'application/json', ...call.headers }
  if (recipient.to === 'none') {
    const response = await service.transport.send({ ...base, headers: { ...headers, 'x-veritee-nonce': clientNonce }, body: plain })
    return { service, call, requestBody: plain, clientNonce, response, body: response.body, sealed: null, abort }
  }
  const worker = recipient.to === 'worker' ? recipient.worker : null
  const requestBody = worker === null ? plain : padded(plain)
  const key = worker?.key ?? ehbpKeyOf(service.report)
  const binding = { method: call.method, model: modelOf(plain), path: call.path, session_id: worker?.sessionId ?? null }
  const request = await sealRequest(key, binding, requestBody, clientNonce)
  const response = await service.transport.send({ ...base, headers: { ...headers, ...request.headers }, body: request.body })
  try {
    const opening = await beginOpening(request, response)
    const to = worker === null && service.report.descriptor.role === 'controller' ? 'controller' : 'worker'
    const sealed: SentSealed = { to, worker, request, opening, wireRequestHash: await sha256Digest(request.body) }
    return { service, call, requestBody, clientNonce, response, body: opening.body, sealed, abort }
  } catch (error) {
    abort.abort()
    throw error instanceof VeriteeError && error.code === 'service_refused' ? new PlainRefusal(response, error.message) : error
  }
}

/** An error that somebody on the way answered in plain to a sealed request. Its body is nobody's word and is not read; its status is a hint. */
export class PlainRefusal extends VeriteeError {
  readonly status: number
  readonly retryAfter: string | null
  constructor({ status, headers }: TransportResponse, message: string) {
    super('service_refused', message)
    this.status = status
    const retryAfter = headers['retry-after']
    this.retryAfter = retryAfter !== undefined && /^\d{1,6}$/.test(retryAfter) ? retryAfter : null
  }
}

/** Spaces behind a JSON text change nothing in it, and its length then tells its 256-byte step only (rule S25 d). */
function padded(body: Uint8Array): Uint8Array {
  const missing = (paddingBytes - (body.length % paddingBytes)) % paddingBytes
  return missing === 0 ? body : concat(body, utf8(' '.repeat(missing)))
}
