/** Of one thing that the engine was asked to do: how many readings of the clock it was silent while it was its turn. */
interface Watched {
  silent: number
  /** False while it waits for its reader: then silence is right. */
  readonly expected: () => boolean
}

/** How often within the time that is allowed {@link Watch} looks. */
const looks = 8

export interface WatchOptions {
  /** Silence that is too long. It is noticed after this time, and an eighth of it later at most. */
  readonly stallMs: number
  /** Told once, and nothing is watched any more. */
  readonly onStall: () => void
  /** A timer that does not keep the process alive; gives what stops it. Default Node's. */
  readonly every?: (ms: number, look: () => void) => () => void
}

/**
 * Notices that an engine no longer gets on with something it was asked to do. Progress is what evaluations bring forth: a process whose event loop answers
 * while its evaluation hangs hangs all the same.
 *
 * Silence is counted in looks and not read from a clock: a worker that was itself stopped for an hour has looked once, and blames nobody. Progress costs one
 * look-up, since it comes with every token.
 */
export class Watch {
  readonly #watched = new Map<number, Watched>()
  readonly #options: WatchOptions
  #stop: (() => void) | null = null

  /** Throws `TypeError` for a time that is none. */
  constructor(options: WatchOptions) {
    if (!(options.stallMs > 0)) throw new TypeError('engine: stallMs must be above 0')
    this.#options = options
  }

  /** From now on. An id that is watched already begins anew. */
  begin(id: number, expected: () => boolean = () => true): void {
    this.#watched.set(id, { silent: 0, expected })
    const { stallMs, every = timer } = this.#options
    this.#stop ??= every(stallMs / looks, () => this.#look())
  }

  progress(id: number): void {
    const watched = this.#watched.get(id)
    if (watched !== undefined) watched.silent = 0
  }

  end(id: number): void {
    this.#watched.delete(id)
  }

  /** Nothing is watched any more, and no timer is left. */
  close(): void {
    this.#watched.clear()
    this.#stop?.()
    this.#stop = null
  }

  #look(): void {
    // The timer goes on for one turn without anything to watch, so that requests one after the other do not start it anew.
    if (this.#watched.size === 0) {
      this.close()
      return
    }
    for (const watched of this.#watched.values()) {
      watched.silent = watched.expected() ? watched.silent + 1 : 0
      // The first look comes at any time after the beginning.
      if (watched.silent <= looks) continue
      this.close()
      this.#options.onStall()
      return
    }
  }
}

function timer(ms: number, look: () => void): () => void {
  const interval = setInterval(look, ms).unref()
  return () => clearInterval(interval)
}
