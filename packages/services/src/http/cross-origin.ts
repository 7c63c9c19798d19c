import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { ehbpHeaders } from 'veritee/ehbp'
import { tokenIssuePath } from 'veritee/tokens'
import { drainingHeader, sealedReceiptsPath, unverifiedHeader } from './chat-request.ts'
import { operations } from './openapi/operations.ts'

/** Which pages of other origins may use a listener (Fetch standard, CORS protocol). Without credentials mode: no cookie and no certificate of a browser ever counts. */
export interface CrossOrigin {
  /** Whether this is a request of such a page, for a route that they may use. */
  admits(request: IncomingMessage): boolean
  /** Answers preflights of such pages, and lets them read what `handler` answers them. Whatever else comes goes to `handler`, and its answer says nothing of origins. */
  wrap(handler: RequestListener): RequestListener
}

/** What a browser is told that a page may send. The last are those of OpenAI's SDK, which sends them with every request. */
const requestHeaders = [
  'authorization',
  'content-type',
  ehbpHeaders.nonce,
  ehbpHeaders.session,
  ehbpHeaders.encapsulatedKey,
  ehbpHeaders.binding,
  'user-agent',
  ...['arch', 'helper-method', 'lang', 'os', 'package-version', 'retry-count', 'runtime', 'runtime-version', 'timeout'].map(
    (name) => `x-stainless-${name}`,
  ),
].join(', ')

/** What a page may read of an answer, beside what browsers show anyway. */
const responseHeaders = [
  'x-receipt-id',
  'x-aci-version',
  'x-aci-keyset-digest',
  ehbpHeaders.responseNonce,
  ehbpHeaders.session,
  ehbpHeaders.nonce,
  ehbpHeaders.binding,
  ehbpHeaders.receiptKey,
  ehbpHeaders.sealedReceiptKey,
  ehbpHeaders.workerReceiptId,
  'x-veritee-unattested',
  unverifiedHeader,
  drainingHeader,
  'x-should-retry',
  'retry-after',
].join(', ')

/** How long a browser may keep the answer to a preflight. What is no longer allowed cannot be read at once all the same: each answer names the origin. */
const preflightSeconds = '600'

/** Routes for machines: figures of readiness, descriptions, and what only a controller asks. */
const notForPages = /^\/(?:healthz|readyz|openapi\.json|v1\/veritee\/statements\/)/

/** The methods of a path that pages may use: those of the API and of proofs; null for every other path. */
function routesOf(surface: 'api' | 'worker'): (path: string) => readonly string[] | null {
  const exact = new Map<string, string[]>([
    [sealedReceiptsPath, ['POST']],
    [tokenIssuePath, ['POST']],
  ])
  const patterns: (readonly [RegExp, readonly string[]])[] = []
  for (const { method, path, on } of operations) {
    if (!on.includes(surface) || notForPages.test(path)) continue
    const methods = [method.toUpperCase()]
    if (path.includes('{')) patterns.push([new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{[^}]+\}/g, '[^/]+')}$`), methods])
    else exact.set(path, [...(exact.get(path) ?? []), ...methods])
  }
  return (path) => exact.get(path) ?? patterns.find(([pattern]) => pattern.test(path))?.[1] ?? null
}

/**
 * Pages of `origins` at the routes of one listener's surface; `*` among them is every page, those without an origin of their own (`null`) too. An origin is compared as a
 * whole, as browsers write it. Null where there are none: such a listener has nothing to do with it.
 *
 * It keeps pages from reading, not requests from coming: who may ask is a matter of API keys, and of the name that a service on loopback was asked under (rule S22).
 */
export function crossOrigin(origins: readonly string[], surface: 'api' | 'worker'): CrossOrigin | null {
  if (origins.length === 0) return null
  const all = origins.includes('*')
  const known = new Set(origins)
  const routes = routesOf(surface)
  const methodsOf = (request: IncomingMessage): readonly string[] | null => routes((request.url ?? '').split('?', 1)[0] ?? '')
  const isAllowed = (origin: string | undefined): origin is string => origin !== undefined && (all || known.has(origin))
  return {
    admits: (request) => isAllowed(request.headers.origin) && methodsOf(request) !== null,
    wrap: (handler) => (request, response) => {
      const methods = methodsOf(request)
      if (methods === null) return handler(request, response)
      const { origin } = request.headers
      // Also where there is no origin: a cache must not give that answer to a page.
      response.setHeader('vary', 'Origin')
      if (!isAllowed(origin)) return handler(request, response)
      response.setHeader('access-control-allow-origin', all ? '*' : origin)
      if (request.method === 'OPTIONS' && request.headers['access-control-request-method'] !== undefined) return preflight(response, methods)
      response.setHeader('access-control-expose-headers', responseHeaders)
      return handler(request, response)
    },
  }
}

/** What is allowed, whatever was asked for: the browser compares. */
function preflight(response: ServerResponse, methods: readonly string[]): void {
  response
    .writeHead(204, {
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': requestHeaders,
      'access-control-max-age': preflightSeconds,
    })
    .end()
}
