interface Waiting<T> {
  readonly item: T
  resolve(): void
  reject(error: unknown): void
}

export interface GroupCommitOptions<T> {
  /** Writes a group, all or nothing, durable when it resolves. The same group may come again after a failure. */
  write(group: readonly T[]): Promise<void>
  /** Runs after those who waited for a group were told, before the next. */
  after?(): Promise<void>
  /** Told of the first failure, and with null when commits succeed again. */
  changed?(failure: unknown): void
  /** How long after a failure the same items are tried again. */
  readonly retryMs?: number
}

/** The process stands still while a group is written; larger ones cost no less for each. */
const maxGroup = 64
/** The process stands still while the disk syncs: a fifth of its time at most, as long as the disk is fast; where it is slow, waiting longer helps nobody. */
const restFactor = 4
const maxRestMs = 10

/**
 * Writes many small things in few commits, in the order in which they came. What comes while a commit runs or rests goes into the next one.
 *
 * On failure everybody in the group is told, and the items stay first in the queue until they are written: their order never changes and none is left out.
 */
export class GroupCommit<T> {
  readonly #options: GroupCommitOptions<T>
  #queue: Waiting<T>[] = []
  #running: Promise<void> | null = null
  #cancel: (() => void) | null = null
  #notBefore = 0
  #failure: unknown = null
  readonly totals = { commits: 0, items: 0, failures: 0, seconds: 0 }

  constructor(options: GroupCommitOptions<T>) {
    this.#options = options
  }

  /** True from a failure until a commit succeeds again. */
  get failing(): boolean {
    return this.#failure !== null
  }

  get waiting(): number {
    return this.#queue.length
  }

  /** Resolves when the item is durable; rejects where the first attempt failed. */
  add(item: T): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#queue.push({ item, resolve, reject })
    this.#schedule()
    return promise
  }

  /** Writes what waits, without resting. Throws what the write threw. */
  async drain(): Promise<void> {
    while (this.#running !== null || this.#queue.length > 0) {
      await (this.#running ?? this.#start())
      if (this.failing) throw this.#failure
    }
  }

  #schedule(): void {
    if (this.#running !== null || this.#cancel !== null || this.#queue.length === 0) return
    const wait = this.#notBefore - performance.now()
    if (wait <= 0) {
      // Whatever else ends in this turn of the event loop joins the group.
      const immediate = setImmediate(() => this.#start())
      const cancel = (): void => clearImmediate(immediate)
      // By its name: see `sealResponse`.
      this.#cancel = cancel
    } else {
      const timer = setTimeout(() => this.#start(), wait)
      const cancel = (): void => clearTimeout(timer)
      this.#cancel = cancel
    }
  }

  #start(): Promise<void> {
    this.#cancel?.()
    this.#cancel = null
    this.#running ??= this.#run().finally(() => {
      this.#running = null
      this.#schedule()
    })
    return this.#running
  }

  async #run(): Promise<void> {
    const group = this.#queue.splice(0, maxGroup)
    const start = performance.now()
    try {
      await this.#options.write(group.map(({ item }) => item))
    } catch (error) {
      if (this.#failure === null) this.#options.changed?.(error)
      this.#failure = error
      this.totals.failures++
      this.#notBefore = performance.now() + (this.#options.retryMs ?? 1000)
      this.#queue = [...group.map(({ item }) => ({ item, resolve: ignore, reject: ignore })), ...this.#queue]
      for (const { reject } of group) reject(error)
      await this.#options.after?.()
      return
    }
    const took = performance.now() - start
    if (this.#failure !== null) this.#options.changed?.(null)
    this.#failure = null
    this.#notBefore = start + took + Math.min(restFactor * took, maxRestMs)
    this.totals.commits++
    this.totals.items += group.length
    this.totals.seconds += took / 1000
    for (const { resolve } of group) resolve()
    await this.#options.after?.()
  }
}

function ignore(): void {
  // Whoever waited was told of the failure.
}
