import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'
import { fetchJson } from '../../http/fetch-json.ts'

export interface AskOptions {
  /** Origin of a service's listener for operators. */
  readonly url: string
  readonly token: string | null
  readonly timeoutMs?: number
  readonly maxBytes?: number
}

/**
 * GETs a JSON document from a service's listener for operators, bounded in time and size; no redirects. A token goes to loopback or over TLS only, and there the
 * certificate authorities that Node knows count: what stands before that listener is a proxy, whose key no quote binds.
 *
 * Throws `usage` for another kind of URL, `service_unavailable`, `service_refused` (status other than 200), `response_too_large`, `malformed_json`.
 */
export async function askOperations(path: string, { url, token, timeoutMs = 10_000, maxBytes = 32 << 20 }: AskOptions): Promise<unknown> {
  const { origin, protocol, hostname } = originOf(url)
  if (token !== null && protocol === 'http:' && !isLoopbackHost(hostname))
    throw fail('usage', `a token goes to loopback or over https only; found ${origin}`)
  const headers = { accept: 'application/json', ...(token === null ? {} : { authorization: `Bearer ${token}` }) }
  return fetchJson(`${origin}${path}`, {
    method: 'GET',
    headers,
    timeoutMs,
    maxBytes,
    unauthorizedHint: '; say --token-file or VERITEE_METRICS_TOKEN',
  })
}

function originOf(url: string): URL {
  const parsed = url.length <= 512 && URL.canParse(url) ? new URL(url) : null
  const isHttp = parsed?.protocol === 'http:' || parsed?.protocol === 'https:'
  // Credentials in a URL, and whatever else may stand there, are not repeated.
  if (parsed === null || !isHttp || parsed.href !== `${parsed.origin}/`)
    throw fail('usage', '--url: expected http://host:port or https://host:port, and nothing more')
  return parsed
}
