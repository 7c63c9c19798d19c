import type { RequestListener } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { streamOf } from './streams.ts'

/**
 * Routes as a handler for listeners of both protocols. Where nobody has read the body of a request, Hono's adapter resets its stream of HTTP/2 a moment after the answer was written, and with it
 * what of the answer has not gone out yet. It is told to leave that be: `boundStreams` refuses the rest of such a body once the answer is out.
 */
export function routesListener(fetch: Parameters<typeof getRequestListener>[0]): RequestListener {
  const overHttp1 = getRequestListener(fetch)
  const overHttp2 = getRequestListener(fetch, { autoCleanupIncoming: false })
  return (request, response) => (streamOf(request) === null ? overHttp1 : overHttp2)(request, response)
}
