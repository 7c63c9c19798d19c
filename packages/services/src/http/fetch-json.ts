import { fromUtf8, parseJson } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { requestBytes } from './request-bytes.ts'

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
 * One request and its JSON answer, bounded as {@link requestBytes} is. Throws `service_unavailable`, `service_refused` (status other than 200), `response_too_large`, `malformed_json`.
 */
export async function fetchJson(
  url: string,
  { method, headers = {}, body, timeoutMs, maxBytes, unauthorizedHint = '' }: JsonRequest,
): Promise<unknown> {
  const asked =
    body === undefined ? { headers } : { headers: { ...headers, 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(body)) }
  const { status, bytes } = await requestBytes(url, { method, ...asked, timeoutMs, maxBytes })
  if (status === 200) return parseJson(fromUtf8(bytes), { maxLength: maxBytes, maxDepth: 16 })
  throw fail('service_refused', `${new URL(url).origin} answered with status ${status}${status === 401 ? unauthorizedHint : ''}`)
}
