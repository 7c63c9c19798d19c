import type { RequestListener, Server, ServerOptions } from 'node:http'
import { createSecureServer } from 'node:http2'
import type { Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { sendError } from '../body.ts'
import { HttpError } from '../errors.ts'
import { sessionLimits } from './limits.ts'
import { StreamRequest, StreamResponse } from './messages.ts'
import { guardSessions, type Offer, type SessionTimes } from './sessions.ts'
import { streamOf } from './streams.ts'

/**
 * A server of HTTP/2 and of HTTP/1.1, whichever the other side asks for during the handshake (ALPN); without such a wish, of HTTP/1.1. Its handler gets the same requests and responses
 * of both, as far as handlers here look at them; their sockets are the connection.
 */
export function createBothServer(options: ServerOptions & TlsOptions, offer: Offer, times: SessionTimes): Server {
  const { keepAliveTimeout } = options
  const server = createSecureServer({
    ...options,
    ...sessionLimits,
    allowHTTP1: true,
    // As Node's server of HTTPS has it.
    noDelay: true,
    http1Options: { keepAliveTimeout },
    Http2ServerRequest: StreamRequest as never,
    Http2ServerResponse: StreamResponse as never,
  })
  guardSessions(server, offer, times)
  return server as unknown as Server
}

/** For `connect`, whose listeners get a connection of HTTP/1.1 itself and not a response. */
export function refuseConnect(refused: (listener: RequestListener) => RequestListener): (request: unknown, other: unknown) => void {
  const refuse = refused((_, response) => sendError(response, new HttpError(405, 'invalid_request_error', 'this service is no proxy')))
  return (request, other) => {
    if (streamOf(request as object) === null) (other as Socket).destroy()
    else refuse(request as never, other as never)
  }
}
