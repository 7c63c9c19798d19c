import { type ClientHttp2Session, type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import { Readable } from 'node:stream'
import { type Dispatcher, errors } from 'undici'
import { Linked } from '../../enclave/runtime/linked-list.ts'
import type { WorkerRequest } from '../worker-answer.ts'

/** Until an answer begins, where nothing else was asked for, and between two parts of it. */
export const silenceMs = 120_000

const of = Symbol('exchange')
/** Whether the last frame has come. */
const whole = Symbol('whole')

type Stream = ClientHttp2Stream & { [of]?: Exchange | undefined; [whole]?: true }

/** The connection, as far as its exchanges know it. */
export interface Carrier {
  readonly session: ClientHttp2Session
  readonly origin: URL
  /** So much of an answer has come, with what frames take beside. */
  came(bytes: number): void
  /** Nothing of it is left on this side; it may have been reset here. */
  closed(exchange: Exchange, reset: boolean): void
}

/**
 * A request on a stream of its own, and its answer, told to whoever handles it as undici would. What undici does not: an answer whose reader has paused comes whole, though its trailers are here
 * already; and one that was reset is broken off, with whatever code.
 */
export class Exchange extends Linked implements Dispatcher.DispatchController {
  aborted = false
  paused = false
  reason: Error | null = null
  /** Null once it was sent: answers may take long, and nobody sends it again. */
  #request: WorkerRequest | null
  #handler: Dispatcher.DispatchHandler
  #carrier: Carrier | null = null
  #stream: Stream | null = null
  /** When it is given up where nothing more comes: a timer for each would cost more than all else here. */
  #until = 0
  #heard = false
  #began = false
  #over = false
  #reset = false
  #trailers: IncomingHttpHeaders = {}

  constructor(request: WorkerRequest, handler: Dispatcher.DispatchHandler) {
    super()
    this.#request = request
    this.#handler = handler
  }

  /** Gives false where it is over already. Else the carrier is told when it is closed. */
  send(carrier: Carrier): boolean {
    const request = this.#request
    this.#request = null
    if (request === null || this.#over) return false
    this.#handler.onRequestStart?.(this, null)
    // Whoever handles it may have given up meanwhile.
    if (this.#over) return false
    const { body, headersTimeout = silenceMs } = request
    const ends = body === null || body.length === 0
    let stream: Stream
    try {
      stream = carrier.session.request(headersOf(request, carrier.origin), { endStream: ends })
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)))
      return false
    }
    this.#stream = stream
    this.#carrier = carrier
    this.#until = performance.now() + headersTimeout
    stream[of] = this
    stream.push = push
    stream.on('response', onResponse)
    stream.on('trailers', onTrailers)
    stream.on('end', onEnd)
    stream.on('error', onError)
    stream.on('close', onClose)
    if (!ends) stream.end(body)
    return true
  }

  pause(): void {
    this.paused = true
    this.#stream?.pause()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.#until = performance.now() + silenceMs
    this.#stream?.resume()
  }

  /** The worker is told to stop. */
  abort(reason: Error): void {
    this.aborted = true
    this.reason = reason
    this.fail(reason)
  }

  /** Whoever handles it is told, and the stream is reset if there is one. */
  fail(error: Error): void {
    if (this.#over) return
    this.#over = true
    const stream = this.#stream
    if (stream !== null && !stream.destroyed) {
      this.#reset = true
      stream.close(constants.NGHTTP2_CANCEL)
      // Else it would wait until what has come was read.
      stream.destroy()
    }
    this.#handler.onResponseError?.(this, error)
  }

  responded(headers: IncomingHttpHeaders): void {
    if (this.#over) return
    this.#began = true
    this.#until = performance.now() + silenceMs
    this.#stream?.on('data', onData)
    this.#handler.onResponseStart?.(this, Number(headers[':status']), headers)
  }

  came(part: Buffer): void {
    this.#carrier?.came(part.length)
    if (this.#over) return
    this.#heard = true
    this.#handler.onResponseData?.(this, part)
  }

  trailed(trailers: IncomingHttpHeaders): void {
    this.#trailers = trailers
  }

  ended(): void {
    const stream = this.#stream
    if (this.#over || stream === null) return
    if (!this.#began || stream[whole] !== true) {
      this.fail(broken())
      return
    }
    this.#over = true
    // It answers without having taken all of the request, and shall have no more of it.
    if (!stream.writableFinished) {
      this.#reset = true
      stream.close(constants.NGHTTP2_CANCEL)
    }
    this.#handler.onResponseEnd?.(this, this.#trailers)
  }

  closed(): void {
    if (!this.#over && !this.#hadCome()) this.fail(broken())
    this.#carrier?.closed(this, this.#reset)
    // V8 makes a function that Node's streams are given among its old objects, so that a stream is kept until the whole heap is gone through, and whatever it leads to.
    this.#stream = null
    this.#carrier = null
    this.#handler = {}
    this.#trailers = {}
  }

  /** An answer whose reader has paused, and of which all had come before its connection ended: he gets the rest as one part. */
  #hadCome(): boolean {
    const stream = this.#stream
    if (!this.#began || stream?.[whole] !== true) return false
    const rest: Buffer | null = stream.read()
    if (rest !== null) this.#handler.onResponseData?.(this, rest)
    // He may have given up at that.
    if (!this.#over) this.#handler.onResponseEnd?.(this, this.#trailers)
    this.#over = true
    return true
  }

  /** Gives it up where it is late, by the time that it is. So long this process `stood` still: what has come meanwhile has not been read. */
  look(now: number, stood: number): void {
    this.#until += stood
    if (this.#heard || this.paused) {
      this.#heard = false
      this.#until = now + silenceMs
    } else if (now >= this.#until) this.fail(this.#began ? new errors.BodyTimeoutError() : new errors.HeadersTimeoutError())
  }
}

const broken = (): Error => new errors.SocketError('the worker broke its answer off')

/**
 * Node ends a stream in the same way whether its last frame has come or it was reset without an error, as servers of Node do that break an answer off. In the second case it is closed already.
 */
function push(this: Stream, part: unknown, encoding?: BufferEncoding): boolean {
  if (part === null && !this.closed) this[whole] = true
  return Readable.prototype.push.call(this, part, encoding)
}

/** Throws for what would not be one path or one header; nothing else looks at it. */
function headersOf({ method, path, headers, body }: WorkerRequest, { protocol, host }: URL): string[] {
  if (/^\/[\x21-\x7e]*$/.test(path) === false) throw new errors.InvalidArgumentError('invalid request path')
  const list = [':method', method, ':scheme', protocol.slice(0, -1), ':authority', host, ':path', path]
  for (const [name, value] of Object.entries(headers)) {
    if (/^[\t\x20-\x7e]*$/.test(value) === false) throw new errors.InvalidArgumentError(`invalid ${name} header`)
    list.push(name.toLowerCase(), value)
  }
  if (body !== null) list.push('content-length', String(body.length))
  return list
}

function onResponse(this: Stream, headers: IncomingHttpHeaders): void {
  this[of]?.responded(headers)
}

function onData(this: Stream, part: Buffer): void {
  this[of]?.came(part)
}

function onTrailers(this: Stream, trailers: IncomingHttpHeaders): void {
  this[of]?.trailed(trailers)
}

function onEnd(this: Stream): void {
  this[of]?.ended()
}

function onError(this: Stream, error: Error): void {
  // Else what comes of it is known when it is closed.
  if (this[whole] !== true) this[of]?.fail(new errors.SocketError(error.message))
}

function onClose(this: Stream): void {
  this[of]?.closed()
  this[of] = undefined
}
