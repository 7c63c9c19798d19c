import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import { HttpError } from '../http/errors.ts'
import { joined } from '../http/read-parts.ts'
import type { CancelSignal } from './cancellation.ts'
import type { WorkerConnections } from './worker-pool/pool.ts'

/** An answer of a worker, as it comes. */
export interface WorkerAnswer {
  readonly statusCode: number
  readonly headers: IncomingHttpHeaders
  /**
   * Gives the body to `take`, part by part and at once. Resolves with the trailers when the body is whole; rejects where it broke off, and with what
   * `take` threw, after which nothing more is read. Call once.
   */
  read(take: (part: Buffer) => void): Promise<IncomingHttpHeaders>
  /** At most one more part comes after this, until `resume`: the worker is slowed down by its own connection. */
  pause(): void
  resume(): void
  /** Breaks off, and with it the worker's work. Does nothing after the end. */
  abort(): void
}

export interface WorkerRequest {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | null
  /** How long it may take to begin to answer. Without it, as long as the pool allows. */
  readonly headersTimeout?: number
  /** Its answer comes in one piece, not as a stream: see `worker-pool/by-kind.ts`. */
  readonly plain?: boolean
}

/**
 * Sends a request to a worker. Resolves with its answer once that has begun; rejects where none came, and where `signal` aborts before.
 * Afterwards an abort breaks the answer off.
 */
export function callWorker(pool: Pick<WorkerConnections, 'dispatch'>, request: WorkerRequest, signal: CancelSignal): Promise<WorkerAnswer> {
  const call = new Call(signal)
  if (!signal.aborted) pool.dispatch(request, call)
  return call.begun
}

/** An answer that has come to its end. */
export interface Whole {
  readonly bytes: Buffer
  readonly trailers: IncomingHttpHeaders
}

/** The bytes of an answer, bounded, and its trailers. `hold` is told of each part, before it is kept. Throws 502 with the code `response_too_large`, and what `hold` throws. */
export async function readWhole(answer: WorkerAnswer, maxBytes: number, hold: (bytes: number) => void = () => undefined): Promise<Whole> {
  const parts: Buffer[] = []
  let length = 0
  const trailers = await answer.read((part) => {
    length += part.length
    if (length > maxBytes) throw new HttpError(502, 'server_error', `the worker sent more than ${maxBytes} bytes`, { code: 'response_too_large' })
    hold(part.length)
    parts.push(part)
  })
  return { bytes: joined(parts), trailers }
}

/** Handlers instead of streams: an async iterator, its promises and its signal cost as much for each part as everything else that is done with it. */
class Call implements WorkerAnswer, Dispatcher.DispatchHandler {
  statusCode = 0
  headers: IncomingHttpHeaders = {}
  readonly begun: Promise<WorkerAnswer>
  readonly #signal: CancelSignal
  readonly #begin: (answer: WorkerAnswer) => void
  readonly #fail: (error: unknown) => void
  #controller: Dispatcher.DispatchController | null = null
  /** What came in the turn in which the answer began; the next turn takes it. */
  #held: Buffer[] = []
  #take: ((part: Buffer) => void) | null = null
  #end: ((trailers: IncomingHttpHeaders) => void) | null = null
  #reject: ((error: unknown) => void) | null = null
  #trailers: IncomingHttpHeaders | null = null
  #failure: { readonly error: unknown } | null = null

  constructor(signal: CancelSignal) {
    const { promise, resolve, reject } = Promise.withResolvers<WorkerAnswer>()
    this.begun = promise
    this.#begin = resolve
    this.#fail = reject
    this.#signal = signal
    if (signal.aborted) reject(signal.reason)
    else signal.addEventListener('abort', this)
  }

  /** Of the signal. */
  handleEvent(): void {
    this.#failed(this.#signal.reason)
    this.abort()
  }

  abort(): void {
    if (this.#trailers === null) this.#controller?.abort(new Error('the answer is no longer wanted'))
  }

  pause(): void {
    this.#controller?.pause()
  }

  resume(): void {
    this.#controller?.resume()
  }

  read(take: (part: Buffer) => void): Promise<IncomingHttpHeaders> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingHttpHeaders>()
    this.#take = take
    this.#end = resolve
    this.#reject = reject
    const held = this.#held
    this.#held = []
    for (const part of held) this.#give(part)
    if (this.#failure !== null) reject(this.#failure.error)
    else if (this.#trailers !== null) resolve(this.#trailers)
    return promise
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#failure !== null) this.abort()
  }

  onResponseStart(_controller: Dispatcher.DispatchController, statusCode: number, headers: IncomingHttpHeaders): void {
    // Interim responses, of which workers send none, are not answers.
    if (statusCode < 200) return
    this.statusCode = statusCode
    this.headers = headers
    this.#begin(this)
  }

  onResponseData(_controller: Dispatcher.DispatchController, part: Buffer): void {
    if (this.#take === null) this.#held.push(part)
    else this.#give(part)
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: IncomingHttpHeaders): void {
    this.#signal.removeEventListener('abort', this)
    this.#trailers = trailers
    this.#end?.(trailers)
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#failed(error)
  }

  #give(part: Buffer): void {
    if (this.#failure !== null) return
    try {
      this.#take?.(part)
    } catch (error) {
      this.#failed(error)
      this.abort()
    }
  }

  #failed(error: unknown): void {
    this.#signal.removeEventListener('abort', this)
    this.#failure ??= { error }
    this.#fail(error)
    this.#reject?.(error)
  }
}
