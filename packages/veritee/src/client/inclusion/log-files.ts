import { fail } from '../../errors.ts'
import type { GetLogFile } from '../../log/index.ts'
import { readBody } from '../fetch-text.ts'
import { webTransport } from '../web-transport.ts'

const timeoutMs = 15_000
const maxBytes = 1 << 20

/**
 * Files of a log over HTTP, at most 1 MiB each within 15 seconds. Nothing they hold is trusted, nor is whoever serves them. `url` is the log's prefix.
 * Throws `usage` for another kind of URL; reading throws `service_unavailable`, `service_refused`, `response_too_large`.
 */
export function logFilesAt(url: string): GetLogFile {
  const transport = webTransport(url)
  return async (path) => {
    const response = await transport.send({ method: 'GET', path: `/${path}`, signal: AbortSignal.timeout(timeoutMs) })
    const bytes = await readBody(response, maxBytes)
    if (response.status === 404) return null
    if (response.status !== 200) throw fail('service_refused', `the log answered with status ${response.status}`)
    return bytes
  }
}
