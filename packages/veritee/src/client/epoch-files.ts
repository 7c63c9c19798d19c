import { concatAll } from '../bytes/bytes.ts'
import { fail, VeriteeError } from '../errors.ts'
import type { ReadFile } from '../scoring/index.ts'
import { isLoopback } from './web-transport.ts'

/** What one site may cost whoever reads a bundle from it. */
export interface SiteBounds {
  /** Until a file has come as a whole. */
  readonly fileMs: number
  /** Spent waiting for files, all together: what they are verified for in between does not count. */
  readonly waitMs: number
  /** Of all files together. */
  readonly bytes: number
}

const usual: SiteBounds = { fileMs: 120_000, waitMs: 1_800_000, bytes: 2 ** 32 }

export interface SiteOptions {
  readonly bounds?: SiteBounds
  readonly signal?: AbortSignal
  readonly fetcher?: typeof fetch
  /** Milliseconds of a clock that only goes forward. */
  readonly clockMs?: () => number
}

/**
 * The files of an epoch bundle that lie under a URL, for `verifyEpoch`. Whoever serves them is not trusted: nothing is believed that the manifest's digests and the
 * signatures do not show. A file is read as far as `maxBytes` and no further, so that one which is longer than listed is found to differ. Redirects are not followed.
 *
 * Throws `usage` for a URL that is not https (or http of this machine), or has credentials, a query or a fragment. Reading throws `service_refused` for an answer other
 * than 200, redirects among them, `service_unavailable` for one that does not come, breaks off or takes too long, `response_too_large` where all files together are.
 */
export function epochFilesAt(url: string, options: SiteOptions = {}): ReadFile {
  const { bounds = usual, signal, fetcher = fetch, clockMs = () => performance.now() } = options
  const root = rootOf(url)
  let waitedMs = 0
  let bytesRead = 0
  return async (path, maxBytes) => {
    const left = bounds.waitMs - waitedMs
    if (left <= 0) throw fail('service_unavailable', `${root.href}: its files took more than ${bounds.waitMs / 1000} s together`)
    const began = clockMs()
    const deadline = AbortSignal.timeout(Math.min(bounds.fileMs, left))
    try {
      const bytes = await readFile(fetcher, new URL(path, root), maxBytes, signal === undefined ? deadline : AbortSignal.any([signal, deadline]))
      bytesRead += bytes.length
      if (bytesRead > bounds.bytes) throw fail('response_too_large', `${root.href}: expected at most ${bounds.bytes} bytes of all files together`)
      return bytes
    } catch (cause) {
      signal?.throwIfAborted()
      if (!deadline.aborted) throw cause
      throw fail('service_unavailable', `${root.href}${path}: it had not come as a whole in time`, cause)
    } finally {
      waitedMs += clockMs() - began
    }
  }
}

function rootOf(url: string): URL {
  const root = URL.canParse(url) ? new URL(url) : null
  if (root === null || root.username !== '' || root.password !== '' || root.search !== '' || root.hash !== '')
    throw fail('usage', 'expected the URL of a bundle, without credentials, query or fragment')
  if (root.protocol !== 'https:' && !(root.protocol === 'http:' && isLoopback(root.hostname))) throw fail('usage', 'expected an https address')
  // Otherwise the last name would be replaced by that of a file.
  if (!root.pathname.endsWith('/')) root.pathname += '/'
  return root
}

async function readFile(fetcher: typeof fetch, address: URL, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  let length = 0
  try {
    const response = await fetcher(address, {
      // Nothing is saved by a length that is not that of the file.
      headers: { 'accept-encoding': 'identity' },
      redirect: 'manual',
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
      signal,
    })
    const { status, body } = response
    if (status !== 200 || body === null) {
      await body?.cancel()
      const redirected = (status >= 300 && status < 400) || response.type === 'opaqueredirect'
      throw fail('service_refused', `${address.href}: ${redirected ? 'a redirect, which is not followed' : `status ${status}`}`)
    }
    const parts: Uint8Array[] = []
    const reader = body.getReader()
    try {
      while (length < maxBytes) {
        const { done, value } = await reader.read()
        if (done) break
        parts.push(value.subarray(0, maxBytes - length))
        length += value.length
      }
    } finally {
      // Left early: nobody reads the rest.
      reader.cancel().catch(() => undefined)
    }
    return concatAll(parts)
  } catch (cause) {
    if (cause instanceof VeriteeError) throw cause
    throw fail('service_unavailable', `${address.href}: ${length === 0 ? 'no answer' : `it broke off after ${length} bytes`}`, cause)
  }
}
