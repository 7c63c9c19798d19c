import type { TransportResponse } from '../transport.ts'
import { responseWith } from './answering.ts'
import { streamOf } from './outlet.ts'
import type { PlainRefusal } from './sending.ts'

/** An answer as it came; what it was sent over is let go when its body has been read or given up. */
export function passedOn(
  body: AsyncIterable<Uint8Array>,
  { status, headers }: Pick<TransportResponse, 'status' | 'headers'>,
  release: () => void,
): Response {
  return responseWith(streamOf(body, release), status, headers)
}

/** In OpenAI's shape, so that SDKs retry or give up by the status, which is a hint; what was said beside it was nobody's word. */
export function plainRefusal({ status, message, retryAfter }: PlainRefusal): Response {
  const body = JSON.stringify({ error: { message, type: 'veritee_error', param: null, code: 'service_refused' } })
  return responseWith(body, status < 400 ? 502 : status, {
    'content-type': 'application/json',
    ...(retryAfter === null ? {} : { 'retry-after': retryAfter }),
  })
}
