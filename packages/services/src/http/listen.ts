import http, { type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { TLSSocket, Server as TlsServer } from 'node:tls'
import { isLoopbackHost } from 'veritee/client'
import { fail } from 'veritee/errors'
import { sendError } from './body.ts'
import { boundConnections } from './connections.ts'
import type { CrossOrigin } from './cross-origin.ts'
import { errorBody, HttpError } from './errors.ts'
import { boundHeldBytes, type HeldLimits } from './held-bytes.ts'
import { takenWithin } from './http2/limits.ts'
import { Places } from './http2/places.ts'
import { createBothServer, refuseConnect } from './http2/server.ts'
import type { Offer, SessionTimes } from './http2/sessions.ts'
import { boundStreams } from './http2/streams.ts'
import { inTurn } from './in-turn.ts'

/** Where a service listens, and what was said on the command line about the risk (rules S15 and S22). */
export interface Bind {
  readonly host: string
  readonly port: number
  readonly tls: { readonly key: string; readonly cert: string } | null
  /** A simulated enclave protects nothing. */
  readonly simulated: boolean
  readonly apiKeys: boolean
  /** `--open`: anybody may use it. */
  readonly open?: boolean
  /** `--behind-tls`: TLS ends in a proxy in front. */
  readonly behindTls?: boolean
  /** `--i-know-this-is-simulated` */
  readonly knowsSimulated?: boolean
  /** Names under which clients reach it, beside those of loopback. */
  readonly names?: readonly string[]
  /** Clients are asked for a certificate: whose key it is, the handler finds out. */
  readonly asksClientKey?: boolean
  /** HTTP/2 is offered too, over TLS. */
  readonly http2?: Offer
  /** Pages of other origins that may use it; none where null or absent. */
  readonly crossOrigin?: CrossOrigin | null
}

/** Throws `usage` for an address beyond loopback that nobody has asked for in so many words. */
export function checkBind(bind: Bind): void {
  if (isLoopbackHost(bind.host)) return
  if (bind.simulated && bind.knowsSimulated !== true)
    throw fail('usage', `a SIMULATED enclave protects nothing and stays on loopback; to bind ${bind.host} say --i-know-this-is-simulated`)
  if (!bind.apiKeys && bind.open !== true)
    throw fail('usage', `binding ${bind.host} without API keys lets anybody use this service; configure keys or say --open`)
  if (bind.tls === null && bind.behindTls !== true)
    throw fail('usage', `binding ${bind.host} with plain HTTP lets anybody read it; use TLS or say --behind-tls`)
}

/** The digest of the keyset that a connection is under. */
export type KeysetDigestOf = (connection: { readonly socket: object }) => string

/** What aci/1 section 5.2 wants on every response, those included that are made before any route is looked for. */
function named(handler: RequestListener, keysetDigestOf: KeysetDigestOf): RequestListener {
  return (request, response) => {
    response.setHeader('x-aci-version', 'aci/1')
    response.setHeader('x-aci-keyset-digest', keysetDigestOf(request))
    return handler(request, response)
  }
}

/** Node would answer such requests itself, without the headers that every response has. One of HTTP/2 that names two hosts has none either. */
function withHost(handler: RequestListener): RequestListener {
  return (request, response) =>
    request.headers.host === undefined && request.httpVersion !== '1.0'
      ? sendError(response, new HttpError(400, 'invalid_request_error', 'expected a Host header', { headers: { connection: 'close' } }))
      : handler(request, response)
}

function refuseExpectation(_: IncomingMessage, response: ServerResponse): void {
  sendError(response, new HttpError(417, 'invalid_request_error', 'expected no Expect header but 100-continue', { headers: { connection: 'close' } }))
}

const unreadable: { readonly [code: string]: readonly [line: string, message: string] } = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the headers of the request are too long'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request took too long to come'],
}

/** The answer to what could not be read as a request at all. */
function refusalOf(code: string | undefined, keysetDigest: string | null): string {
  const [line, message] = unreadable[code ?? ''] ?? ['400 Bad Request', 'expected an HTTP request']
  const body = errorBody(new HttpError(Number(line.slice(0, 3)), 'invalid_request_error', message))
  const names = keysetDigest === null ? '' : `X-ACI-Version: aci/1\r\nX-ACI-Keyset-Digest: ${keysetDigest}\r\n`
  return `HTTP/1.1 ${line}\r\n${names}Content-Type: application/json\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}

/**
 * A service on loopback answers to loopback names, and to those that it was given, only: a page in a browser on this machine could otherwise reach it under a name of its own
 * that resolves to 127.0.0.1, or post to it from elsewhere. Pages that are allowed still have to ask under a known name.
 */
function loopbackOnly(handler: RequestListener, names: readonly string[], pages: CrossOrigin | null): RequestListener {
  // Requests come under one name or two.
  let known: string | undefined
  const isKnown = (host: string): boolean => {
    if (host === known) return true
    const name = hostname(`http://${host}`)
    if (isLoopbackHost(name) || names.includes(name)) known = host
    return host === known
  }
  return (request, response) => {
    const { host, origin } = request.headers
    if (host !== undefined && !isKnown(host))
      return void sendError(
        response,
        new HttpError(421, 'invalid_request_error', 'this service answers to loopback names, and to its own, only', { code: 'misdirected_request' }),
      )
    if (origin !== undefined && !isLoopbackHost(hostname(origin)) && pages?.admits(request) !== true)
      return void sendError(
        response,
        new HttpError(403, 'invalid_request_error', 'requests of pages from elsewhere are refused', { code: 'foreign_origin' }),
      )
    return handler(request, response)
  }
}

function hostname(url: string): string {
  return URL.canParse(url) ? new URL(url).hostname : ''
}

/** Node says so of sockets on either side. */
type Handshaking = TLSSocket & { readonly secureConnecting: boolean }

export interface Listening {
  readonly host: string
  readonly port: number
  readonly url: string
  /** For connections from now on; those that stand keep the key they have. For listeners with TLS. */
  renewTls(tls: { readonly key: string; readonly cert: string }): void
  close(): Promise<void>
}

/** Bounds of a listener; tests have shorter ones. */
export interface ListenLimits {
  readonly connections: number
  /** Until the headers of a request have come, and until all of it has. */
  readonly headersMs: number
  readonly requestMs: number
  /** After an answer, until the next request. */
  readonly keepAliveMs?: number
  /** Over HTTP/2: until an answer that has ended is taken. */
  readonly takenMs?: number
  /** See {@link boundHeldBytes}. */
  readonly held?: HeldLimits
}

const usualLimits: ListenLimits = { connections: 4096, headersMs: 15_000, requestMs: 60_000 }

function serverOf(bind: Bind, limits: http.ServerOptions & { readonly headersTimeout: number }, times: SessionTimes): Server {
  if (bind.tls === null) return http.createServer(limits)
  const options = {
    ...limits,
    ...bind.tls,
    minVersion: 'TLSv1.3',
    handshakeTimeout: limits.headersTimeout,
    requestCert: bind.asksClientKey === true,
    rejectUnauthorized: false,
  } as const
  return bind.http2 === undefined ? https.createServer(options) : createBothServer(options, bind.http2, times)
}

/**
 * Starts a server with bounded headers, times and connections. With `keysetDigestOf` every response carries the headers of aci/1, whoever makes it.
 * Throws `usage` (see {@link checkBind}) and `port_unavailable`.
 */
export async function listen(
  bind: Bind,
  handler: RequestListener,
  keysetDigestOf: KeysetDigestOf | null = null,
  { connections, headersMs, requestMs, keepAliveMs = 60_000, takenMs = takenWithin.ms, held }: ListenLimits = usualLimits,
): Promise<Listening> {
  checkBind(bind)
  const pages = bind.crossOrigin ?? null
  const bounded = withHost(boundHeldBytes(handler, held))
  const shared = pages === null ? bounded : pages.wrap(bounded)
  const guarded = isLoopbackHost(bind.host) && bind.behindTls !== true ? loopbackOnly(shared, bind.names ?? [], pages) : shared
  // As many requests at a time as connections of HTTP/1.1 would have.
  const places = bind.http2 === 'requesters' ? new Places(connections) : null
  const bound = (inner: RequestListener): RequestListener => (bind.http2 === undefined ? inner : boundStreams(inner, requestMs, places))
  const finished = (inner: RequestListener): RequestListener => inTurn(keysetDigestOf === null ? bound(inner) : named(bound(inner), keysetDigestOf))
  const limits = {
    maxHeaderSize: 16_384,
    headersTimeout: headersMs,
    requestTimeout: requestMs,
    // How often the two are looked at.
    connectionsCheckingInterval: Math.ceil(headersMs / 4),
    keepAliveTimeout: keepAliveMs,
    requireHostHeader: false,
  }
  const server = serverOf(bind, limits, { headersMs, keepAliveMs, takenMs })
  const closeAll = boundConnections(server, connections)
  server.on('request', finished(guarded))
  if (bind.http2 !== undefined) server.on('connect', refuseConnect(finished))
  server.on('checkExpectation', finished(refuseExpectation))
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // What is written before a handshake is done goes out once it is: in front of an answer, or under HTTP/2 in the way of Node's own first write, and Node aborts.
    if (socket instanceof TLSSocket && (socket as Handshaking).secureConnecting) socket.destroy()
    else if (socket.writable) socket.end(refusalOf(error.code, keysetDigestOf?.({ socket }) ?? null))
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', (cause: NodeJS.ErrnoException) => {
    const busy = cause.code === 'EADDRINUSE'
    reject(
      fail(
        'port_unavailable',
        `cannot listen on ${bind.host}:${bind.port}: ${busy ? 'another program uses this port; choose another' : (cause.code ?? cause.message)}`,
        cause,
      ),
    )
  })
  server.listen(bind.port, bind.host, resolve)
  await promise
  // A connection that could not be accepted, as when the process is out of file descriptors, is no reason to stop serving the others.
  server.on('error', () => undefined)
  const { port } = server.address() as AddressInfo
  return {
    host: bind.host,
    port,
    url: `${bind.tls === null ? 'http' : 'https'}://${bind.host.includes(':') ? `[${bind.host}]` : bind.host}:${port}`,
    renewTls: (tls) => {
      if (!(server instanceof TlsServer)) throw new TypeError('renewTls: this listener has no TLS')
      server.setSecureContext({ ...tls, minVersion: 'TLSv1.3' })
    },
    close: () => {
      const closed = Promise.withResolvers<void>()
      server.close(() => closed.resolve())
      // After connections of HTTP/2 were told which of their requests were never begun.
      setImmediate(closeAll)
      return closed.promise
    },
  }
}
