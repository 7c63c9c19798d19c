import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { requestLimits } from 'veritee/receipt'
import { readRequestBody, sendError, sendJson } from '../../http/body.ts'
import { HttpError } from '../../http/errors.ts'
import { type LegacyAttest, legacyScheme } from '../../http/legacy-attest.ts'
import type { RateLimit } from '../../http/rate-limit.ts'
import { readBody, readHeartBeat, readModel, readRegistration } from './messages.ts'
import { forWorker, pass, refuseNoWorker, workerRoutes } from './pass.ts'
import type { UnattestedWorkers } from './workers.ts'

export interface FastchatSurfaceOptions {
  readonly workers: UnattestedWorkers
  /** `http://address:port` under which API servers reach this listener. Asked for each time: it is known once it listens. */
  readonly address: () => string
  /** Each registration costs a place and, without a status, a connection. */
  readonly registerLimit: RateLimit
  /** Null: `/attest` does not exist here. */
  readonly attest: LegacyAttest | null
}

type Members = { readonly [name: string]: unknown }

/**
 * What FastChat's workers and API servers from 0.2.18 on ask of a controller (fastchat/serve/controller.py). Nothing here is verified. API servers get an
 * address of this controller and not the worker's: so no worker's address is given out, and each worker is asked under its own name of the model.
 */
export function createFastchatSurface(options: FastchatSurfaceOptions): RequestListener {
  const { workers, address, registerLimit, attest } = options
  const answers: { readonly [path: string]: (body: Members) => unknown } = {
    '/list_models': () => ({ models: workers.models() }),
    '/list_language_models': () => ({ models: workers.models() }),
    '/list_multimodal_models': () => ({ models: [] }),
    '/worker_get_status': () => workers.status(),
    '/receive_heart_beat': (body) => {
      const { workerName, queueLength } = readHeartBeat(body)
      return { exist: workers.heartBeat(workerName, queueLength) }
    },
    '/get_worker_address': (body) => {
      const worker = workers.choose(readModel(body))
      return { address: worker === null ? '' : `${address()}/workers/${worker.id}` }
    },
    '/refresh_all_workers': async () => {
      await workers.refresh()
      return null
    },
    '/register_worker': async (body) => {
      await workers.register(readRegistration(body))
      return null
    },
  }
  const handle = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = incoming.url ?? ''
    if (incoming.method === 'GET' && path === '/test_connection') return sendJson(response, '"success"')
    if (incoming.method !== 'POST') throw noRoute(incoming)
    if (path === '/register_worker') {
      const wait = registerLimit.take(incoming.socket.remoteAddress ?? 'unknown')
      if (wait > 0)
        throw new HttpError(429, 'rate_limit_error', `too many registrations from this address; retry in ${wait} s`, {
          headers: { 'retry-after': String(wait) },
        })
    }
    if (path === '/attest' && attest !== null) return attest(incoming, response, (quote) => ({ quote }))
    // Unattested workers have no quote; attested ones are asked by aci/1.
    if (path === '/attest_workers' && attest !== null) return sendJson(response, JSON.stringify({ quote_list: {}, report_data_scheme: legacyScheme }))
    const answer = Object.hasOwn(answers, path) ? answers[path] : undefined
    if (answer !== undefined) return sendJson(response, JSON.stringify((await answer(await bodyOf(incoming))) ?? null))
    if (path === '/worker_generate_stream') {
      const body = await bodyOf(incoming)
      const worker = workers.choose(readModel(body))
      return worker === null ? refuseNoWorker(response) : pass(worker, path, forWorker(body, worker), response)
    }
    const [, id = '', route = ''] = /^\/workers\/([0-9a-f]{32})(\/\w{1,40})$/.exec(path) ?? []
    if (!workerRoutes.has(route)) throw noRoute(incoming)
    const worker = workers.byId(id)
    const body = await bodyOf(incoming)
    if (worker === null) return refuseNoWorker(response)
    if (route === '/worker_get_status')
      return sendJson(response, JSON.stringify({ model_names: [...worker.models.keys()], speed: worker.speed, queue_length: worker.queueLength }))
    pass(worker, route, forWorker(body, worker), response)
  }
  return (incoming, response) => {
    handle(incoming, response).catch((error: unknown) => sendError(response, error))
  }
}

/** True for a request that makes a worker's model work. */
export function isPassed(incoming: IncomingMessage): boolean {
  return /\/worker_generate(?:_stream)?$/.test(incoming.url ?? '')
}

/** Some are asked with no body, or with `null`. */
async function bodyOf(incoming: IncomingMessage): Promise<Members> {
  const bytes = await readRequestBody(incoming, requestLimits.maxLength)
  if (bytes.length === 0 || (bytes.length === 4 && Buffer.from(bytes).toString('latin1') === 'null')) return {}
  return readBody(bytes)
}

function noRoute(incoming: IncomingMessage): HttpError {
  return new HttpError(404, 'not_found', `no such route: ${incoming.method} ${(incoming.url ?? '').slice(0, 200)}`)
}
