import http from 'node:http'
import https from 'node:https'
import { concatAll } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import { isLoopbackHost } from '../node-transport.ts'
import type { Get, GetOptions, GetResult } from './get.ts'

/** Two issuer certificates, percent-encoded, are about 3 KiB; Node's own default would leave little room for a third. */
const maxHeaderBytes = 32_768

/**
 * A {@link Get} over `node:https` with ordinary WebPKI verification: the certificate must be valid for the host under the system's authorities and
 * those of `NODE_EXTRA_CA_CERTS`, or under `ca` (PEM) instead where given. Plain HTTP is for loopback hosts only.
 *
 * This is the opposite of `nodeTransport`, which looks at no authority because an attested keyset names the key. Collateral is signed by the
 * hardware vendor, so TLS here guards availability and privacy, not truth.
 *
 * Each request has a connection of its own; redirects are not followed; a compressed answer is refused, since it was not asked for.
 * Throws `usage` for another kind of URL, `response_too_large`, `service_unavailable`.
 */
export function nodeGet(trust: { readonly ca?: string } = {}): Get {
  return (url, options) => {
    const target = new URL(url)
    if (target.protocol !== 'https:' && !(target.protocol === 'http:' && isLoopbackHost(target.hostname)))
      throw fail('usage', `expected an https URL, or http on a loopback host, found ${target.origin}`)
    const client = target.protocol === 'https:' ? https : http
    return exchange(
      (headers) =>
        client.request(target, {
          method: 'GET',
          agent: false,
          headers,
          maxHeaderSize: maxHeaderBytes,
          signal: options.signal,
          ...(trust.ca === undefined ? {} : { ca: trust.ca }),
        }),
      target.origin,
      options,
    )
  }
}

async function exchange(
  open: (headers: { readonly [name: string]: string }) => http.ClientRequest,
  origin: string,
  { maxBytes }: GetOptions,
): Promise<GetResult> {
  try {
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>()
    const outgoing = open({ accept: '*/*', 'accept-encoding': 'identity' })
    outgoing.once('response', resolve)
    outgoing.on('error', reject)
    outgoing.once('close', () => reject(new Error('the connection was closed')))
    outgoing.end()
    const incoming = await promise
    const encoding = incoming.headers['content-encoding'] ?? 'identity'
    if (encoding !== 'identity') {
      outgoing.destroy()
      throw fail('service_unavailable', `expected an answer as it is, found content-encoding ${JSON.stringify(encoding.slice(0, 40))}`)
    }
    const body = await readAll(incoming, maxBytes)
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(incoming.headers))
      if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(', ') : value
    return { status: incoming.statusCode ?? 0, headers, body }
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && (cause.code === 'response_too_large' || cause.code === 'service_unavailable')) throw cause
    throw fail('service_unavailable', `${origin}: ${cause instanceof Error ? cause.message || cause.name : 'no answer'}`, cause)
  }
}

async function readAll(incoming: http.IncomingMessage, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const part of incoming as AsyncIterable<Uint8Array>) {
    length += part.length
    // Leaving the loop early destroys the connection.
    if (length > maxBytes) throw fail('response_too_large', `expected at most ${maxBytes} bytes`)
    parts.push(part)
  }
  return concatAll(parts)
}
