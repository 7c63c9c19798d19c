import type { RequestListener } from 'node:http'
import type { Http2ServerRequest, ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import { sendError } from '../body.ts'
import { HttpError } from '../errors.ts'
import { maxHeaderList } from './limits.ts'
import { refuseStream } from './messages.ts'
import type { Places } from './places.ts'

/** The stream of a request of HTTP/2; null for one of HTTP/1.1. */
export function streamOf(request: object): ServerHttp2Stream | null {
  return 'stream' in request ? (request as Http2ServerRequest).stream : null
}

/** Has the requester open another connection for what it asks next; what is under way on this one goes on. HTTP/1.1 says so with a header. */
export function leaveConnection(request: object): void {
  streamOf(request)?.session?.close()
}

/** How often it is looked at whether the end of an answer has gone out. */
const lookMs = 50

/**
 * What Node's server of HTTP/1.1 does for each request: its headers are so long at most, and all of it has come within `requestMs`.
 * Of a body that nobody has read to its end the rest is refused, once the answer has gone out. A stream that finds no place is refused.
 */
export function boundStreams(handler: RequestListener, requestMs: number, places: Places | null): RequestListener {
  return (request, response) => {
    const stream = streamOf(request)
    if (stream === null) return handler(request, response)
    // Its connection has ended before it was told.
    if (stream.destroyed) return
    if (places?.take(request, response) === false) return refuseStream(stream)
    // Node holds what is sent to this length only once the other side has confirmed it.
    if (lengthOf(request.rawHeaders) > maxHeaderList)
      return void sendError(response, new HttpError(431, 'invalid_request_error', 'the headers of the request are too long'))
    if (!stream.endAfterHeaders) {
      stream.push = push
      const late = setTimeout(() => {
        // All of it is there, and nobody has read it yet.
        if (stream.state.remoteClose === 1) return
        sendError(response, new HttpError(408, 'invalid_request_error', 'the request took too long to come'))
      }, requestMs)
      const stop = (): void => clearTimeout(late)
      request.once('end', stop)
      stream.once('close', stop)
      // Behind the listener that sends the trailers, which go out in the same turn.
      stream.once('wantTrailers', () => setImmediate(refuseRest, request, stream))
    }
    return handler(request, response)
  }
}

/**
 * Node keeps a stream that has closed without an error, as by its requester's reset, until what has come of its body is read. Of more than somebody wanted nobody reads the rest, and place, bytes and connection would be
 * held for as long as the requester likes.
 */
function push(this: ServerHttp2Stream, part: unknown, encoding?: BufferEncoding): boolean {
  if (part === null && this.closed && !this.destroyed) setImmediate(letGo, this)
  return Readable.prototype.push.call(this, part, encoding)
}

function letGo(stream: ServerHttp2Stream): void {
  stream.destroy()
}

function lengthOf(rawHeaders: readonly string[]): number {
  return rawHeaders.reduce((sum, text) => sum + text.length + 16, 0)
}

/** With a reset that says that nothing is wrong (RFC 9113, section 8.1). Sent any sooner, it would take the end of the answer with it. */
function refuseRest(request: { readonly readableEnded: boolean }, stream: ServerHttp2Stream): void {
  if (request.readableEnded || stream.destroyed) return
  if (stream.state.localClose === 1) stream.destroy()
  else setTimeout(refuseRest, lookMs, request, stream)
}
