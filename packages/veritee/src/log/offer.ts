import { fromUtf8 } from '../bytes/bytes.ts'
import { toHex } from '../bytes/hex.ts'
import { leafHash } from '../bytes/merkle.ts'
import { fail } from '../errors.ts'
import type { Receipt } from '../receipt/receipt.ts'
import { auditViewOf } from './audit-view.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { parseNote } from './note.ts'
import type { OfferedInclusion } from './receipt-inclusion.ts'
import { logEntry } from './statement.ts'
import { tileHashes, tilePath } from './tile.ts'
import { type ReadTile, TileTree } from './tile-tree.ts'
import { parseTlogProof } from './tlog-proof.ts'
import type { SeenCheckpoint } from './verify.ts'

/** Gets a file of a log by its path below the log's prefix, bounded; null where the log has none (404). */
export type GetLogFile = (path: string) => Promise<Uint8Array | null>

/**
 * Gets from a log what `verifyInclusion` wants for a receipt: the proof of its entry, and the consistency proof, made of tiles, between its checkpoint and the one seen before.
 * Nothing of it is verified here. Throws `log_entry_missing` where the log has no such entry (yet), `tile_malformed`, and what reading throws.
 */
export async function getInclusion(
  receipt: Receipt,
  receiptKey: Uint8Array | null,
  get: GetLogFile,
  seen: SeenCheckpoint | null,
): Promise<OfferedInclusion> {
  const leaf = await leafHash(await logEntry(await auditViewOf(receipt, receiptKey)))
  const bytes = await get(`proof/${toHex(leaf)}`)
  if (bytes === null) throw fail('log_entry_missing', `the log has no leaf ${toHex(leaf)} under the checkpoint that it shows`)
  const proof = fromUtf8(bytes)
  const { size } = parseCheckpoint(parseNote(parseTlogProof(proof).checkpoint).text)
  return { proof, consistency: await getConsistency(size, seen, get) }
}

/** The consistency proof between a checkpoint of `size` and the one seen before, made of the log's tiles; empty where none is needed. Throws `tile_malformed`, `log_entry_missing`. */
export async function getConsistency(size: number, seen: SeenCheckpoint | null, get: GetLogFile): Promise<Uint8Array[]> {
  if (seen === null || seen.size === size) return []
  return new TileTree(Math.max(seen.size, size), tilesFrom(get)).consistency(Math.min(seen.size, size))
}

/** Tiles of a log that is read file by file, for a `TileTree`. Throws `log_entry_missing` for one that the log does not have, `tile_malformed`. */
export function tilesFrom(get: GetLogFile): ReadTile {
  return async (tile) => {
    // A partial tile may be gone once there is a whole one, which begins with it.
    const exact = await get(tilePath(tile))
    const bytes = exact ?? (await get(tilePath({ ...tile, width: 256 })))
    if (bytes === null) throw fail('log_entry_missing', `the log has no ${tilePath(tile)}, which it must have`)
    return exact === null ? bytes.subarray(0, 32 * tileHashes(bytes, 256).slice(0, tile.width).length) : bytes
  }
}
