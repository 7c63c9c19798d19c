import http from 'node:http'
import https from 'node:https'
import { fromUtf8, parseJson } from 'veritee/bytes'
import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'

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
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const failed = (cause: unknown): void => reject(fail('service_unavailable', `${origin} did not answer: ${why(cause)}`, cause))
  const headers = { accept: 'application/json', ...(token === null ? {} : { authorization: `Bearer ${token}` }) }
  const request = (protocol === 'https:' ? https : http).request(`${origin}${path}`, { agent: false, headers }, (response) => {
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
      const hint = response.statusCode === 401 ? '; say --token-file or VERITEE_METRICS_TOKEN' : ''
      reject(fail('service_refused', `${origin}${path} answered with status ${response.statusCode}${hint}`))
    })
  })
  const timer = setTimeout(() => request.destroy(new Error(`nothing whole within ${timeoutMs} ms`)), timeoutMs)
  request.once('error', failed)
  request.once('close', () => failed(new Error('the connection was closed')))
  request.end()
  try {
    return parseJson(fromUtf8(await promise), { maxLength: maxBytes, maxDepth: 16 })
  } finally {
    clearTimeout(timer)
  }
}

function originOf(url: string): URL {
  const parsed = url.length <= 512 && URL.canParse(url) ? new URL(url) : null
  const isHttp = parsed?.protocol === 'http:' || parsed?.protocol === 'https:'
  // Credentials in a URL, and whatever else may stand there, are not repeated.
  if (parsed === null || !isHttp || parsed.href !== `${parsed.origin}/`)
    throw fail('usage', '--url: expected http://host:port or https://host:port, and nothing more')
  return parsed
}

function why(cause: unknown): string {
  return cause instanceof Error ? cause.message || cause.name : 'unknown failure'
}
