import type { OutgoingHttpHeaders } from 'node:http'
import { constants, Http2ServerRequest, Http2ServerResponse, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { ReadableOptions } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { takenWithin } from './limits.ts'

const connection = Symbol('connection')

/** What a {@link StreamResponse} emits once its end was asked for: from then on it waits for nobody but its reader. */
export const answered = Symbol('answered')

export interface Carrier {
  readonly socket: TLSSocket
  /** See {@link takenWithin}. */
  readonly takenMs: number
}

const endedHere = Symbol('endedHere')

/** `headRequest` is Node's own, and not in its types. */
type Carried = ServerHttp2Stream & { [connection]?: Carrier; [endedHere]?: true; readonly headRequest?: boolean }

/** Tells which connection a stream came over; also where both are gone by the time that somebody asks. */
export function setConnection(stream: Carried, carrier: Carrier): void {
  stream[connection] = carrier
}

/** Refuses a stream with the code that says that nothing was begun. */
export function refuseStream(stream: Carried): void {
  stream[endedHere] = true
  stream.close(constants.NGHTTP2_REFUSED_STREAM)
}

/** Whether a stream that has closed was given up by its requester before it had the whole answer. With HEAD none counts as aborted for Node, which has nothing to send behind the headers. */
export function wasLeft(stream: Carried): boolean {
  return (stream.aborted || (stream.headRequest === true && !stream.headersSent)) && stream[endedHere] !== true
}

/**
 * A request as handlers of HTTP/1.1 know it: with a Host header, and with its connection as its socket. Node's own has a proxy there, another for each stream, and whoever keeps
 * something by connection would keep it by stream. A request that names two hosts has none. One whose sender leaves ends by closing, for Node's own ends as if all of it had come.
 */
export class StreamRequest extends Http2ServerRequest {
  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, options: ReadableOptions, rawHeaders: readonly string[]) {
    super(stream, headers, options, rawHeaders)
    this.once('aborted', () => this.destroy())
    const { host, ':authority': authority } = headers
    if (authority === undefined || host === authority) return
    if (host === undefined) headers.host = authority
    else delete headers.host
  }
}

/** Headers of connections of HTTP/1.1, which none of HTTP/2 has (RFC 9113, section 8.2.2): handlers set them all the same, and Node would throw at some. */
const ofConnections = new Set(['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'])

/** A response as handlers of HTTP/1.1 know it, as far as those here need it, where Node's own differs. */
export class StreamResponse extends Http2ServerResponse {
  #cut = false
  #stalled: NodeJS.Timeout | null = null

  constructor(stream: Carried) {
    super(stream)
    this.once('close', () => {
      if (this.#stalled !== null) clearTimeout(this.#stalled)
    })
    // Node tells of the end of a stream with HEAD only those whose answer has ended.
    stream.once('close', () => {
      if (stream.headRequest === true && !this.writableEnded) super.end()
    })
  }

  /** It goes nowhere any more, or all of it has gone. */
  get isOver(): boolean {
    return this.#cut || this.stream.closed || this.stream.destroyed
  }

  /** Node throws for a stream that has ended before its request was told of, and nobody would catch it. */
  override writeContinue(): void {
    if (!this.isOver) super.writeContinue()
  }

  override setHeader(name: string, value: number | string | readonly string[]): void {
    if (!ofConnections.has(name.toLowerCase())) super.setHeader(name, value)
  }

  override writeHead(status: number, ...rest: unknown[]): this {
    const given = rest.at(-1)
    const headers =
      typeof given === 'object' && given !== null ? Object.entries(given).filter(([name]) => !ofConnections.has(name.toLowerCase())) : []
    return super.writeHead(status, Object.fromEntries(headers) as OutgoingHttpHeaders)
  }

  override addTrailers(trailers: OutgoingHttpHeaders | readonly [string, string][]): void {
    super.addTrailers(Array.isArray(trailers) ? Object.fromEntries(trailers as [string, string][]) : (trailers as OutgoingHttpHeaders))
  }

  /** Not over this response's own `write`, as Node's does: whoever encrypts what is written would do it twice. */
  endWith(chunk: unknown, encoding: BufferEncoding): void {
    const hasBody = (typeof chunk === 'string' || chunk instanceof Uint8Array) && chunk.length > 0 && this.req.method !== 'HEAD'
    if (hasBody) super.write(chunk, encoding)
    super.end()
    this.emit(answered)
    const { takenMs = takenWithin.ms } = (this.stream as Carried)[connection] ?? {}
    const ms = takenMs + (this.stream.writableLength * 1000) / takenWithin.bytesPerSecond
    if (!this.isOver) this.#stalled ??= setTimeout(() => this.cut(), ms)
  }

  /** Resets the stream, and so that nobody takes what he has for the whole: without an error the code would say that nothing is wrong. */
  cut(): void {
    if (this.isOver) return
    this.#cut = true
    ;(this.stream as Carried)[endedHere] = true
    this.stream.destroy(new Error('the answer was cut off'))
  }
}

// In their types these are what a subclass cannot override.
Object.defineProperty(StreamRequest.prototype, 'socket', {
  get(this: StreamRequest): TLSSocket | undefined {
    return (this.stream as Carried)[connection]?.socket
  },
})
Object.defineProperty(StreamResponse.prototype, 'destroyed', {
  get(this: StreamResponse): boolean {
    return this.isOver
  },
})
// Node ends the stream of a reader who has left, and so finishes it.
const { get: finished } = Object.getOwnPropertyDescriptor(Http2ServerResponse.prototype, 'writableFinished') ?? {}
Object.defineProperty(StreamResponse.prototype, 'writableFinished', {
  get(this: StreamResponse): boolean {
    return finished?.call(this) === true && !this.stream.aborted
  },
})
Object.defineProperty(StreamResponse.prototype, 'end', {
  // Whoever encrypts an answer puts its own in its place.
  writable: true,
  value(this: StreamResponse, chunk?: unknown, encoding?: BufferEncoding): StreamResponse {
    this.endWith(chunk, encoding ?? 'utf8')
    return this
  },
})
Object.defineProperty(StreamResponse.prototype, 'destroy', {
  writable: true,
  value(this: StreamResponse): StreamResponse {
    this.cut()
    return this
  },
})
