import http, { type ServerResponse } from 'node:http'
import https from 'node:https'
import { utf8 } from 'veritee/bytes'
import type { UnattestedWorker } from './workers.ts'

/** FastChat's codes of a controller (fastchat/constants.py). */
const noWorker = 50005
const workerTimeout = 50006

/** FastChat's `WORKER_API_TIMEOUT`: this much silence of a worker ends the wait. */
const silenceMs = 100_000

/** What a worker is asked for through this controller. `/attest` is not among them (rule S1). */
export const workerRoutes: ReadonlySet<string> = new Set([
  '/worker_generate_stream',
  '/worker_generate',
  '/worker_get_status',
  '/count_token',
  '/worker_get_conv_template',
  '/model_details',
  '/worker_get_embeddings',
])

/** The body with the model under the worker's own name for it. Nothing here is verified, so nothing is lost by writing the JSON anew. */
export function forWorker(body: { readonly [name: string]: unknown }, worker: UnattestedWorker): Uint8Array {
  const { model } = body
  const own = typeof model === 'string' ? worker.models.get(model) : undefined
  return utf8(JSON.stringify(own === undefined ? body : { ...body, model: own }))
}

/** Sends the request on and the worker's answer back, byte for byte and as fast as it is taken. A worker that cannot be reached is told as FastChat tells it. */
export function pass(worker: UnattestedWorker, route: string, body: Uint8Array, response: ServerResponse): void {
  const failed = (): void => {
    if (response.headersSent) response.destroy()
    else sendFrame(response, workerTimeout, 'the worker could not be reached')
  }
  const request = (worker.url.startsWith('https:') ? https : http).request(
    `${worker.url}${route}`,
    { method: 'POST', agent: false, timeout: silenceMs, headers: { 'content-type': 'application/json', 'content-length': body.length } },
    (answer) => {
      const type = answer.headers['content-type']
      // A worker does not get to redirect anybody, nor to set other headers.
      const status = answer.statusCode ?? 502
      response.writeHead(status < 300 || status >= 400 ? status : 502, {
        'content-type': type ?? 'application/octet-stream',
        'cache-control': 'no-store',
      })
      // What breaks off there breaks off here: a reader must not take it for whole.
      answer.once('error', () => response.destroy())
      answer.pipe(response)
    },
  )
  request.once('timeout', () => request.destroy(new Error('silence')))
  request.once('error', failed)
  response.once('close', () => request.destroy())
  request.end(body)
}

export function refuseNoWorker(response: ServerResponse): void {
  sendFrame(response, noWorker, 'no unattested worker serves this model now')
}

/** Errors are told in frames with status 200: readers of FastChat's streams look nowhere else. */
function sendFrame(response: ServerResponse, code: number, text: string): void {
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(`${JSON.stringify({ text, error_code: code })}\0`)
}
