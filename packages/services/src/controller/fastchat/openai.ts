import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { SplicedRequest } from 'veritee/receipt'
import { HttpError } from '../../http/errors.ts'
import { unverifiedSuffix } from '../../http/unverified.ts'
import { abortSignalOf, type CancelSignal } from '../cancellation.ts'

/** Models of unattested workers, as the API serves them: under names with the suffix, and through FastChat's own API server. */
export interface UnattestedModels {
  /** Names, each with the suffix. */
  models(): readonly string[]
  /** Origin of FastChat's API server, which knows its workers' templates; null: the API does not serve such models. */
  readonly api: string | null
}

export interface UnattestedRequest {
  readonly request: { readonly endpoint: string; readonly model: string }
  readonly content: Pick<SplicedRequest, 'constraints' | 'forwarded'>
}

/** FastChat's API server gives up after 100 s of silence of a worker. */
const silenceMs = 110_000
/** Tells whoever looks that nothing of this answer is verified; it has no receipt either. */
export const unattestedHeader = 'x-veritee-unattested'

/** Whether a name is one that attested workers never serve (rule S22). */
export function isUnattested(model: string): boolean {
  return model.endsWith(unverifiedSuffix)
}

/**
 * Sends a request for such a model on to FastChat's API server, and its answer back byte for byte. Nothing of it is verified, no receipt cites it, and a header says so. Throws {@link HttpError}: 503
 * `upstream_verification_failed` for a request that demands verified or pinned workers (aci/1 section 5.3), 404 for a name that no worker serves, 502 where the server does not answer.
 */
export async function passUnattested(
  { models, api }: UnattestedModels,
  { request: { endpoint, model }, content }: UnattestedRequest,
  response: ServerResponse,
  signal: CancelSignal,
): Promise<'complete' | 'error'> {
  if (content.constraints.verified === true || content.constraints.sessionIds !== null)
    throw new HttpError(503, 'upstream_verification_failed', 'this model is served by unattested workers only, and the request demands verified ones')
  if (api === null || !models().includes(model))
    throw new HttpError(404, 'not_found', 'no unattested worker serves this model', { code: 'model_not_found' })
  const answer = await answerOf(`${api}${endpoint}`, content.forwarded, abortSignalOf(signal))
  const { statusCode = 502, headers } = answer
  response.setHeader(unattestedHeader, '1')
  // It does not get to redirect anybody, nor to set other headers.
  response.writeHead(statusCode < 300 || (statusCode >= 400 && statusCode < 600) ? statusCode : 502, {
    'content-type': headers['content-type'] ?? 'application/octet-stream',
    'cache-control': 'no-store',
  })
  const { promise, resolve } = Promise.withResolvers<'complete' | 'error'>()
  // What breaks off there breaks off here: a reader must not take it for whole.
  answer.once('error', () => {
    response.destroy()
    resolve('error')
  })
  response.once('close', () => resolve(response.writableFinished && statusCode === 200 ? 'complete' : 'error'))
  answer.pipe(response)
  return promise
}

function answerOf(url: string, body: Uint8Array, signal: AbortSignal): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  const request = (url.startsWith('https:') ? https : http).request(
    url,
    { method: 'POST', agent: false, timeout: silenceMs, headers, signal },
    resolve,
  )
  request.once('timeout', () => request.destroy(new Error('silence')))
  request.once('error', (cause) =>
    reject(new HttpError(502, 'server_error', "FastChat's API server does not answer", { code: 'upstream_broken', cause })),
  )
  request.end(body)
  return promise
}
