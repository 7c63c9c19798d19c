import { equal, fromUtf8 } from '../bytes/bytes.ts'
import { toHex } from '../bytes/hex.ts'
import { fail } from '../errors.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { parseNote } from './note.ts'
import { type GetLogFile, tilesFrom } from './offer.ts'
import { TileTree } from './tile-tree.ts'
import { TreeEdge } from './tree-edge.ts'
import type { LogTrust } from './trust.ts'
import { type VerifiedCheckpoint, verifyCheckpoint } from './verify.ts'

/** All leaves of a log from a place to a checkpoint: what shows that something is not among them. Nothing in it is verified. */
export interface LogRange {
  /** A signed note. */
  readonly checkpoint: string
  /** The leaves before, as the hashes of the full subtrees that they make up, largest first, each of 32 bytes. */
  readonly before: { readonly size: number; readonly roots: readonly Uint8Array[] }
  /** Hashes of the leaves, 32 bytes each. */
  readonly leaves: readonly Uint8Array[]
}

/** What a range was found to be. */
export interface VerifiedRange {
  readonly checkpoint: VerifiedCheckpoint
  /** Root of the tree of the leaves before, 32 bytes. */
  readonly rootBefore: Uint8Array
  /** Of each leaf, by its hash in hex. */
  readonly places: ReadonlyMap<string, number>
}

/** Leaves of the longest range: 8 MiB of hashes. */
export const maxRangeLeaves: number = 1 << 18

/**
 * Reads from a log all leaves under the checkpoint that it shows, those of the first `from` as subtrees. Nothing of it is verified. Throws `log_entry_missing` where the log lacks a file that
 * it must have, or has less than `from` leaves; `log_range_invalid` where more than {@link maxRangeLeaves} are left; `note_malformed`, `checkpoint_malformed`, `tile_malformed`, and what reading throws.
 */
export async function readLogRange(get: GetLogFile, from = 0): Promise<LogRange> {
  const bytes = await get('checkpoint')
  if (bytes === null) throw fail('log_entry_missing', 'the log shows no checkpoint')
  const checkpoint = fromUtf8(bytes)
  const { size } = parseCheckpoint(parseNote(checkpoint).text)
  if (size < from) throw fail('log_entry_missing', `expected ${from} leaves at least, found ${size}`)
  if (size - from > maxRangeLeaves) throw fail('log_range_invalid', `expected at most ${maxRangeLeaves} leaves, found ${size - from}`)
  const tree = new TileTree(size, tilesFrom(get))
  const leaves: Uint8Array[] = []
  for (let index = from; index < size; index++) leaves.push(await tree.leaf(index))
  return { checkpoint, before: { size: from, roots: await tree.subtrees(from) }, leaves }
}

/**
 * Verifies that a range is all leaves of a log from a place to its checkpoint, in this order: the checkpoint, as `verifyCheckpoint` does; behind the subtrees, the
 * leaves have its size and root. Throws what `verifyCheckpoint` throws, and `log_range_invalid`.
 */
export async function verifyLogRange({ checkpoint: note, before, leaves }: LogRange, trust: LogTrust): Promise<VerifiedRange> {
  const checkpoint = await verifyCheckpoint(note, trust)
  if (leaves.length > maxRangeLeaves || before.size + leaves.length !== checkpoint.size)
    throw fail('log_range_invalid', `expected ${checkpoint.size} leaves, found ${leaves.length} behind ${before.size}`)
  const edge = edgeOf(before)
  const rootBefore = await edge.root()
  const places = new Map<string, number>()
  for (const [i, leaf] of leaves.entries()) {
    await edge.add(leaf)
    places.set(toHex(leaf), before.size + i)
  }
  if (!equal(await edge.root(), checkpoint.root)) throw fail('log_range_invalid', 'these are not the leaves of the checkpoint')
  return { checkpoint, rootBefore, places }
}

function edgeOf({ size, roots }: LogRange['before']): TreeEdge {
  try {
    return new TreeEdge(size, roots)
  } catch (cause) {
    throw fail('log_range_invalid', `the subtrees before do not fit a tree of ${size} leaves`, cause)
  }
}
