import type { IncomingMessage } from 'node:http'
import { isHex } from 'veritee/bytes'
import { ehbpHeaders } from 'veritee/ehbp'
import { requestLimits } from 'veritee/receipt'
import { readRequestBody } from '../../http/body.ts'
import { nonceHeader } from '../../http/chat-request.ts'
import { sessionHeader } from '../../http/ehbp/open-body.ts'
import { HttpError } from '../../http/errors.ts'
import { type Span, spanOf, traceparentFor } from '../../http/trace-context.ts'
import type { CancelSignal } from '../cancellation.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import { bodyHash } from '../relay.ts'
import { turnedAway } from '../stages/turned-away.ts'
import { callWorker, type WorkerAnswer, type WorkerRequest } from '../worker-answer.ts'

/** What is kept of an encrypted request for the worker of a session, which this controller cannot read, until its answer is over. It does not lead to the body. */
export interface OpaqueRequest {
  readonly path: string
  readonly sessionId: string
  readonly enc: string
  readonly clientNonce: string | null
  /** Of the body as it came, and goes on. */
  readonly hash: string
  readonly bytes: number
  /** See `InferenceRequest`. */
  readonly traceparent: string | null
  readonly span: Span | undefined
}

/** A request that was read and not yet sent, with its body. */
export interface ReadOpaque {
  readonly request: OpaqueRequest
  readonly body: Uint8Array
}

/** Frames have a length and a tag each, and before the body stands a line. */
const maxWireBytes = requestLimits.maxLength + 4096 + 65_536 * 20

/** Throws 400 for headers of another form, and what reading a body throws. */
export async function readOpaque(path: string, incoming: IncomingMessage): Promise<ReadOpaque> {
  const sessionId = sessionHeader(incoming)
  const enc = incoming.headers[ehbpHeaders.encapsulatedKey]
  if (sessionId === null)
    throw new HttpError(400, 'invalid_request_error', `${ehbpHeaders.session}: expected the id of a session`, { param: ehbpHeaders.session })
  if (!isHex(enc, 32))
    throw new HttpError(400, 'invalid_request_error', `${ehbpHeaders.session} goes with a body that is encrypted to the worker`, {
      param: ehbpHeaders.encapsulatedKey,
    })
  const traced = { traceparent: traceparentFor(incoming), span: spanOf(incoming) }
  const body = await readRequestBody(incoming, maxWireBytes)
  return { request: { path, sessionId, enc, clientNonce: nonceHeader(incoming), hash: bodyHash(body), bytes: body.length, ...traced }, body }
}

/** An answer that has begun. Whoever holds it calls `end` when it is over. */
export interface OpaqueAnswer {
  readonly worker: AdmittedWorker
  readonly answer: WorkerAnswer
  end(): void
}

/**
 * Sends it to the worker of the session it names, and to no other: nobody else could read it. Gives the refusal of aci/1 section 5.3 where that worker may not serve now,
 * 429 where it has as many requests as it may have, and 503 where it does not answer. Throws what `signal` gives as its reason.
 */
export async function sendOpaque(registry: Registry, { request, body }: ReadOpaque, signal: CancelSignal): Promise<OpaqueAnswer | HttpError> {
  const { routing } = registry
  const hold = routing.takeSession(request.sessionId)
  if (hold === 'unpinned') return new HttpError(412, 'session_not_accepted', 'the worker of this session cannot serve now')
  if (hold === 'busy')
    return new HttpError(429, 'rate_limit_error', 'the worker of this session has as many requests as it may have; retry later', {
      code: 'engine_busy',
      headers: { 'retry-after': '1' },
    })
  const { worker, end } = hold
  if (request.span !== undefined) request.span.sessionId = worker.session.id
  try {
    const sent: WorkerRequest = {
      method: 'POST',
      path: request.path,
      headers: {
        'content-type': 'application/octet-stream',
        [ehbpHeaders.encapsulatedKey]: request.enc,
        [ehbpHeaders.session]: request.sessionId,
        ...(request.clientNonce === null ? {} : { [ehbpHeaders.nonce]: request.clientNonce }),
        ...(request.traceparent === null ? {} : { traceparent: request.traceparent }),
      },
      body,
      // Whether it streams is not to be seen: a plain answer comes when it is whole.
      headersTimeout: routing.limits.answerMs,
    }
    const answer = await callWorker(worker.pool, sent, signal)
    const away = turnedAway(answer)
    if (away === null) return { worker, answer, end }
    registry.quarantine(worker, away, 'session')
    answer.abort()
  } catch (error) {
    if (signal.aborted) {
      end()
      throw signal.reason
    }
    if (error instanceof Error && 'code' in error && error.code === 'channel_mismatch')
      registry.quarantine(worker, 'its TLS key is no longer the attested one', 'session')
  }
  end()
  return new HttpError(503, 'upstream_verification_failed', 'the worker of this session could not be reached', { headers: { 'retry-after': '5' } })
}

/** What of a worker's answer goes on beside its body. A worker does not get to redirect the requester. */
export function opaqueHead({ statusCode, headers }: Pick<WorkerAnswer, 'statusCode' | 'headers'>): {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
} {
  const kept: Record<string, string> = {}
  const keep = (name: string, form: RegExp, as = name): void => {
    const value = headers[name]
    if (typeof value === 'string' && form.test(value)) kept[as] = value
  }
  keep('content-type', /^[\w/+.-]{1,64}(?:; ?charset=[\w-]{1,20})?$/)
  keep('retry-after', /^[0-9]{1,6}$/)
  keep(ehbpHeaders.responseNonce, /^[0-9a-f]{64}$/)
  keep(ehbpHeaders.sealedReceiptKey, /^[0-9a-f]{96}$/)
  keep('x-receipt-id', /^[\w-]{1,128}$/, ehbpHeaders.workerReceiptId)
  const status = statusCode === 200 || (statusCode >= 400 && statusCode <= 599) ? statusCode : 502
  return { status, headers: kept }
}
