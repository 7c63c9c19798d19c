import { concatAll, merkleRoot } from 'veritee/bytes'
import { type ReadTile, type Tile, tileHashes, tileWidth, widthIn } from 'veritee/log'

/** The right edge of a tree in tiles: all that is needed to append to it and to know its root. */
export class Edge {
  /** By level: hashes of the tile that is not yet whole, fewer than 256. */
  readonly #levels: Uint8Array[][]
  #size: number

  private constructor(size: number, levels: Uint8Array[][]) {
    this.#size = size
    this.#levels = levels
  }

  static empty(): Edge {
    return new Edge(0, [])
  }

  /** Reads the edge of a tree of `size` leaves. Whether it is that of a signed tree, its {@link root} shows. */
  static async load(size: number, read: ReadTile): Promise<Edge> {
    const levels: Uint8Array[][] = []
    for (let level = 0, hashes = size; hashes > 0; level++, hashes = Math.floor(hashes / tileWidth)) {
      const index = Math.floor(hashes / tileWidth)
      const width = widthIn(size, level, index)
      levels.push(width === 0 ? [] : tileHashes(await read({ level, index, width }), width))
    }
    return new Edge(size, levels)
  }

  get size(): number {
    return this.#size
  }

  copy(): Edge {
    return new Edge(
      this.#size,
      this.#levels.map((hashes) => [...hashes]),
    )
  }

  /** Appends leaf hashes and gives the tiles that are new, whole ones and the last of each level. */
  async append(leaves: readonly Uint8Array[]): Promise<{ readonly tile: Tile; readonly bytes: Uint8Array }[]> {
    const tiles: { tile: Tile; bytes: Uint8Array }[] = []
    let coming = leaves
    let before = this.#size
    for (let level = 0; coming.length > 0; level++) {
      this.#levels[level] ??= []
      const above: Uint8Array[] = []
      let index = Math.floor(before / tileWidth)
      let hashes = this.#levels[level] ?? []
      for (let at = 0; at < coming.length; ) {
        const room = coming.slice(at, at + tileWidth - hashes.length)
        hashes = hashes.concat(room)
        at += room.length
        tiles.push({ tile: { level, index, width: hashes.length }, bytes: concatAll(hashes) })
        if (hashes.length < tileWidth) break
        above.push(await merkleRoot(hashes))
        hashes = []
        index++
      }
      this.#levels[level] = hashes
      before = Math.floor(before / tileWidth)
      coming = above
    }
    this.#size += leaves.length
    return tiles
  }

  /** Root of the tree. What is left over at the right of a level is the last node of the one above: the tree of RFC 6962 is split that way. */
  async root(): Promise<Uint8Array> {
    let rest: Uint8Array | null = null
    for (const hashes of this.#levels) {
      const nodes: Uint8Array[] = rest === null ? hashes : [...hashes, rest]
      if (nodes.length > 0) rest = await merkleRoot(nodes)
    }
    return rest ?? merkleRoot([])
  }
}
