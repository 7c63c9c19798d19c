/** Weight of a new measurement. */
const weight = 0.2
const halfLifeMs = 60_000
/** How far a worker may be taken to be from the others, whatever it signed: a worker that overstates its counts gets so much more of the work, and no more. */
const spread = 4
/** Evaluating a token of a prompt takes a fraction of what writing one takes. */
const promptShare = 1 / 8

/** Work of a request, in tokens of an answer. */
export function workOf(promptTokens: number, completionTokens: number): number {
  return 1 + promptTokens * promptShare + completionTokens
}

/** Work per second that one request gets: a mean in which older measurements weigh less and less. */
export class Speed {
  #value = 0
  #at = 0

  /** Null before the first measurement. */
  get measured(): number | null {
    return this.#value === 0 ? null : this.#value
  }

  measure(work: number, seconds: number, now: number): void {
    const value = work / Math.max(seconds, 0.001)
    this.#value = this.#value === 0 ? value : this.#value + weight * (value - this.#value)
    this.#at = now
  }

  /**
   * What to count with: within bounds of what the others do, and the nearer to it the longer ago the last measurement is, so that a worker that was
   * slow once is tried again.
   */
  against(usual: number, now: number): number {
    if (this.#value === 0) return usual
    const bounded = Math.min(usual * spread, Math.max(usual / spread, this.#value))
    return usual + (bounded - usual) * 2 ** (-(now - this.#at) / halfLifeMs)
  }
}
