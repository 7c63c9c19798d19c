import type { IncomingMessage, RequestListener } from 'node:http'
import { sendError } from '../http/body.ts'
import { drainingHeader } from '../http/chat-request.ts'
import { HttpError } from '../http/errors.ts'

/** After the last answer its requester still fetches the receipt: the service stays until nobody has asked for this long. */
const quietMs = 1_000
const tickMs = 50

/** Counts what is under way, and ends a service in good order. */
export class Gate {
  #work = 0
  #requests = 0
  #lastEnd = 0
  #draining = false
  readonly #onRefused: (request: IncomingMessage) => void

  /** `onRefused` is told of each request that is turned away. */
  constructor(onRefused: (request: IncomingMessage) => void = () => undefined) {
    this.#onRefused = onRefused
  }

  get draining(): boolean {
    return this.#draining
  }

  /** Requests that hold an engine, or a worker, at this moment. */
  get working(): number {
    return this.#work
  }

  /**
   * `isWork`: what makes the service work, and is refused once it drains, and its connection closed. Everything else is answered to the end, and its connection kept: behind a
   * balancer the next one may lead to another replica, and whoever has an answer still fetches what proves it.
   */
  wrap(listener: RequestListener, isWork: (request: IncomingMessage) => boolean): RequestListener {
    return (request, response) => {
      const work = isWork(request)
      if (work && this.#draining) {
        request.resume()
        response.setHeader(drainingHeader, '1')
        const headers = { 'retry-after': '1', connection: 'close' }
        sendError(response, new HttpError(503, 'server_error', 'this service is stopping', { code: 'service_draining', headers }))
        return this.#onRefused(request)
      }
      this.#requests++
      if (work) this.#work++
      response.once('close', () => {
        this.#requests--
        if (work) this.#work--
        this.#lastEnd = performance.now()
      })
      return listener(request, response)
    }
  }

  /** Takes no more work and waits for what is under way, at most `limitMs`; then until receipts have been fetched. False where work was cut off. */
  async drain(limitMs: number): Promise<boolean> {
    this.#draining = true
    const busy = this.#work > 0
    const end = performance.now() + limitMs
    while (this.#work > 0 && performance.now() < end) await pause()
    const finished = this.#work === 0
    const last = performance.now() + 5 * quietMs
    // Where nothing was under way, nobody has a receipt to fetch.
    while (busy && performance.now() < last && (this.#requests > this.#work || performance.now() - this.#lastEnd < quietMs)) await pause()
    return finished
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, tickMs)
  })
}
