import { fail } from 'veritee/errors'
import { Watch, type WatchOptions } from './watch.ts'

/** What is done about evaluations that hang, in the process that evaluates. */
export interface StallOptions {
  /** An evaluation that gets on with nothing for so long, in milliseconds, hangs. Absent: none is watched. */
  readonly stallMs?: number
  /** Told when the engine stops and when it runs again; without any content of requests. */
  readonly onChange?: (change: { readonly ready: boolean; readonly reason: string }) => void
  /** See {@link WatchOptions}. */
  readonly every?: WatchOptions['every']
}

/**
 * What native code evaluates at this moment, and whether it gets on. Where one evaluation hangs, all that were under way are given up with `engine_stalled`, since what shares a batch with it
 * hangs too, and nothing new is begun until every one of them has come back: native code cannot be interrupted, and a sequence must not be evaluated twice at once.
 *
 * A hang of the event loop itself, as of a tokenizer, is not noticed: nothing here runs then.
 */
export class Evaluations {
  readonly #options: StallOptions
  readonly #watch: Watch | null
  readonly #waiting = new Map<number, (error: Error) => void>()
  #last = 0
  #hanging = 0
  #stalled = new AbortController()

  /** Throws `TypeError` for a time that is none. */
  constructor(options: StallOptions = {}) {
    const { stallMs, every } = options
    this.#options = options
    this.#watch = stallMs === undefined ? null : new Watch({ stallMs, onStall: () => this.#giveUp(stallMs), ...(every && { every }) })
  }

  /** False from the moment in which one hangs until all that were given up have come back. */
  get getsOn(): boolean {
    return !this.#stalled.signal.aborted
  }

  /** Of now: aborted with `engine_stalled` where something hangs. After that another one counts. */
  get signal(): AbortSignal {
    return this.#stalled.signal
  }

  /** Evaluates. Throws what `work` throws, and `engine_stalled` where it hangs or something else does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#watch === null) return work()
    this.#stalled.signal.throwIfAborted()
    const id = ++this.#last
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.#waiting.set(id, reject)
    this.#watch.begin(id)
    work().then(
      (result) => {
        this.#cameBack(id)
        resolve(result)
      },
      (error: unknown) => {
        this.#cameBack(id)
        reject(error)
      },
    )
    return promise
  }

  #cameBack(id: number): void {
    this.#watch?.end(id)
    if (this.#waiting.delete(id)) return
    this.#hanging--
    if (this.#hanging > 0) return
    this.#stalled = new AbortController()
    this.#options.onChange?.({ ready: true, reason: 'the evaluations that hung have come back' })
  }

  #giveUp(stallMs: number): void {
    const error = fail(
      'engine_stalled',
      `the engine got on with nothing for ${stallMs / 1000} s; it cannot be ended, so where it does not come back the worker must be`,
    )
    const given = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#hanging = given.length
    // First of all, so that no place that becomes free is given to a request that waits.
    this.#stalled.abort(error)
    for (const reject of given) reject(error)
    this.#options.onChange?.({ ready: false, reason: error.message })
  }
}
