import { randomBytes } from 'node:crypto'
import type { Dispatcher } from 'undici'
import { drainingHeader, unknownModel } from '../../http/chat-request.ts'
import { HttpError } from '../../http/errors.ts'
import type { AdmittedWorker, Registry } from '../registry.ts'
import type { Wanted } from '../routing/router.ts'
import { header } from './answer-header.ts'
import type { InferenceRequest } from './read-request.ts'

/** An answer that has begun. Whoever holds it calls `end` when it is over. */
export interface Served {
  readonly worker: AdmittedWorker
  readonly answer: Dispatcher.ResponseData
  readonly upstreamNonce: string
  end(): void
}

const maxAttempts = 3

/**
 * Sends a request to a verified worker, and to another one as long as none has answered. Each attempt is routed anew: a worker that was set aside
 * meanwhile gets nothing. Gives the refusal of aci/1 section 5.3 where nobody may serve the request; throws where no worker at all has the model.
 */
export async function dispatch(registry: Registry, request: InferenceRequest, signal: AbortSignal): Promise<Served | HttpError> {
  const { routing } = registry
  const wanted: Wanted = { model: request.model, sessionIds: request.spliced.constraints.sessionIds }
  const tried: AdmittedWorker[] = []
  while (tried.length < maxAttempts) {
    const worker = routing.choose(wanted, tried)
    if (worker === null) break
    tried.push(worker)
    const served = await attempt(registry, worker, request, signal)
    if (served !== null) return served
  }
  return tried.length === 0 ? nobody(registry, wanted) : unreachable()
}

function nobody({ routing }: Registry, { model, sessionIds }: Wanted): HttpError {
  if (sessionIds !== null) return new HttpError(412, 'session_not_accepted', 'none of the pinned sessions can serve this model now')
  if (!routing.knows(model)) throw unknownModel(model, routing.models())
  return new HttpError(503, 'upstream_verification_failed', 'no verified worker serves this model now', { headers: { 'retry-after': '5' } })
}

function unreachable(): HttpError {
  return new HttpError(503, 'upstream_verification_failed', 'no verified worker could be reached', { headers: { 'retry-after': '5' } })
}

/** Null where the worker did not answer. */
async function attempt(registry: Registry, worker: AdmittedWorker, request: InferenceRequest, signal: AbortSignal): Promise<Served | null> {
  const upstreamNonce = request.clientNonce ?? randomBytes(32).toString('hex')
  const { load } = worker
  load.outstanding++
  let ended = false
  const end = (): void => {
    if (!ended) load.outstanding--
    ended = true
  }
  try {
    const answer = await worker.pool.request({
      method: 'POST',
      path: request.endpoint,
      headers: { 'content-type': 'application/json', 'x-veritee-nonce': upstreamNonce },
      body: request.spliced.forwarded,
      signal,
    })
    if (answer.statusCode !== 503 || header(answer, drainingHeader) === null) return { worker, answer, upstreamNonce, end }
    // It says so over its pinned connection: it answers nothing more, and comes back, if it does, with a challenge.
    end()
    registry.quarantine(worker, 'it is stopping', 'session')
    // It broke off: that is nothing more to it.
    await answer.body.dump().catch(() => undefined)
  } catch (error) {
    end()
    if (signal.aborted) throw new HttpError(499, 'invalid_request_error', 'the requester went away', { cause: error })
    if (error instanceof Error && 'code' in error && error.code === 'channel_mismatch')
      registry.quarantine(worker, 'its TLS key is no longer the attested one', 'session')
  }
  return null
}
