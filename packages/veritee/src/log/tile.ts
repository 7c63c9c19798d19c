import { concatAll } from '../bytes/bytes.ts'
import { fail } from '../errors.ts'

/** The files of a tiled log: https://c2sp.org/tlog-tiles. */

export const tileWidth = 256
/** Levels of 256 that a size up to 2^53 - 1 has. */
const maxLevel = 63
export const maxEntryBytes = 0xffff

export interface Tile {
  /** Level from 0 to 63, or the entries themselves. */
  readonly level: number | 'entries'
  readonly index: number
  /** Hashes or entries in it, 1 to 256; fewer than 256 make it partial. */
  readonly width: number
}

/** `tile/<L>/<N>[.p/<W>]`, relative to the prefix of the log: index 1234067 is `x001/x234/067`. */
export function tilePath({ level, index, width }: Tile): string {
  if (level !== 'entries' && (!Number.isInteger(level) || level < 0 || level > maxLevel)) throw new TypeError('tilePath: level is out of range')
  if (!Number.isSafeInteger(index) || index < 0 || !Number.isInteger(width) || width < 1 || width > tileWidth)
    throw new TypeError('tilePath: index or width is out of range')
  let rest = Math.floor(index / 1000)
  let path = String(index % 1000).padStart(3, '0')
  while (rest > 0) {
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`
    rest = Math.floor(rest / 1000)
  }
  return `tile/${level}/${path}${width === tileWidth ? '' : `.p/${width}`}`
}

const tilePattern = /^tile\/(entries|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/

/** The tile of a path, and null for every other text: a server looks at no other. Exactly one path leads to each tile. */
export function parseTilePath(path: string): Tile | null {
  const found = tilePattern.exec(path)
  if (found === null) return null
  const [, level, digits = '', width] = found
  const index = Number(digits.replaceAll(/[x/]/g, ''))
  const tile: Tile = { level: level === 'entries' ? level : Number(level), index, width: width === undefined ? tileWidth : Number(width) }
  const possible = Number.isSafeInteger(index) && (tile.level === 'entries' || tile.level <= maxLevel)
  return possible && tile.width <= tileWidth && tilePath(tile) === path ? tile : null
}

/** How wide the tile of a level at an index is in a tree of `size` leaves: 256, less for the last one, 0 where there is none. */
export function widthIn(size: number, level: number, index: number): number {
  const hashes = Math.floor(size / tileWidth ** level)
  return Math.max(0, Math.min(tileWidth, hashes - index * tileWidth))
}

/** The hashes of a tile of this width: exactly 32 bytes each. Throws `tile_malformed`. */
export function tileHashes(bytes: Uint8Array, width: number): Uint8Array[] {
  if (bytes.length !== 32 * width) throw fail('tile_malformed', `expected a tile of ${32 * width} bytes, found ${bytes.length}`)
  return Array.from({ length: width }, (_, i) => bytes.subarray(32 * i, 32 * i + 32))
}

/** An entry bundle: each entry behind its length in 2 bytes, big-endian. */
export function entryBundle(entries: readonly Uint8Array[]): Uint8Array {
  if (entries.length > tileWidth || entries.some((entry) => entry.length > maxEntryBytes))
    throw new TypeError('entryBundle: expected at most 256 entries of at most 65,535 bytes')
  return concatAll(entries.flatMap((entry) => [Uint8Array.of(entry.length >> 8, entry.length & 0xff), entry]))
}

/** The entries of a bundle, exactly `width` of them. They are not compared with the tree: each hashes to its place in the tile of level 0. Throws `tile_malformed`. */
export function parseEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  const entries: Uint8Array[] = []
  let at = 0
  while (at < bytes.length) {
    const length = ((bytes[at] as number) << 8) | (bytes[at + 1] ?? 0)
    if (at + 2 + length > bytes.length || entries.length === width) throw fail('tile_malformed', `expected ${width} whole entries`)
    entries.push(bytes.subarray(at + 2, at + 2 + length))
    at += 2 + length
  }
  if (entries.length !== width) throw fail('tile_malformed', `expected ${width} entries, found ${entries.length}`)
  return entries
}
