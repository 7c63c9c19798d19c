import { type ClientHttp2Session, connect, constants } from 'node:http2'
import type { Socket } from 'node:net'
import { errors } from 'undici'
import { LinkedList } from '../../enclave/runtime/linked-list.ts'
import { letGoOfSession } from '../../http/http2/session-error.ts'
import type { Carrier, Exchange } from './exchange.ts'

/** Of an HTTP/2 connection; tests have a quicker tick. */
export interface ConnectionLimits {
  /** Streams at a time. One connection takes 53 KB with TLS, and events of many streams come in one record; what is lost with it is all of them. */
  readonly streams: number
  readonly tickMs: number
  /** In its life. There are numbers for a thousand times as many streams, and without one no request would ever go through. */
  readonly requests: number
}

export const usualConnection: ConnectionLimits = { streams: 256, tickMs: 1000, requests: 1_000_000 }

/**
 * What a worker may send on a stream that is not read, and so what this side may have to hold for each: 64 KiB, for 256 streams 16 MiB. Node gives the window of the connection back as bytes come, whether
 * they are read or not, so streams of slow readers take nothing from the others; it has to be as large as what is on its way at a time.
 */
const streamWindow = 65_536
const connectionWindow = 1_048_576
/** Of an answer's headers, and of its trailers with the receipt of 4 KiB; as many as over HTTP/1.1. */
const headerBytes = 16_384
const headerFields = 64

/**
 * In MB: none. Node counts there what is to be sent, also where that was given up with its stream, for as long as the connection lives; at the bound it refuses every answer. Bodies are bounded by requests at a time,
 * headers by the two numbers above.
 */
const noSessionMemory = 1_000_000_000

/** In ticks. A worker that is silent is asked whether it is there, and has so long to answer; time in which this process does nothing else does not count. */
const askAfter = 5
const answerWithin = 10
/** Shorter than workers wait for a first request and for the next one, so that none crosses the end of its connection. */
const unusedAfter = 8
const idleAfter = 30
/** Workers take ten such questions a second. */
const questionMs = 150

/** Of bytes that belong to no answer. What belongs to one: its parts, with what a frame takes beside; its headers; of a stream that was reset or is not read, what may still come. */
const mostUnasked = 1_048_576
const framePart = 64
const perStream = 2 * headerBytes + 2 * streamWindow

/**
 * A connection of HTTP/2. It takes requests once the worker has said how many it takes, and has confirmed what this side takes: Node holds headers to no length before. Where the worker sends what no answer needs, is silent, or breaks the protocol, the connection ends, and with it all that is
 * under way on it; nothing is ever sent again from here, whatever the worker says that it has not begun.
 */
export class Connection implements Carrier {
  readonly session: ClientHttp2Session
  readonly #socket: Socket
  readonly origin: URL
  readonly #most: number
  #left: number
  readonly #tick: NodeJS.Timeout
  readonly #tickMs: number
  #looked = performance.now()
  readonly #changed: () => void
  #limit: number | null = null
  #confirmed = false
  #leaving = false
  readonly #exchanges = new LinkedList<Exchange>()
  #open = 0
  #used = false
  #idle = 0
  #silent = 0
  /** Ticks since the worker was asked whether it is there; null while it need not answer. */
  #asked: number | null = null
  /** Streams that were reset here, of which the worker has not been asked yet whether it has let go of them. */
  #resting = 0
  #question: NodeJS.Timeout | null = null
  #read = 0
  #unasked = 0

  /** `changed`: it takes requests, or more of them, or none any more. */
  constructor(socket: Socket, origin: URL, { streams, tickMs, requests }: ConnectionLimits, changed: () => void) {
    this.#socket = socket
    this.origin = origin
    this.#most = streams
    this.#left = requests
    this.#changed = changed
    this.#tickMs = tickMs
    this.session = connect(origin, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: streamWindow, maxHeaderListSize: headerBytes },
      maxHeaderListPairs: headerFields,
      maxSessionMemory: noSessionMemory,
    })
    this.session.on('connect', () => this.session.setLocalWindowSize(connectionWindow))
    this.session.on('remoteSettings', ({ maxConcurrentStreams = 0 }) => {
      this.#limit = maxConcurrentStreams
      changed()
    })
    this.session.once('localSettings', () => {
      this.#confirmed = true
      changed()
    })
    this.session.on('goaway', () => this.leave())
    this.session.on('error', (error) => {
      letGoOfSession(error)
      this.leave()
    })
    this.session.on('frameError', () => this.leave())
    this.session.on('close', () => this.leave())
    this.#tick = setInterval(() => this.#look(), tickMs).unref()
  }

  /** Whether it takes requests now. */
  get takes(): boolean {
    // It tells of its end only when its socket has closed.
    return !this.#leaving && !this.session.destroyed && this.#open < this.most
  }

  /** Whether the worker has said how many it takes, and what this side takes holds. */
  get known(): boolean {
    return this.#confirmed && this.#limit !== null
  }

  /** Whether it takes no more requests, ever. */
  get leaving(): boolean {
    return this.#leaving
  }

  /** Requests that it takes at a time. */
  get most(): number {
    return this.#confirmed ? Math.min(this.#limit ?? 0, this.#most) : 0
  }

  get open(): number {
    return this.#open
  }

  get ended(): boolean {
    return this.session.destroyed
  }

  send(exchange: Exchange): void {
    if (!exchange.send(this)) return
    this.#exchanges.add(exchange)
    this.#open++
    this.#used = true
    this.#idle = 0
    if (--this.#left === 0) this.leave()
  }

  /** No more requests; it ends with the last of those under way. */
  leave(): void {
    this.#leaving = true
    this.#closeIfOver()
    this.#changed()
  }

  /** Ends it, and what is under way. */
  destroy(error: Error): void {
    if (!this.session.destroyed) this.session.destroy(error, constants.NGHTTP2_ENHANCE_YOUR_CALM)
    this.#socket.destroy()
    this.leave()
  }

  came(bytes: number): void {
    this.#unasked -= bytes + framePart
  }

  closed(exchange: Exchange, reset: boolean): void {
    this.#exchanges.remove(exchange)
    this.#unasked -= perStream
    if (reset) this.#rest()
    else this.#release(1)
  }

  /** Not before: Node refuses by itself what was given to it a moment ago. */
  #closeIfOver(): void {
    if (this.#leaving && this.#open === 0 && !this.session.closed && !this.session.destroyed) this.session.close()
  }

  #release(streams: number): void {
    this.#open -= streams
    this.#closeIfOver()
    this.#changed()
  }

  /**
   * Node's server goes on counting a stream that was reset until it has done with what came in the same read, and resets the one that takes its place: whoever leaves would have others refused. So the place is free when the worker has answered
   * a question that was asked after the reset, and one question is about all until then.
   */
  #rest(): void {
    this.#resting++
    this.#askLater()
  }

  #askLater(): void {
    this.#question ??= setTimeout(() => this.#askOfResets(), questionMs).unref()
  }

  #askOfResets(): void {
    this.#question = null
    if (this.session.destroyed) return
    if (this.#asked !== null) {
      this.#askLater()
      return
    }
    const streams = this.#resting
    this.#resting = 0
    this.#ask(() => this.#release(streams))
  }

  #look(): void {
    if (this.session.destroyed) {
      // A worker that does not end its side would keep the socket for ever.
      this.#socket.destroy()
      clearInterval(this.#tick)
      return
    }
    const now = performance.now()
    const stood = Math.max(0, now - this.#looked - 2 * this.#tickMs)
    this.#looked = now
    this.#exchanges.find((exchange) => {
      exchange.look(now, stood)
      return false
    })
    const { bytesRead } = this.#socket
    this.#unasked = Math.max(0, this.#unasked + bytesRead - this.#read)
    this.#silent = bytesRead === this.#read ? this.#silent + 1 : 0
    this.#read = bytesRead
    if (this.#unasked > mostUnasked + this.#open * perStream) this.destroy(new errors.SocketError('the worker sends what nobody asked for'))
    else if (this.#asked !== null && ++this.#asked > answerWithin) this.destroy(new errors.SocketError('the worker is silent'))
    else if (this.#open === 0) {
      this.#idle++
      // Seen where a worker had broken the protocol and gone: Node had closed its session, and waited for something.
      if (this.#leaving && this.#idle > answerWithin) this.destroy(new errors.SocketError('the connection does not end'))
      else if (!this.known && this.#idle > answerWithin) this.destroy(new errors.SocketError('the worker does not say how many requests it takes'))
      else if (this.#idle > (this.#used ? idleAfter : unusedAfter)) this.leave()
    } else if (this.#silent > askAfter && this.#asked === null) this.#ask(() => undefined)
  }

  #ask(answered: () => void): void {
    this.#asked = 0
    this.session.ping((error) => {
      this.#asked = null
      if (error === null) answered()
    })
  }
}
