import { fromUtf8 } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import type { GetLogFile } from '../../log/index.ts'
import { readBody } from '../fetch-text.ts'
import { webTransport } from '../web-transport.ts'

const timeoutMs = 15_000
const maxBytes = 1 << 20
/** 256 lines. */
const maxViewsBytes = 5 << 20

/**
 * Files of a log over HTTP, at most 1 MiB each within 15 seconds. Nothing they hold is trusted, nor is whoever serves them. `url` is the log's prefix.
 * Throws `usage` for another kind of URL; reading throws `service_unavailable`, `service_refused`, `response_too_large`.
 */
export function logFilesAt(url: string): GetLogFile {
  return filesAt(url, {}, maxBytes)
}

/** Statements behind the entries of a bundle of 256, by the log's credential for them; null where it has none. Reading throws as {@link logFilesAt} says. */
export function logViewsAt(url: string, token: string): (bundle: number) => Promise<readonly string[] | null> {
  const get = filesAt(url, { authorization: `Bearer ${token}` }, maxViewsBytes)
  return async (bundle) => {
    const bytes = await get(`views/${bundle}`)
    return bytes === null ? null : fromUtf8(bytes).split('\n').slice(0, -1)
  }
}

function filesAt(url: string, headers: { readonly [name: string]: string }, limit: number): GetLogFile {
  const transport = webTransport(url)
  return async (path) => {
    const response = await transport.send({ method: 'GET', path: `/${path}`, headers, signal: AbortSignal.timeout(timeoutMs) })
    const bytes = await readBody(response, limit)
    if (response.status === 404) return null
    if (response.status !== 200) throw fail('service_refused', `the log answered with status ${response.status}`)
    return bytes
  }
}
