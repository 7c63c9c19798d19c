import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { fromUtf8 } from 'veritee/bytes'
import { maxAddCheckpointLength } from 'veritee/log'
import { readRequestBody, sendError } from '../http/body.ts'
import { HttpError } from '../http/errors.ts'
import type { RateLimit } from '../http/rate-limit.ts'
import type { Witness } from './witness.ts'

/** A witness over HTTP (https://c2sp.org/tlog-witness): `POST /add-checkpoint`, and for monitors `GET /<origin hash>/checkpoint`. Anybody may ask: a checkpoint is its own credential. */
export function witnessRoutes(witness: Witness, rateLimit: RateLimit): RequestListener {
  return (request, response) => {
    answer(witness, rateLimit, request, response).catch((error: unknown) => sendError(response, error))
  }
}

async function answer(witness: Witness, rateLimit: RateLimit, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? '/').split('?')[0] ?? '/'
  if (request.method === 'POST' && path === '/add-checkpoint') {
    const wait = rateLimit.take(request.socket.remoteAddress ?? 'unknown')
    if (wait > 0) throw new HttpError(429, 'rate_limit_error', `retry in ${wait} s`, { headers: { 'retry-after': String(wait) } })
    const { status, body, contentType } = await witness.addCheckpoint(fromUtf8(await readRequestBody(request, 3 * maxAddCheckpointLength)))
    return void response.writeHead(status, { 'content-type': contentType, 'content-length': Buffer.byteLength(body) }).end(body)
  }
  request.resume()
  const hash = /^\/([0-9a-f]{64})\/checkpoint$/.exec(path)?.[1]
  const note = request.method === 'GET' && hash !== undefined ? witness.latest(hash) : null
  if (note === null) throw new HttpError(404, 'not_found', 'expected POST /add-checkpoint, or /<origin hash>/checkpoint of a log that was cosigned')
  const headers = { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(note), 'cache-control': 'no-cache' }
  return void response.writeHead(200, headers).end(note)
}
