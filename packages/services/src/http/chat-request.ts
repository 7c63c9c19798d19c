import type { IncomingMessage } from 'node:http'
import { isHex } from 'veritee/bytes'
import { HttpError } from './errors.ts'

/** What worker and controller read alike of a chat request. */

/** Set on the refusal of a service that is stopping: whoever routes can go elsewhere. */
export const drainingHeader = 'x-veritee-draining'

/** Set on the refusal of a worker that has not verified this controller. */
export const unverifiedHeader = 'x-veritee-unverified'

export const chatEndpoint = '/v1/chat/completions'
export const completionsEndpoint = '/v1/completions'
export const responsesEndpoint = '/v1/responses'
export const embeddingsEndpoint = '/v1/embeddings'

/** Where a requester fetches the receipt of an exchange whose body was encrypted to a worker. */
export const sealedReceiptsPath = '/v1/veritee/receipts'

/** Those that run a model, and have receipts. */
export const inferenceEndpoints: ReadonlySet<string> = new Set([chatEndpoint, completionsEndpoint, responsesEndpoint, embeddingsEndpoint])

/** A request that runs a model. */
export function isInference(request: IncomingMessage): boolean {
  return request.method === 'POST' && request.url !== undefined && inferenceEndpoints.has(request.url)
}

/** The requester's nonce (rule S10), or null. Throws 400 for anything else in its header. */
export function nonceHeader(incoming: IncomingMessage): string | null {
  const value = incoming.headers['x-veritee-nonce']
  if (value === undefined) return null
  if (!isHex(value, 32))
    throw new HttpError(400, 'invalid_request_error', 'X-Veritee-Nonce: expected 64 lower-case hex digits', { param: 'X-Veritee-Nonce' })
  return value
}

export function unknownModel(model: string, served: readonly string[]): HttpError {
  return new HttpError(
    404,
    'invalid_request_error',
    `model ${JSON.stringify(model.slice(0, 100))} is not served here; served: ${served.join(', ') || 'none'}`,
    {
      code: 'model_not_found',
      param: 'model',
    },
  )
}
