import { fail } from 'veritee/errors'

/** A place among the requests of an engine: first waiting, then holding one slot. */
export interface Ticket {
  /**
   * Waits for the turn and returns the slot. Until then an abort gives the place back by itself, and this rejects with its reason;
   * afterwards only {@link Ticket.release} does.
   */
  begin(): Promise<number>
  /** Gives the slot or the place in the queue back. Repeated calls do nothing. */
  release(): void
}

/** A fixed number of slots, given out in the order of asking, and a bounded queue. */
export class Slots {
  readonly #free: number[]
  readonly #waiting = new Set<(slot: number) => void>()
  readonly #count: number
  readonly #maxWaiting: number

  constructor(count: number, maxWaiting: number) {
    this.#count = count
    this.#maxWaiting = maxWaiting
    this.#free = Array.from({ length: count }, (_, i) => i)
  }

  get running(): number {
    return this.#count - this.#free.length
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** Takes a place at once. Throws `engine_busy` when the queue is full. */
  enter(signals: readonly AbortSignal[]): Ticket {
    if (this.#free.length === 0 && this.#waiting.size >= this.#maxWaiting)
      throw fail('engine_busy', `expected at most ${this.#maxWaiting} waiting requests; retry later`)
    const { promise, resolve } = Promise.withResolvers<void>()
    let slot: number | null = null
    let released = false
    const grant = (given: number): void => {
      slot = given
      resolve()
    }
    const release = (): void => {
      if (released) return
      released = true
      forget()
      resolve()
      if (slot === null) this.#waiting.delete(grant)
      else this.#put(slot)
    }
    const forget = (): void => {
      for (const signal of signals) signal.removeEventListener('abort', release)
    }
    const begin = async (): Promise<number> => {
      await promise
      for (const signal of signals) signal.throwIfAborted()
      if (released || slot === null) throw new TypeError('ticket: released before it began')
      forget()
      return slot
    }
    const free = this.#free.pop()
    if (free === undefined) this.#waiting.add(grant)
    else grant(free)
    for (const signal of signals) {
      if (signal.aborted) release()
      else signal.addEventListener('abort', release)
    }
    return { begin, release }
  }

  #put(slot: number): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#free.push(slot)
      return
    }
    this.#waiting.delete(next)
    next(slot)
  }
}
