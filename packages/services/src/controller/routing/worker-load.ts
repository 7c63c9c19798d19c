import { Breaker, type BreakerState } from './breaker.ts'
import type { RoutingLimits } from './limits.ts'
import { Speed } from './speed.ts'

/**
 * What a worker has under way, how fast it was, and whether it fails. It belongs to the keyset: a worker whose session is renewed goes on with what it
 * had, so that nobody looks idle, or well, for having registered again.
 */
export class WorkerLoad {
  /** Requests sent to it whose answers have not ended. */
  outstanding = 0
  /** An estimate of what they still take, in tokens of an answer. */
  work = 0
  /** Requests it may have at a time, as far as it has said. */
  #most = Number.POSITIVE_INFINITY
  readonly #models = new Map<string, ModelLoad>()
  #breaker: Breaker | null = null
  #told: (state: BreakerState) => void = () => undefined

  hasRoom(workerRequests: number): boolean {
    return this.outstanding < Math.min(workerRequests, Math.floor(this.#most))
  }

  /** It said that it has no room for the last of its requests: it gets no more than it has without that one, until some of those went well. */
  refusedForWantOfRoom(): void {
    this.#most = Math.max(1, this.outstanding - 1)
  }

  /** An answer has come whole: where it had all that it may have, ten of these give it one more. */
  answered(): void {
    if (this.outstanding >= Math.floor(this.#most)) this.#most += 0.1
  }

  of(model: string): ModelLoad {
    const known = this.#models.get(model)
    if (known !== undefined) return known
    const load = { requests: 0, speed: new Speed() }
    this.#models.set(model, load)
    return load
  }

  /** The one breaker of this worker; `changed` is told from now on, and nobody who asked before. */
  breaker(limits: RoutingLimits, changed: (state: BreakerState) => void): Breaker {
    this.#told = changed
    this.#breaker ??= new Breaker(limits, (state) => this.#told(state))
    return this.#breaker
  }
}

/** The part of one model in it. */
export interface ModelLoad {
  requests: number
  readonly speed: Speed
}
