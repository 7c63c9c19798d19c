import { createHash } from 'node:crypto'
import http from 'node:http'
import https from 'node:https'
import net, { BlockList, isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import { fail } from '../errors.ts'
import type { Transport, TransportRequest, TransportResponse } from './transport.ts'

const defaultIdleTimeoutMs = 60_000

const loopbackAddresses = new BlockList()
loopbackAddresses.addSubnet('127.0.0.0', 8, 'ipv4')
loopbackAddresses.addAddress('::1', 'ipv6')

/** True for `localhost` and for literal loopback addresses; names are not resolved, so a name never counts as loopback by its address. */
export function isLoopbackHost(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '')
  if (host === 'localhost') return true
  const family = isIP(host)
  return family !== 0 && loopbackAddresses.check(host, family === 4 ? 'ipv4' : 'ipv6')
}

/**
 * A transport over `node:http` or `node:https`. Under TLS the certificate authority plays no part: the key of the first connection is remembered,
 * every later connection must show the same one (`channel_mismatch` before a byte is sent), and the caller must find that key in the
 * attested keyset before it sends anything that matters.
 *
 * Throws `usage` for another kind of URL, `service_unavailable` from `send`.
 */
export function nodeTransport(url: string, pinnedSpki: string | null = null): Transport {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch (cause) {
    throw fail('usage', `expected an http or https URL, found ${JSON.stringify(url.slice(0, 200))}`, cause)
  }
  if ((parsed.protocol !== 'http:' && parsed.protocol !== 'https:') || parsed.username !== '' || parsed.password !== '')
    throw fail('usage', 'expected an http or https URL without credentials in it')
  return parsed.protocol === 'http:' ? plain(parsed) : pinned(parsed, pinnedSpki)
}

/**
 * Between the end of an answer and the return of its socket to the agent nobody listens to the socket, and an abort in that moment would end
 * the process. The request hears of every error that matters to it on its own.
 */
function ignore(): void {
  // Nothing to do.
}

function plain(url: URL): Transport {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 })
  agent.createConnection = (options): Duplex => net.connect(options as net.NetConnectOpts).on('error', ignore)
  return {
    origin: url.origin,
    loopback: isLoopbackHost(url.hostname),
    spki: null,
    send: (request) => send(url, request, (options) => http.request({ ...options, agent })),
    close: () => agent.destroy(),
  }
}

function pinned(url: URL, pin: string | null): Transport {
  let seen = pin
  /** The agent does not know these yet, so it cannot end them. */
  const handshaking = new Set<tls.TLSSocket>()
  // A resumed session shows no certificate to check, so none is kept.
  const agent = new https.Agent({ keepAlive: true, maxSockets: 64, maxCachedSessions: 0 })
  // The check stands in createConnection: a socket that shows another key never reaches a request.
  agent.createConnection = (options, callback): Duplex => {
    const host = (options as { host?: string }).host ?? url.hostname
    const socket = tls.connect({
      ...(options as tls.ConnectionOptions),
      ...(isIP(host) === 0 ? { servername: host } : {}),
      minVersion: 'TLSv1.3',
      rejectUnauthorized: false,
    })
    handshaking.add(socket)
    socket.once('close', () => handshaking.delete(socket))
    // Until the handshake is over no request watches this socket, and a peer that says nothing would hold it for ever.
    const { timeout } = options as { timeout?: number }
    const silent = (): void => {
      socket.destroy(new Error('no answer in time'))
    }
    if (timeout !== undefined) socket.setTimeout(timeout, silent)
    socket.once('secureConnect', () => {
      handshaking.delete(socket)
      socket.setTimeout(0).removeListener('timeout', silent)
      const spki = spkiOf(socket)
      if (spki === null || (seen !== null && spki !== seen)) {
        socket.destroy()
        callback?.(fail('channel_mismatch', `expected TLS key ${seen ?? 'of some kind'}, found ${spki ?? 'none'}`), socket)
        return
      }
      seen = spki
      callback?.(null, socket)
    })
    socket.on('error', ignore).once('error', (error) => callback?.(error, socket))
    return undefined as unknown as Duplex
  }
  return {
    origin: url.origin,
    loopback: false,
    get spki() {
      return seen
    },
    send: (request) => send(url, request, (options) => https.request({ ...options, agent })),
    close: () => {
      agent.destroy()
      for (const socket of handshaking) socket.destroy(new Error('the transport was closed'))
    },
  }
}

/** SHA-256 over the SubjectPublicKeyInfo the peer proved to hold, hex; null without a certificate. */
export function spkiOf(socket: tls.TLSSocket): string | null {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return null
  return createHash('sha256')
    .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('hex')
}

function send(url: URL, request: TransportRequest, open: (options: https.RequestOptions) => http.ClientRequest): Promise<TransportResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<TransportResponse>()
  const headers: Record<string, string> = { ...request.headers }
  if (request.body !== undefined) headers['content-length'] = String(request.body.length)
  const outgoing = open({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? (url.protocol === 'http:' ? 80 : 443) : url.port,
    path: url.pathname.replace(/\/$/, '') + request.path,
    method: request.method,
    headers,
    timeout: request.idleTimeoutMs ?? defaultIdleTimeoutMs,
    ...(request.signal === undefined ? {} : { signal: request.signal }),
  })
  const refuse = (error: unknown): void => {
    if (error instanceof Error && 'code' in error && error.code === 'channel_mismatch') reject(error)
    else reject(fail('service_unavailable', `${url.origin}: ${error instanceof Error ? error.message || error.name : 'no answer'}`, error))
  }
  outgoing.setTimeout(request.idleTimeoutMs ?? defaultIdleTimeoutMs, () => outgoing.destroy(new Error('no answer in time')))
  outgoing.on('error', refuse)
  // A request that has no connection yet does not tell that it was aborted.
  const aborted = (): void => refuse(request.signal?.reason)
  const forget = (): void => request.signal?.removeEventListener('abort', aborted)
  request.signal?.addEventListener('abort', aborted, { once: true })
  promise.then(forget, forget)
  // Also where the connection ended without an error or an answer, as after a refused upgrade.
  outgoing.once('close', () => refuse(new Error('the connection was closed')))
  outgoing.once('response', (incoming) => {
    const received: Record<string, string> = {}
    for (const [name, value] of Object.entries(incoming.headers))
      if (value !== undefined) received[name] = Array.isArray(value) ? value.join(', ') : value
    resolve({ status: incoming.statusCode ?? 0, headers: received, body: incoming })
  })
  outgoing.end(request.body)
  return promise
}
