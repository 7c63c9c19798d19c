import { equal, fromUtf8 } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { leafHash } from '../../bytes/merkle.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { verifyInclusionProof } from '../../log/inclusion.ts'
import {
  advance,
  type GetLogFile,
  getConsistency,
  logEntry,
  parseLogStatement,
  TileTree,
  tileHashes,
  tilesFrom,
  tileWidth,
  type VerifiedCheckpoint,
  verifyCheckpoint,
  widthIn,
} from '../../log/index.ts'
import type { AuditRecord } from '../audit/record.ts'
import { isOwn } from '../rules/charge.ts'
import type { EpochLog } from './documents.ts'
import type { EpochFacts } from './duties.ts'
import { EpochFault } from './fault.ts'
import { recordsPath } from './files.ts'

/** The log that an epoch is compared with, as the verifier gets at it. Nothing of it is believed that its signatures and the bundle's do not show. */
export interface EpochLogSource {
  readonly get: GetLogFile
  /** Statements behind the entries of a bundle of 256, a line each, empty for those without; null for who has no credential for them. */
  readonly views: ((bundle: number) => Promise<readonly string[] | null>) | null
  /** Size of the checkpoint that closed the epoch before; null where that is not known. */
  readonly closedAt: number | null
}

/** Places outside the epoch are proven with trees that are let go after so many, so that no list of records fills the memory. */
const maxProven = 256
/** Keysets whose chains are followed; what would be beyond is not judged, and told. */
const maxKeysets = 100_000

/**
 * Compares an epoch with the log itself, of which the bundle has an extract (spec/epoch.md, "Against the log"), in this order: the newest checkpoint of the log has the quorum and is of one history with the two of
 * the bundle; every leaf of the epoch is what stands in the log there, so that the duties, which follow from the leaves, are those that the log obliges to; every place outside the epoch that a record of own
 * traffic names has the leaf that it names, and no two name one. It reads a tile at a time. Gives what was found, in words: how many leaves were left between the epoch before and this one, and, with the views, which
 * places are missing in chains.
 *
 * Throws `epoch_log_invalid`, an `EpochFault` that names a record, `log_fork`, `log_consistency_invalid`, what `verifyCheckpoint` throws, `log_entry_missing` for a log that is behind the bundle, and what reading throws.
 */
export async function compareWithLog(
  { get, views, closedAt }: EpochLogSource,
  notes: Pick<EpochLog, 'opens' | 'closes'>,
  { trust, from, leaves }: NonNullable<EpochFacts['log']>,
  records: ReadonlyMap<string, readonly AuditRecord[]>,
): Promise<string> {
  const bytes = await get('checkpoint')
  if (bytes === null) throw fail('log_entry_missing', 'the log shows no checkpoint')
  const newest = await verifyCheckpoint(fromUtf8(bytes), trust)
  for (const note of [notes.opens, notes.closes]) {
    const { origin, size, root } = await verifyCheckpoint(note, trust)
    if (size > newest.size) throw fail('log_entry_missing', `the log shows ${newest.size} leaves, and the epoch rests on ${size}`)
    const seen = { origin, size, root, note }
    await advance(seen, newest, await getConsistency(newest.size, seen, get))
  }
  await compareLeaves(get, newest, from, leaves)
  const outside = await comparePlaces(get, newest, { origin: trust.origin, from, to: from + leaves.length }, records)
  const told = [
    `${trust.origin}: ${leaves.length} leaves are those of the log, which has ${newest.size}; ${outside} records name places outside them`,
  ]
  if (closedAt !== null)
    told.push(`${Math.max(0, from - closedAt)} leaves lie between the epoch before and this one, of which nobody had to audit any`)
  if (views !== null) told.push(await chains(views, from, leaves))
  return told.join('; ')
}

async function compareLeaves(get: GetLogFile, { size }: VerifiedCheckpoint, from: number, leaves: readonly Uint8Array[]): Promise<void> {
  const read = tilesFrom(get)
  const to = from + leaves.length
  for (let index = Math.floor(from / tileWidth); index * tileWidth < to; index++) {
    const width = widthIn(size, 0, index)
    const hashes = tileHashes(await read({ level: 0, index, width }), width)
    for (let at = Math.max(from, index * tileWidth); at < Math.min(to, (index + 1) * tileWidth); at++)
      if (!equal(hashes[at % tileWidth] as Uint8Array, leaves[at - from] as Uint8Array))
        throw fail('epoch_log_invalid', `leaf ${at} is another one in the log`)
  }
}

/** How many records of own traffic name a place outside the epoch, each of which is there. */
async function comparePlaces(
  get: GetLogFile,
  { size, root }: VerifiedCheckpoint,
  { origin, from, to }: { readonly origin: string; readonly from: number; readonly to: number },
  records: ReadonlyMap<string, readonly AuditRecord[]>,
): Promise<number> {
  let proven = 0
  let tree = new TileTree(size, tilesFrom(get))
  for (const [validator, own] of records) {
    const seen = new Set<number>()
    for (const [line, record] of own.entries()) {
      const at = isOwn(record) ? (record.view?.log ?? null) : null
      if (at === null || at.origin !== origin || (at.index >= from && at.index < to)) continue
      const wrong = (why: string): EpochFault => new EpochFault(recordsPath(validator), { validator, line }, fail('epoch_log_invalid', why))
      if (at.index >= size) throw wrong(`it names leaf ${at.index} of a log that has ${size}`)
      if (seen.has(at.index)) throw wrong(`leaf ${at.index} stands in two records`)
      seen.add(at.index)
      if (!(await verifyInclusionProof(at.index, size, fromHex(at.leaf), root, await tree.inclusion(at.index))))
        throw wrong(`leaf ${at.index} of the log is another than it names`)
      if (++proven % maxProven === 0) tree = new TileTree(size, tilesFrom(get))
    }
  }
  return proven
}

/**
 * Which places are missing in the chains of the keysets whose views are leaves of the epoch. Views of a keyset come in the order of their sequence (spec/log.md, "Order"), so that one which follows another with a
 * place between them tells of an omission. Whether the keyset signed a view, only who has a report of it can tell: the log has checked that, and each view here hashes to its leaf.
 */
async function chains(views: NonNullable<EpochLogSource['views']>, from: number, leaves: readonly Uint8Array[]): Promise<string> {
  const last = new Map<string, number>()
  let missing = 0
  let unseen = 0
  let first: string | null = null
  const to = from + leaves.length
  for (let bundle = Math.floor(from / tileWidth); bundle * tileWidth < to; bundle++) {
    const lines = await views(bundle)
    for (let at = Math.max(from, bundle * tileWidth); at < Math.min(to, (bundle + 1) * tileWidth); at++) {
      const view = await viewAt(lines?.[at % tileWidth], leaves[at - from] as Uint8Array)
      if (view === null) continue
      const before = last.get(view.keyset)
      if (before === undefined && last.size >= maxKeysets) unseen++
      else last.set(view.keyset, Math.max(before ?? -1, view.sequence))
      if (before === undefined || view.sequence <= before + 1) continue
      missing += view.sequence - before - 1
      first ??= `${before + 1} to ${view.sequence - 1} of ${view.keyset}`
    }
  }
  const beyond = unseen === 0 ? '' : `, ${unseen} views of further keysets were not looked at`
  return `chains of ${last.size} keysets: ${first === null ? 'no place is missing' : `${missing} places are missing, first ${first}`}${beyond}`
}

async function viewAt(line: string | undefined, leaf: Uint8Array): Promise<{ readonly keyset: string; readonly sequence: number } | null> {
  if (line === undefined || line === '') return null
  try {
    const { statement } = parseLogStatement(line)
    if (statement.version !== 'veritee.audit-view.v1' || !equal(await leafHash(await logEntry(statement)), leaf)) return null
    return { keyset: statement.workload_keyset_digest, sequence: statement.sequence }
  } catch (error) {
    if (error instanceof VeriteeError) return null
    throw error
  }
}
