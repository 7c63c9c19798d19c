import http from 'node:http'
import https from 'node:https'
import { fromUtf8, parseJson } from 'veritee/bytes'
import { fail } from 'veritee/errors'

export interface JsonRequest {
  readonly method: 'GET' | 'POST'
  readonly headers?: { readonly [name: string]: string }
  /** Sent as JSON. */
  readonly body?: unknown
  readonly timeoutMs: number
  readonly maxBytes: number
  /** What to do about a 401, for its message. */
  readonly unauthorizedHint?: string
}

/**
 * One request and its JSON answer, bounded in time and size. One connection per call, no redirects; `fetch` is not used because it does not run in every enclave. Not the
 * library's transport either: that one leaves certificate authorities out, and where this is used they are the only proof of a peer there is.
 * Throws `service_unavailable`, `service_refused` (status other than 200), `response_too_large`, `malformed_json`.
 */
export async function fetchJson(
  url: string,
  { method, headers = {}, body, timeoutMs, maxBytes, unauthorizedHint = '' }: JsonRequest,
): Promise<unknown> {
  const { origin } = new URL(url)
  const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body))
  const sent = bytes === null ? headers : { ...headers, 'content-type': 'application/json', 'content-length': bytes.length }
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
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
    response.once('end', () => {
      if (response.statusCode === 200) return resolve(Buffer.concat(parts))
      const hint = response.statusCode === 401 ? unauthorizedHint : ''
      reject(fail('service_refused', `${origin} answered with status ${response.statusCode}${hint}`))
    })
  })
  const timer = setTimeout(() => request.destroy(new Error(`nothing whole within ${timeoutMs} ms`)), timeoutMs)
  request.once('error', failed)
  request.once('close', () => failed(new Error('the connection was closed')))
  request.end(bytes ?? undefined)
  try {
    return parseJson(fromUtf8(await promise), { maxLength: maxBytes, maxDepth: 16 })
  } finally {
    clearTimeout(timer)
  }
}

function why(cause: unknown): string {
  return cause instanceof Error ? cause.message || cause.name : 'unknown failure'
}
