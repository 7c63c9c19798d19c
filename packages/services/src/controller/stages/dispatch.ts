import { errors } from 'undici'
import { drawBytes } from '../../enclave/runtime/random.ts'
import { embeddingsEndpoint, unknownModel } from '../../http/chat-request.ts'
import { HttpError } from '../../http/errors.ts'
import { acceptsTrailers } from '../../http/receipt-trailer.ts'
import type { CancelSignal } from '../cancellation.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import type { Retry } from '../routing/figures.ts'
import type { Lease } from '../routing/lease.ts'
import { type Asker, type Lacking, unverified, type Wanted } from '../routing/router.ts'
import { callWorker, readWhole } from '../worker-answer.ts'
import { maximumOf, type ReadRequest } from './read-request.ts'
import { type Served, Unanswered } from './served.ts'
import { turnedAway } from './turned-away.ts'

/** Of a worker's own refusal. */
const maxRefusalBytes = 65_536

/**
 * Sends a request to a verified worker, and to another one where it fails before it has answered. Each attempt is routed anew: a worker that was set
 * aside meanwhile gets nothing. Where all have as much as they may have, the request waits. A worker that says that it has no room gets no more than it
 * has for a while; the request may come to it again.
 *
 * Another worker is asked after a failure of the connection, and after a status of 500 or more or 429; never after a time limit, for then the first may
 * still be at work. Such a status counts against a worker only if another one answers the same request: else the request is to blame, and whoever sends
 * it could keep workers out of service for everybody (rule S19).
 *
 * Gives the refusal of aci/1 section 5.3 where nobody may serve the request; throws where no worker at all has the model, and what
 * {@link Router.wait} throws.
 */
export async function dispatch(registry: Registry, read: ReadRequest, asker: Asker, signal: CancelSignal): Promise<Served | Unanswered | HttpError> {
  const { routing } = registry
  const wanted = wantedBy(read, asker)
  const tried: AdmittedWorker[] = []
  const failed: Lease[] = []
  let refused: Served | null = null
  for (let attempts = 0; attempts < routing.limits.attempts; attempts++) {
    const taken = routing.take(wanted, tried)
    if (typeof taken === 'string' && taken !== 'busy') {
      if (attempts === 0) return nobody(registry, wanted, taken)
      break
    }
    const lease = taken === 'busy' ? await routing.wait(wanted, tried, signal).catch(instead(refused)) : taken
    if (lease === null) break
    const attempted = await attempt(registry, lease, read, signal)
    if (attempted instanceof Unanswered) return attempted
    if (typeof attempted === 'string') {
      routing.figures.retried(attempted)
      tried.push(lease.worker)
      continue
    }
    const { statusCode } = attempted.answer
    if (attempted.refusal === null || (statusCode !== 429 && statusCode < 500)) {
      for (const other of failed) other.failed()
      return attempted
    }
    refused = attempted
    routing.figures.retried(statusCode === 429 ? 'busy' : 'failed')
    if (statusCode === 429) continue
    failed.push(lease)
    tried.push(lease.worker)
  }
  return refused ?? new HttpError(503, 'upstream_verification_failed', 'no verified worker could be reached', { headers: { 'retry-after': '5' } })
}

function wantedBy(read: ReadRequest, asker: Asker): Wanted {
  const { endpoint, model, bytes } = read.request
  const { content } = read
  return {
    model,
    sessionIds: content.constraints.sessionIds,
    tenant: asker.tenant,
    salt: asker.salt,
    // Nothing of an embedding is kept for the next one.
    body: endpoint === embeddingsEndpoint ? null : content.value,
    promptBytes: bytes,
    maxTokens: maximumOf(read),
  }
}

function nobody({ routing }: Registry, { model }: Wanted, lacking: Lacking): HttpError {
  if (lacking === 'unpinned') return new HttpError(412, 'session_not_accepted', 'none of the pinned sessions can serve this model now')
  const models = routing.models()
  // One that has no worker at all, as it may not have yet when it has just begun, does not know which models there are: clients may ask again.
  if (lacking === 'unknown' && models.length > 0) throw unknownModel(model, models)
  if (lacking === 'unverified') return unverified()
  return new HttpError(503, 'upstream_verification_failed', 'no verified worker of this model answers at the moment', {
    headers: { 'retry-after': '5' },
  })
}

/** A worker's own words are better than that there was no room at another one. */
function instead(refused: Served | null): (error: unknown) => null {
  return (error) => {
    if (refused === null) throw error
    return null
  }
}

/** The answer, or why there is none. Throws where the requester left. */
async function attempt(
  registry: Registry,
  lease: Lease,
  { request, content }: ReadRequest,
  signal: CancelSignal,
): Promise<Served | Unanswered | Retry> {
  const { worker } = lease
  const { firstByteMs, answerMs } = registry.routing.limits
  const upstreamNonce = request.clientNonce ?? drawBytes(32).toString('hex')
  const began = performance.now()
  const asksStream = content.value.stream === true
  const headersTimeout = asksStream ? firstByteMs : answerMs
  if (request.span !== undefined) request.span.sessionId = worker.session.id
  try {
    const plain = { 'content-type': 'application/json', 'x-veritee-nonce': upstreamNonce, te: acceptsTrailers.te }
    const headers = request.traceparent === null ? plain : { ...plain, traceparent: request.traceparent }
    const sent = { method: 'POST', path: request.endpoint, headers, body: content.forwarded, headersTimeout, plain: !asksStream } as const
    const answer = await callWorker(worker.pool, sent, signal)
    const served = { lease, answer, upstreamNonce, began, refusal: null }
    if (answer.statusCode === 200) {
      lease.began()
      return served
    }
    const away = turnedAway(answer)
    if (away !== null) {
      registry.quarantine(worker, away, 'session')
      lease.end()
      answer.abort()
      return 'stopping'
    }
    const { bytes: refusal } = await readWhole(answer, maxRefusalBytes)
    if (answer.statusCode === 429) lease.refusedForWantOfRoom()
    else if (answer.statusCode < 500) lease.succeeded()
    lease.end()
    return { ...served, refusal }
  } catch (error) {
    lease.end()
    if (signal.aborted) {
      const reason: unknown = signal.reason
      if (reason instanceof HttpError && reason.status === 504) return new Unanswered(worker, reason)
      throw reason
    }
    if (error instanceof Error && 'code' in error && error.code === 'channel_mismatch')
      registry.quarantine(worker, 'its TLS key is no longer the attested one', 'session')
    else if (!(error instanceof errors.HeadersTimeoutError)) lease.failed()
    else {
      // How long a plain answer takes is the requester's choice too.
      if (asksStream) lease.failed()
      const message = `the worker did not begin to answer within ${headersTimeout / 1000} s`
      return new Unanswered(worker, new HttpError(504, 'server_error', message, { code: 'first_byte_timeout', cause: error }))
    }
    return 'transport'
  }
}
