import { concatAll, fromUtf8 } from '../bytes/bytes.ts'
import { type ErrorCode, fail } from '../errors.ts'
import type { Transport, TransportRequest, TransportResponse } from './transport.ts'

/** The whole body, bounded. Throws `response_too_large`, `service_unavailable`. */
export async function readBody(response: TransportResponse, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  try {
    for await (const part of response.body) {
      length += part.length
      if (length > maxBytes) throw fail('response_too_large', `expected at most ${maxBytes} bytes`)
      parts.push(part)
    }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'response_too_large') throw cause
    throw fail('service_unavailable', `the answer broke off after ${length} bytes`, cause)
  }
  return concatAll(parts)
}

/** Milliseconds that one small document may take in all. */
const textDeadlineMs = 60_000

/** Sends a request and reads a text of at most `maxBytes`. A status other than 200 is `refused` (default `service_refused`) with the service's own message. */
export async function fetchText(
  transport: Transport,
  request: TransportRequest,
  maxBytes: number,
  refused: ErrorCode = 'service_refused',
): Promise<string> {
  // An idle timeout alone would let a host drip bytes for as long as it likes.
  const deadline = AbortSignal.timeout(textDeadlineMs)
  const signal = request.signal === undefined ? deadline : AbortSignal.any([request.signal, deadline])
  const response = await transport.send({ ...request, signal })
  const body = await readBody(response, maxBytes)
  if (response.status !== 200)
    throw fail(
      refused,
      `${transport.origin}${request.path.split('?')[0]} answered ${response.status}: ${serviceMessage(new TextDecoder().decode(body))}`,
    )
  return fromUtf8(body)
}

/** The message of an error body in OpenAI's shape, shortened to one line without control characters; it is the service's word and nothing more. */
export function serviceMessage(text: string): string {
  try {
    const message: unknown = (JSON.parse(text) as { error?: { message?: unknown } }).error?.message
    if (typeof message === 'string') return message.slice(0, 300).replace(/[\p{Cc}\u2028\u2029]+/gu, ' ')
  } catch {
    // Not JSON: fall through to the plain words.
  }
  return text === '' ? 'no body' : "a body that is not an error in OpenAI's shape"
}
