import { leafHash, merkleRoot } from 'veritee/bytes'
import { tileWidth } from 'veritee/log'

interface Part {
  /** Of 256 * 2^height leaves. */
  readonly height: number
  readonly root: Uint8Array
}

/**
 * The RFC 6962 tree of a log, made of all its entries from the first one on: what it remembers is the root of each whole part of a power of two, and the leaves at the edge.
 * A root that equals a checkpoint's so shows both that the entries read are the log's, and that what was read before is their beginning; no proof is needed beside it.
 */
export class FollowedTree {
  /** Whole parts from the left, each lower than the one before. */
  readonly #parts: readonly Part[]
  readonly #edge: readonly Uint8Array[]
  readonly size: number

  private constructor(parts: readonly Part[], edge: readonly Uint8Array[], size: number) {
    this.#parts = parts
    this.#edge = edge
    this.size = size
  }

  static readonly empty: FollowedTree = new FollowedTree([], [], 0)

  /** The tree with more entries; this one stays as it is. At most as many as fill the bundle at the edge. */
  async grown(entries: readonly Uint8Array[]): Promise<FollowedTree> {
    if (this.#edge.length + entries.length > tileWidth) throw new TypeError('grown: expected entries of one bundle')
    const edge = [...this.#edge]
    for (const entry of entries) edge.push(await leafHash(entry))
    const size = this.size + entries.length
    if (edge.length < tileWidth) return new FollowedTree(this.#parts, edge, size)
    const parts = [...this.#parts]
    let part: Part = { height: 0, root: await merkleRoot(edge) }
    for (let last = parts.at(-1); last?.height === part.height; last = parts.at(-1)) {
      parts.pop()
      part = { height: part.height + 1, root: await merkleRoot([last.root, part.root]) }
    }
    return new FollowedTree([...parts, part], [], size)
  }

  async root(): Promise<Uint8Array> {
    const roots = this.#parts.map(({ root }) => root)
    let right = this.#edge.length > 0 ? await merkleRoot(this.#edge) : (roots.pop() ?? (await merkleRoot([])))
    for (let left = roots.pop(); left !== undefined; left = roots.pop()) right = await merkleRoot([left, right])
    return right
  }
}
