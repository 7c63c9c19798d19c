/**
 * A token bucket over one minute. It may go below nothing: what an answer cost is known when it is over, and then it is paid for, also by waiting. Time is
 * passed in, in seconds of a clock that nobody sets.
 */
export class Bucket {
  readonly limit: number
  /** As a header has it. */
  readonly limitText: string
  #level: number
  #at: number

  constructor(perMinute: number, at: number) {
    this.limit = perMinute
    this.limitText = String(perMinute)
    this.#level = perMinute
    this.#at = at
  }

  /** Seconds to wait before `amount` may be taken; 0 where it may. More than the whole limit is asked for as the whole limit. */
  wait(amount: number, at: number): number {
    this.#refill(at)
    const short = Math.min(amount, this.limit) - this.#level
    return short <= 0 ? 0 : (short * 60) / this.limit
  }

  /** Takes; a negative amount gives back. */
  take(amount: number, at: number): void {
    this.#refill(at)
    // Whoever is in debt waits two minutes at most: what other replicas report late must not lock a key out.
    this.#level = Math.min(this.limit, Math.max(-this.limit, this.#level - amount))
  }

  /** Whole units left. */
  remaining(at: number): number {
    this.#refill(at)
    return Math.max(0, Math.floor(this.#level))
  }

  /** Seconds until all are back; 0 where the bucket is as good as a new one. */
  resetSeconds(at: number): number {
    this.#refill(at)
    return ((this.limit - this.#level) * 60) / this.limit
  }

  #refill(at: number): void {
    this.#level = Math.min(this.limit, this.#level + (Math.max(0, at - this.#at) * this.limit) / 60)
    this.#at = Math.max(at, this.#at)
  }
}
