import http, { type IncomingHttpHeaders } from 'node:http'
import https from 'node:https'
import { fail } from 'veritee/errors'

export interface BoundedRequest {
  readonly method: 'GET' | 'POST'
  readonly headers?: { readonly [name: string]: string }
  readonly body?: Uint8Array
  /** Until the whole answer has come. */
  readonly timeoutMs: number
  readonly maxBytes: number
}

/**
 * One request and its answer of any status, bounded in time and size. One connection per call, no redirects; `fetch` is not used because it does not run in every enclave. Not the
 * library's transport either: that one leaves certificate authorities out, and where this is used they are the only proof of a peer there is.
 * Throws `service_unavailable`, `response_too_large`.
 */
export async function requestBytes(
  url: string,
  { method, headers = {}, body, timeoutMs, maxBytes }: BoundedRequest,
): Promise<{ readonly status: number; readonly headers: IncomingHttpHeaders; readonly bytes: Uint8Array }> {
  const { origin } = new URL(url)
  const sent = body === undefined ? headers : { ...headers, 'content-length': body.length }
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; headers: IncomingHttpHeaders; bytes: Uint8Array }>()
  const failed = (cause: unknown): void => reject(fail('service_unavailable', `${origin} did not answer: ${why(cause)}`, cause))
  const request = (url.startsWith('https:') ? https : http).request(url, { method, agent: false, headers: sent }, (response) => {
    const parts: Buffer[] = []
    let length = 0
    response.on('data', (part: Buffer) => {
      length += part.length
      parts.push(part)
      if (length <= maxBytes) return
      reject(fail('response_too_large', `expected an answer of at most ${maxBytes} bytes`))
      request.destroy()
    })
    response.once('error', failed)
    response.once('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes: Buffer.concat(parts) }))
  })
  const timer = setTimeout(() => request.destroy(new Error(`nothing whole within ${timeoutMs} ms`)), timeoutMs)
  request.once('error', failed)
  request.once('close', () => failed(new Error('the connection was closed')))
  request.end(body)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

function why(cause: unknown): string {
  return cause instanceof Error ? cause.message || cause.name : 'unknown failure'
}
