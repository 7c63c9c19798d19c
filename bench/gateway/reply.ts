// Answers of the bench's worker, over HTTP/1.1 on a bare socket and over a stream of HTTP/2.
import { type OutgoingHttpHeaders, performServerHandshake, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { chunk, head, lastChunk, type RawRequest } from './http-socket.ts'

type Fields = Readonly<Record<string, string>>

export interface Reply {
  /** Whoever asked has left. */
  readonly gone: boolean
  /** All of an answer; without trailers it has a length. */
  whole(status: number, headers: Fields, body: Uint8Array, trailers: Fields | null): void
  /** The head of an answer that comes part by part. */
  begin(headers: Fields): void
  part(bytes: Uint8Array): void
  end(bytes: Uint8Array, trailers: Fields): void
}

export class SocketReply implements Reply {
  readonly #socket: Socket

  constructor(socket: Socket) {
    this.#socket = socket
  }

  get gone(): boolean {
    return this.#socket.destroyed
  }

  whole(status: number, headers: Fields, body: Uint8Array, trailers: Fields | null): void {
    this.#socket.write(
      trailers === null
        ? head(status, { ...headers, 'content-length': body.length }) + Buffer.from(body).toString('latin1')
        : head(status, { ...headers, 'transfer-encoding': 'chunked' }) + chunk(body) + lastChunk(trailers),
    )
  }

  begin(headers: Fields): void {
    this.#socket.write(head(200, { ...headers, 'transfer-encoding': 'chunked' }))
  }

  part(bytes: Uint8Array): void {
    this.#socket.write(chunk(bytes))
  }

  end(bytes: Uint8Array, trailers: Fields): void {
    this.#socket.write(chunk(bytes) + lastChunk(trailers))
  }
}

class StreamReply implements Reply {
  readonly #stream: ServerHttp2Stream

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream
  }

  get gone(): boolean {
    return this.#stream.destroyed
  }

  whole(status: number, headers: Fields, body: Uint8Array, trailers: Fields | null): void {
    this.#head({ ':status': status, ...headers, ...(trailers === null && { 'content-length': body.length }) })
    this.end(body, trailers ?? {})
  }

  begin(headers: Fields): void {
    this.#head({ ':status': 200, ...headers })
  }

  part(bytes: Uint8Array): void {
    this.#stream.write(bytes)
  }

  end(bytes: Uint8Array, trailers: Fields): void {
    this.#stream.once('wantTrailers', () => this.#stream.sendTrailers(trailers))
    this.#stream.end(bytes)
  }

  #head(headers: OutgoingHttpHeaders): void {
    this.#stream.respond(headers, { waitForTrailers: true })
  }
}

/** Calls `handle` for each request that comes over a connection of HTTP/2. Nothing here is bounded, since only the bench's own gateways connect. */
export function readStreams(socket: Socket, handle: (request: RawRequest, reply: Reply) => void): void {
  socket.setNoDelay(true)
  const session = performServerHandshake(socket)
  session.on('error', () => socket.destroy())
  session.on('stream', (stream, fields) => {
    const parts: Buffer[] = []
    stream.on('error', () => undefined)
    stream.on('data', (part: Buffer) => parts.push(part))
    stream.on('end', () => {
      if (stream.destroyed) return
      const headers = new Map(Object.entries(fields).map(([name, value]) => [name, String(value)]))
      handle({ method: headers.get(':method') ?? '', path: headers.get(':path') ?? '', headers, body: Buffer.concat(parts) }, new StreamReply(stream))
    })
  })
}
