import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { bearer, sendError } from '../http/body.ts'
import { HttpError } from '../http/errors.ts'
import { type Listening, listen } from '../http/listen.ts'
import type { Metrics } from './metrics.ts'
import { isSimulated, type Tee } from './platform.ts'
import type { Readiness } from './readiness.ts'
import { type StatusSource, statusRoutes } from './status/routes.ts'

export interface OperationsOptions {
  readonly host: string
  readonly port: number
  /** Asked for by `/metrics`, `/status` and `/workers`; without one it answers on loopback only. */
  readonly token: string | null
  readonly simulated: boolean
  readonly knowsSimulated: boolean
  readonly metrics: Metrics
  readonly readiness: Readiness
  readonly status: StatusSource
}

/**
 * The listener for operators, apart from everything public (rule S22): `/healthz`, `/readyz` with what others may not read, and `/metrics`, `/status` and a controller's `/workers` behind its token. Plain HTTP: what it tells is
 * worth a token, not a secret. Beyond loopback only with the token. Throws `usage`, `port_unavailable`.
 */
export function startOperations(options: OperationsOptions): Promise<Listening> {
  const { host, port, token, simulated, knowsSimulated, metrics, readiness } = options
  const wanted = token === null ? null : digest(token)
  const routes = statusRoutes(options.status, readiness, simulated)
  const bind = { host, port, tls: null, simulated, knowsSimulated, apiKeys: token !== null, behindTls: token !== null }
  return listen(bind, (request, response) => {
    request.resume()
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    if (request.method !== 'GET') return void sendError(response, new HttpError(405, 'invalid_request_error', 'expected GET'))
    // Probes that only want to know whether send no token.
    if (pathname === '/readyz') return readiness.answer(response, wanted === null || allowed(request, wanted) ? 'operators' : 'everybody')
    if (pathname === '/healthz') return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}')
    const route = routes.get(pathname)
    if (pathname !== '/metrics' && route === undefined)
      return void sendError(response, new HttpError(404, 'not_found', `expected ${['/metrics', ...routes.keys(), '/healthz'].join(', ')} or /readyz`))
    if (wanted !== null && !allowed(request, wanted))
      return void sendError(response, new HttpError(401, 'unauthorized', 'expected the bearer token of /metrics'))
    if (route !== undefined) return route(response)
    return void response
      .writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8', 'cache-control': 'no-store' })
      .end(metrics.text())
  })
}

interface Configured {
  readonly values: {
    readonly enclave: { readonly tee: Tee }
    readonly metrics: { readonly host: string; readonly port: number | null }
  }
  readonly secrets: { readonly [name: string]: string | null }
}

/** The listener that a configuration asks for; null where it asks for none. Throws as {@link startOperations}. */
export async function operationsOf(
  { values, secrets }: Configured,
  shown: Pick<OperationsOptions, 'metrics' | 'readiness' | 'status' | 'knowsSimulated'>,
): Promise<Listening | null> {
  const { host, port } = values.metrics
  if (port === null) return null
  return startOperations({ ...shown, host, port, token: secrets.metrics ?? null, simulated: isSimulated(values.enclave.tee) })
}

function allowed(request: IncomingMessage, wanted: Buffer): boolean {
  const given = bearer(request)
  return given !== null && timingSafeEqual(digest(given), wanted)
}

function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
