import type { RoutingLimits } from './limits.ts'

export type BreakerState = 'closed' | 'open' | 'half_open'

/**
 * Keeps requests away from a worker that fails: after some failures in a row it gets none for a while, then one, whose end decides. The while doubles
 * with each failed probe. What counts as a failure is the caller's: see `stages/dispatch.ts`.
 */
export class Breaker {
  readonly #limits: Pick<RoutingLimits, 'breakerFailures' | 'breakerMs' | 'breakerMaxMs'>
  /** Told of every change. */
  readonly #changed: (state: BreakerState) => void
  #state: BreakerState = 'closed'
  #failures = 0
  #openings = 0
  #timer: NodeJS.Timeout | null = null
  /** True while the one request of a half-open breaker is under way. */
  probing = false

  constructor(limits: Pick<RoutingLimits, 'breakerFailures' | 'breakerMs' | 'breakerMaxMs'>, changed: (state: BreakerState) => void) {
    this.#limits = limits
    this.#changed = changed
  }

  get state(): BreakerState {
    return this.#state
  }

  get passes(): boolean {
    return this.#state === 'closed' || (this.#state === 'half_open' && !this.probing)
  }

  /** An answer has begun. A probe has done its work then; the next failure opens it again, and for longer. */
  began(): void {
    if (this.#state !== 'half_open') return
    this.#failures = this.#limits.breakerFailures - 1
    this.#become('closed')
  }

  /** An answer has come whole. */
  succeeded(): void {
    this.#failures = 0
    this.#openings = 0
    // What began before it opened and ends well now is no probe, and as good.
    if (this.#state === 'closed') return
    this.close()
    this.#become('closed')
  }

  failed(): void {
    this.#failures++
    if (this.#state === 'open' || (this.#state === 'closed' && this.#failures < this.#limits.breakerFailures)) return
    const { breakerMs, breakerMaxMs } = this.#limits
    const pause = Math.min(breakerMaxMs, breakerMs * 2 ** Math.min(this.#openings, 20))
    this.#openings++
    this.#timer = setTimeout(() => this.#become('half_open'), pause)
    this.#timer.unref()
    this.#become('open')
  }

  /** Ends its timer. */
  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  #become(state: BreakerState): void {
    this.#state = state
    this.probing = false
    this.#changed(state)
  }
}
