import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { fromUtf8 } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { maxContentLength } from 'veritee/receipt'
import { readRequestBody, sendError } from '../../http/body.ts'
import { demandCredential } from '../../http/credential.ts'
import { HttpError } from '../../http/errors.ts'
import type { RateLimit } from '../../http/rate-limit.ts'
import type { HeldContents } from './held.ts'

export interface ContentRoutesDeps {
  readonly contents: Pick<HeldContents, 'offer'>
  /** For whoever hands over; null: anybody may. */
  readonly token: string | null
  /** Of contents, and of wrong credentials, by address. */
  readonly rateLimit: RateLimit
  readonly guesses: RateLimit
}

export const contentPath = '/v1/veritee/content'

/** `POST /v1/veritee/content` (spec/content.md): 202 for what was taken. What is wrong with a content is told by its code alone: nothing of a prompt or an answer goes into an error. */
export function contentRoutes(deps: ContentRoutesDeps): RequestListener {
  return (request, response) => {
    answer(deps, request, response).catch((error: unknown) => sendError(response, error instanceof VeriteeError ? asHttp(error) : error))
  }
}

async function answer({ contents, token, rateLimit, guesses }: ContentRoutesDeps, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'POST' || (request.url ?? '').split('?')[0] !== contentPath) {
    request.resume()
    throw new HttpError(404, 'not_found', `expected POST ${contentPath}`)
  }
  if (token !== null) demandCredential({ token, rateLimit: guesses, code: 'admin_credential_invalid' }, request)
  const wait = rateLimit.take(request.socket.remoteAddress ?? 'unknown')
  if (wait > 0) throw new HttpError(429, 'rate_limit_error', `retry in ${wait} s`, { headers: { 'retry-after': String(wait), connection: 'close' } })
  await contents.offer(fromUtf8(await readRequestBody(request, maxContentLength)))
  response.writeHead(202, { 'content-length': 0 }).end()
}

function asHttp({ code, kind }: VeriteeError): HttpError {
  return kind === 'unavailable'
    ? new HttpError(503, 'server_error', code, { code, headers: { 'retry-after': '60' } })
    : new HttpError(400, 'invalid_request_error', code, { code })
}
