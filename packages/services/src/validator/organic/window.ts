import type { LogAccess } from '../log/access.ts'

/** Bundles that are kept: a chosen leaf looks at its own and those beside it, and leaves are taken in their order. */
const kept = 8

/** Statements of a log by their place, read a bundle at a time. Nothing of them is believed: each hashes to its leaf, or is none. */
export class Window {
  readonly #log: LogAccess
  readonly #bundles = new Map<number, Promise<readonly string[] | null>>()

  constructor(log: LogAccess) {
    this.#log = log
  }

  /** Lines of a bundle; null where the log gives none. Throws what `LogAccess.views` throws. */
  bundle(index: number): Promise<readonly string[] | null> {
    const known = this.#bundles.get(index)
    if (known !== undefined) return known
    const read = this.#log.views(index)
    this.#bundles.set(index, read)
    // What failed is asked for again.
    read.catch(() => this.#bundles.delete(index))
    const [oldest] = this.#bundles.keys()
    if (this.#bundles.size > kept && oldest !== undefined) this.#bundles.delete(oldest)
    return read
  }
}
