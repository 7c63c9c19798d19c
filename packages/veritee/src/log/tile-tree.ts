import { consistencyPath, merkleRoot } from '../bytes/merkle.ts'
import { inclusionPath } from './inclusion.ts'
import { type Tile, tileHashes, tileWidth, widthIn } from './tile.ts'

/** Gives the bytes of a tile. They need not be trusted: a proof made of wrong ones does not hold. */
export type ReadTile = (tile: Tile) => Promise<Uint8Array>

/**
 * A tree of `size` leaves that is read from its tiles, each once, those at the right edge as wide as this size makes them. What it gives is as good as the tiles:
 * verify it against a checkpoint. Throws `tile_malformed` for a tile of another length.
 */
export class TileTree {
  readonly size: number
  readonly #read: ReadTile
  readonly #tiles = new Map<string, Promise<Uint8Array[]>>()

  constructor(size: number, read: ReadTile) {
    if (!Number.isSafeInteger(size) || size < 0) throw new TypeError('TileTree: expected a size')
    this.size = size
    this.#read = read
  }

  /** Root of the whole tree. */
  root(): Promise<Uint8Array> {
    return this.#rootOf(0, this.size)
  }

  /** Hash of a leaf. */
  async leaf(index: number): Promise<Uint8Array> {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.size) throw new TypeError('leaf: index is out of range')
    return (await this.#tile(0, Math.floor(index / tileWidth)))[index % tileWidth] as Uint8Array
  }

  /** Roots of the full subtrees that make up the tree of the first `first` leaves, largest first: what has to be known of it to add leaves and compute a root. */
  async subtrees(first = this.size): Promise<Uint8Array[]> {
    if (!Number.isSafeInteger(first) || first < 0 || first > this.size) throw new TypeError('subtrees: size is out of range')
    const roots: Promise<Uint8Array>[] = []
    for (let from = 0; from < first; ) {
      const whole = 2 ** Math.floor(Math.log2(first - from))
      roots.push(this.#rootOf(from, from + whole))
      from += whole
    }
    return Promise.all(roots)
  }

  /** Audit path of a leaf in this tree. */
  inclusion(index: number): Promise<Uint8Array[]> {
    return inclusionPath(this.size, index, (from, to) => this.#rootOf(from, to))
  }

  /** Proof that the tree of the first `first` leaves is the beginning of this one; empty for no leaves and for all of them. */
  async consistency(first: number): Promise<Uint8Array[]> {
    if (!Number.isSafeInteger(first) || first < 0 || first > this.size) throw new TypeError('consistency: size is out of range')
    return first === 0 ? [] : consistencyPath(this.size, first, (from, to) => this.#rootOf(from, to))
  }

  /** MTH(D[from:to]): whole subtrees are in tiles, what is left at the right edge is made of them. `from` is a multiple of the largest power of two below `to - from`. */
  async #rootOf(from: number, to: number): Promise<Uint8Array> {
    const count = to - from
    if (count < 1) return merkleRoot([])
    const height = Math.floor(Math.log2(count))
    const whole = 2 ** height
    if (whole < count) return merkleRoot([await this.#rootOf(from, from + whole), await this.#rootOf(from + whole, to)])
    const level = Math.floor(height / 8)
    const first = from / tileWidth ** level
    const at = first % tileWidth
    const hashes = await this.#tile(level, Math.floor(first / tileWidth))
    return merkleRoot(hashes, at, at + 2 ** (height % 8))
  }

  #tile(level: number, index: number): Promise<Uint8Array[]> {
    const key = `${level}/${index}`
    let tile = this.#tiles.get(key)
    if (tile === undefined) {
      const width = widthIn(this.size, level, index)
      tile = this.#read({ level, index, width }).then((bytes) => tileHashes(bytes, width))
      this.#tiles.set(key, tile)
    }
    return tile
  }
}
