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
  return textOf(transport, request, await send(transport, request, maxBytes), refused)
}

/** The same, or null where there is no such document (404). */
export async function fetchTextIfThere(transport: Transport, request: TransportRequest, maxBytes: number): Promise<string | null> {
  const answer = await send(transport, request, maxBytes)
  return answer.status === 404 ? null : textOf(transport, request, answer, 'service_refused')
}

interface Whole {
  readonly status: number
  readonly body: Uint8Array
}

async function send(transport: Transport, request: TransportRequest, maxBytes: number): Promise<Whole> {
  // An idle timeout alone would let a host drip bytes for as long as it likes.
  const deadline = AbortSignal.timeout(textDeadlineMs)
  const signal = request.signal === undefined ? deadline : AbortSignal.any([request.signal, deadline])
  const response = await transport.send({ ...request, signal })
  return { status: response.status, body: await readBody(response, maxBytes) }
}

function textOf({ origin }: Transport, { path }: TransportRequest, { status, body }: Whole, refused: ErrorCode): string {
  if (status !== 200) throw fail(refused, `${origin}${path.split('?')[0]} answered ${status}: ${serviceMessage(new TextDecoder().decode(body))}`)
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
