import * as crypto from '#crypto'
import { concatAll } from '../bytes/bytes.ts'

/**
 * A tree of RFC 6962 as the roots of its full subtrees, largest first: what is needed to add leaves and to compute the root. So a part of a log is shown to
 * stand between two of its checkpoints without the leaves before it.
 */
export class TreeEdge {
  #size: number
  readonly #roots: Uint8Array[]

  /** Throws `RangeError` where a tree of that size has another number of full subtrees. */
  constructor(size: number, roots: readonly Uint8Array[]) {
    const full = size === 0 ? 0 : size.toString(2).replaceAll('0', '').length
    if (roots.length !== full) throw new RangeError(`TreeEdge: expected ${full} subtrees of a tree of ${size} leaves`)
    this.#size = size
    this.#roots = [...roots]
  }

  get roots(): readonly Uint8Array[] {
    return this.#roots
  }

  /** Adds a leaf by its hash. */
  async add(leaf: Uint8Array): Promise<void> {
    let node = leaf
    // As many subtrees of equal size join as the number ends in ones.
    for (let size = this.#size; size % 2 === 1; size = (size - 1) / 2) node = await joined(this.#roots.pop() as Uint8Array, node)
    this.#roots.push(node)
    this.#size++
  }

  async root(): Promise<Uint8Array> {
    const [last, ...others] = this.#roots.toReversed()
    if (last === undefined) return crypto.sha256(new Uint8Array(0))
    let node = last
    for (const left of others) node = await joined(left, node)
    return node
  }
}

const nodePrefix = Uint8Array.of(1)

function joined(left: Uint8Array, right: Uint8Array): Uint8Array | Promise<Uint8Array> {
  return crypto.sha256(concatAll([nodePrefix, left, right]))
}
