import { fail } from '../errors.ts'
import type { Transport, TransportRequest, TransportResponse } from './transport.ts'

/** `localhost` and literal loopback addresses, as `URL` spells them. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(hostname)
}

/**
 * A transport over a `fetch`, as browsers have it. It cannot see which TLS key it met (`spki` is null), so it is for bodies that are encrypted to an attested key;
 * headers, an API key among them, can be read by whoever the certificate authorities vouch for. Redirects are refused, cookies and caches are not used.
 *
 * Throws `usage` for another kind of URL, `service_unavailable` from `send`.
 */
export function webTransport(url: string, fetcher: typeof fetch = fetch): Transport {
  const base = URL.canParse(url) ? new URL(url) : null
  if (base === null || (base.protocol !== 'http:' && base.protocol !== 'https:') || base.username !== '' || base.password !== '')
    throw fail('usage', 'expected an http or https URL without credentials in it')
  const { origin, hostname, pathname } = base
  const prefix = pathname.replace(/\/$/, '')
  const closed = new AbortController()
  return {
    origin,
    loopback: base.protocol === 'http:' && isLoopback(hostname),
    spki: null,
    send: (request) => send(fetcher, `${origin}${prefix}${request.path}`, request, closed.signal),
    close: () => closed.abort(new Error('the transport was closed')),
  }
}

async function send(fetcher: typeof fetch, url: string, request: TransportRequest, closed: AbortSignal): Promise<TransportResponse> {
  let response: Response
  try {
    response = await fetcher(url, {
      method: request.method,
      headers: { ...request.headers },
      ...(request.body === undefined ? {} : { body: new Uint8Array(request.body) }),
      signal: request.signal === undefined ? closed : AbortSignal.any([request.signal, closed]),
      redirect: 'error',
      cache: 'no-store',
      credentials: 'omit',
      referrerPolicy: 'no-referrer',
    })
  } catch (cause) {
    throw fail('service_unavailable', `${new URL(url).origin}: ${cause instanceof Error ? cause.message || cause.name : 'no answer'}`, cause)
  }
  const headers: Record<string, string> = {}
  for (const [name, value] of response.headers) headers[name.toLowerCase()] = value
  return { status: response.status, headers, body: partsOf(response.body) }
}

/** Reads with a reader: not every browser iterates a stream. */
async function* partsOf(body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  if (body === null) return
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      yield value
    }
  } finally {
    // Left early: nobody reads the rest.
    reader.cancel().catch(() => undefined)
  }
}
