import type { Socket } from 'node:net'
import { type buildConnector, type Dispatcher, errors, Pool } from 'undici'
import type { WorkerRequest } from '../worker-answer.ts'
import { Connection, type ConnectionLimits, usualConnection } from './connection.ts'
import { Exchange, silenceMs } from './exchange.ts'

/** Connections to one worker, as far as requests need them. */
export interface WorkerConnections {
  /** Which they have; null where there is none. */
  readonly protocol?: 'HTTP/2' | 'HTTP/1.1' | null
  dispatch(request: WorkerRequest, handler: Dispatcher.DispatchHandler): unknown
  /** Resolves once what is under way has ended. */
  close(): Promise<void>
  destroy(): Promise<void>
}

/** How long a request waits for a connection that takes it. It has not been sent, so another worker may be asked. */
const waitMs = 10_000

interface Waiting {
  readonly request: WorkerRequest
  readonly handler: Dispatcher.DispatchHandler
  readonly timer: NodeJS.Timeout
}

/** Gives a connection of which the other side has proven its key. */
export type Connect = (http2: boolean) => buildConnector.connector

/**
 * Connections to one worker. The first says which protocol the worker speaks, before any other is opened: with HTTP/2 a few take all requests, with HTTP/1.1 each of `most` takes one at a time. Both end in the same key.
 */
export class WorkerPool implements WorkerConnections {
  readonly #origin: URL
  readonly #most: number
  readonly #connect: Connect
  readonly #limits: ConnectionLimits
  #waiting: Waiting[] = []
  #connections: Connection[] = []
  /** Of HTTP/1.1, for good: a worker that speaks another protocol has other keys. */
  #plain: Pool | null = null
  /** The connection by which that was found out, until a request takes it. */
  #spare: Socket | null = null
  #opening = 0
  /** What a connection took of late. */
  #each = 1
  #closed: PromiseWithResolvers<void> | null = null

  constructor(origin: string, most: number, connect: Connect, limits: ConnectionLimits = usualConnection) {
    this.#origin = new URL(origin)
    this.#most = most
    this.#connect = connect
    this.#limits = limits
  }

  get protocol(): 'HTTP/2' | 'HTTP/1.1' | null {
    if (this.#plain !== null) return 'HTTP/1.1'
    return this.#connections.length > 0 ? 'HTTP/2' : null
  }

  /** How many there are; of HTTP/1.1 it is not counted. */
  get connections(): number {
    return this.#connections.length
  }

  dispatch(request: WorkerRequest, handler: Dispatcher.DispatchHandler): void {
    const connection = this.#waiting.length === 0 ? this.#free() : undefined
    if (this.#closed !== null) handler.onResponseError?.(noController, new errors.ClientClosedError())
    else if (this.#plain !== null) this.#plain.dispatch(request, handler)
    else if (connection !== undefined) connection.send(new Exchange(request, handler))
    else this.#wait(request, handler)
  }

  #wait(request: WorkerRequest, handler: Dispatcher.DispatchHandler): void {
    const waiting: Waiting = { request, handler, timer: setTimeout(() => this.#refuse(waiting), waitMs) }
    this.#waiting.push(waiting)
    this.#changed()
  }

  close(): Promise<void> {
    this.#closed ??= Promise.withResolvers()
    this.#changed()
    return this.#closed.promise
  }

  async destroy(): Promise<void> {
    this.#closed ??= Promise.withResolvers()
    const error = new errors.ClientDestroyedError()
    this.#refuseAll(error)
    for (const connection of this.#connections) connection.destroy(error)
    this.#spare?.destroy()
    await this.#plain?.destroy(error)
    this.#closed.resolve()
  }

  #free(): Connection | undefined {
    for (const connection of this.#connections) if (connection.takes) return connection
    return undefined
  }

  #refuse(one: Waiting): void {
    this.#waiting = this.#waiting.filter((other) => other !== one)
    one.handler.onResponseError?.(noController, new errors.ConnectTimeoutError('no connection to the worker took the request'))
  }

  #refuseAll(error: Error): void {
    for (const { handler, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer)
      handler.onResponseError?.(noController, error)
    }
  }

  /** Gives connections what waits, opens those that are needed, and lets go of those that have ended. */
  readonly #changed = (): void => {
    if (this.#connections.some(({ ended, known }) => ended && !known)) this.#refuseAll(new errors.SocketError('the worker speaks no HTTP/2'))
    this.#connections = this.#connections.filter(({ ended }) => !ended)
    for (let free = this.#free(); free !== undefined && this.#waiting.length > 0; free = this.#free()) {
      const connection = free
      this.#each = connection.most
      this.#next((request, handler) => connection.send(new Exchange(request, handler)))
    }
    if (this.#plain !== null) while (this.#waiting.length > 0) this.#next((request, handler) => this.#plain?.dispatch(request, handler))
    const useless = this.#connections.find(({ leaving, known, most }) => !leaving && known && most === 0)
    if (useless !== undefined) {
      // Who asks need not wait until it may take some.
      this.#refuseAll(new errors.SocketError('the worker takes no requests'))
      if (useless.open === 0) useless.leave()
    }
    this.#grow()
    if (this.#closed !== null && this.#waiting.length === 0) this.#finish(this.#closed)
  }

  #next(give: (request: WorkerRequest, handler: Dispatcher.DispatchHandler) => void): void {
    const next = this.#waiting.shift()
    if (next === undefined) return
    clearTimeout(next.timer)
    give(next.request, next.handler)
  }

  /** The first alone: what it speaks and how much it takes says how many more there are to be. */
  #grow(): void {
    const staying = this.#connections.filter(({ leaving }) => !leaving)
    const starting = this.#opening + staying.filter(({ known }) => !known).length
    const needed = staying.some(({ known }) => known) ? Math.ceil(this.#waiting.length / this.#each) : Math.min(1, this.#waiting.length)
    const room = Math.ceil(this.#most / this.#each) - this.#opening - staying.length
    for (let more = Math.min(needed - starting, room); more > 0; more--) this.#open()
  }

  #open(): void {
    this.#opening++
    const { hostname, host, protocol, port } = this.#origin
    const options = { hostname: hostname.replace(/^\[|\]$/g, ''), host, protocol, port }
    this.#connect(true)(options, (error, socket) => {
      this.#opening--
      if (error !== null) this.#refuseAll(error)
      else if ((this.#closed !== null && this.#waiting.length === 0) || this.#plain !== null) socket.destroy()
      else if ('alpnProtocol' in socket && socket.alpnProtocol === 'h2') this.#opened(socket)
      else this.#plain = this.#plainPool(socket)
      this.#changed()
    })
  }

  #opened(socket: Socket): void {
    const connection = new Connection(socket, this.#origin, this.#limits, this.#changed)
    this.#connections.push(connection)
  }

  #plainPool(first: Socket): Pool {
    this.#spare = first
    const connect = this.#connect(false)
    return new Pool(this.#origin, {
      connections: this.#most,
      headersTimeout: silenceMs,
      bodyTimeout: silenceMs,
      allowH2: false,
      connect: (options, callback) => {
        const socket = this.#spare
        this.#spare = null
        if (socket === null || socket.destroyed) connect(options, callback)
        // undici takes it amiss where it is at once.
        else process.nextTick(callback, null, socket)
      },
    })
  }

  #finish(closed: PromiseWithResolvers<void>): void {
    for (const connection of this.#connections) if (!connection.leaving) connection.leave()
    if (this.#connections.length > 0 || this.#opening > 0) return
    this.#spare?.destroy()
    if (this.#plain === null) closed.resolve()
    else this.#plain.close().then(closed.resolve, () => closed.resolve())
  }
}

/** Of what was never sent. */
const noController: Dispatcher.DispatchController = {
  aborted: true,
  paused: false,
  reason: null,
  abort: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}
