import type { Dispatcher } from 'undici'
import type { WorkerRequest } from '../worker-answer.ts'
import type { WorkerConnections, WorkerPool } from './pool.ts'

/** Plain answers at a time that have connections of their own; each takes some 53 KB. */
export const plainAtOnce = 64

/** The longest body that goes over a connection of others: uploads keep nothing waiting that is short. */
export const mostShared = 131_072

/**
 * Connections to one worker: plain answers have each one of HTTP/1.1, which Node reads with less CPU; streams share those of {@link WorkerPool}, whose events then come many at a time. Plain answers beyond {@link plainAtOnce} go with the
 * streams, so a burst of them opens no more; requests beyond {@link mostShared} never do. Both end in the same key.
 */
export class ByKind implements WorkerConnections {
  readonly #streams: WorkerPool
  readonly #plain: Dispatcher
  #open = 0

  constructor(streams: WorkerPool, plain: Dispatcher) {
    this.#streams = streams
    this.#plain = plain
  }

  /** Of streams. */
  get protocol(): 'HTTP/2' | 'HTTP/1.1' | null {
    return this.#streams.protocol
  }

  dispatch(request: WorkerRequest, handler: Dispatcher.DispatchHandler): void {
    const shares = request.body === null || request.body.length <= mostShared
    if (shares && (request.plain !== true || this.#open >= plainAtOnce)) {
      this.#streams.dispatch(request, handler)
      return
    }
    this.#open++
    this.#plain.dispatch(shares ? request : lettingGo(request), new Counted(handler, this.#ended))
  }

  async close(): Promise<void> {
    await Promise.all([this.#streams.close(), this.#plain.close()])
  }

  async destroy(): Promise<void> {
    await Promise.all([this.#streams.destroy(), this.#plain.destroy()])
  }

  readonly #ended = (): void => {
    this.#open--
  }
}

/** The same with a body that is given away once: undici keeps bytes until the answer is over, which may be long. */
function lettingGo(request: WorkerRequest): Dispatcher.DispatchOptions {
  const length = request.body?.length ?? 0
  let left: Uint8Array | null = request.body
  const next = async (): Promise<IteratorResult<Uint8Array>> => {
    const value = left
    left = null
    return value === null ? { done: true, value: undefined } : { done: false, value }
  }
  const body = { [Symbol.asyncIterator]: () => ({ next }) }
  return { ...request, headers: { ...request.headers, 'content-length': String(length) }, body: body as never }
}

/** Tells when an answer has ended, in one way or the other. */
class Counted implements Dispatcher.DispatchHandler {
  readonly #handler: Dispatcher.DispatchHandler
  readonly #ended: () => void
  #over = false

  constructor(handler: Dispatcher.DispatchHandler, ended: () => void) {
    this.#handler = handler
    this.#ended = ended
  }

  onRequestStart(controller: Dispatcher.DispatchController, context: unknown): void {
    this.#handler.onRequestStart?.(controller, context)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number, headers: Record<string, string | string[]>, message?: string): void {
    this.#handler.onResponseStart?.(controller, status, headers, message)
  }

  onResponseData(controller: Dispatcher.DispatchController, part: Buffer): void {
    this.#handler.onResponseData?.(controller, part)
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: Record<string, string | string[]>): void {
    this.#end()
    this.#handler.onResponseEnd?.(controller, trailers)
  }

  onResponseError(controller: Dispatcher.DispatchController, error: Error): void {
    this.#end()
    this.#handler.onResponseError?.(controller, error)
  }

  #end(): void {
    if (!this.#over) this.#ended()
    this.#over = true
  }
}
