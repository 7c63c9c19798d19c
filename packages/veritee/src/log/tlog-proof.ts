import type { Verified } from '../attestation/claims.ts'
import { toBase64 } from '../bytes/base64.ts'
import { leafHash } from '../bytes/merkle.ts'
import { fail } from '../errors.ts'
import { verifyInclusionProof } from './inclusion.ts'
import { base64Field, decimalField, maxNoteLength } from './note.ts'
import type { LogTrust } from './trust.ts'
import { type VerifiedCheckpoint, verifyCheckpoint } from './verify.ts'

/** That an entry is in a log, in one file that is checked offline: https://c2sp.org/tlog-proof. */
export interface TlogProof {
  /** Opaque bytes that nothing authenticates; null where there are none. */
  readonly extra: Uint8Array | null
  /** Place of the entry, from 0. */
  readonly index: number
  /** Audit path, from the leaf's sibling up. At most 63 hashes. */
  readonly path: readonly Uint8Array[]
  /** The checkpoint, a signed note, verbatim. */
  readonly checkpoint: string
}

const header = 'c2sp.org/tlog-proof@v1'
const maxPath = 63
const maxProofLength = maxNoteLength + (1 << 16)

/** Reads a proof of at most 327,680 characters: shape only, and not that of the checkpoint. Throws `tlog_proof_malformed`. */
export function parseTlogProof(text: string): TlogProof {
  if (text.length > maxProofLength) throw malformed(`at most ${maxProofLength} characters`)
  const end = text.indexOf('\n\n')
  const lines = end < 0 ? [] : text.slice(0, end).split('\n')
  if (lines.shift() !== header) throw malformed(`the line ${header}, and an empty line before the checkpoint`)
  const extra = lines[0]?.startsWith('extra ') ? base64Field(lines.shift()?.slice('extra '.length) as string, 'extra data', malformed) : null
  const index = lines.shift()
  if (index === undefined || !index.startsWith('index ')) throw malformed('a line with the index')
  if (lines.length > maxPath) throw malformed(`at most ${maxPath} hashes`)
  const path = lines.map((line) => base64Field(line, 'hashes', malformed))
  if (path.some((hash) => hash.length !== 32)) throw malformed('hashes of 32 bytes')
  return { extra, index: decimalField(index.slice('index '.length), 'the index', malformed), path, checkpoint: text.slice(end + 2) }
}

/** The text of a proof, as it is kept in a file `.tlog-proof`. */
export function tlogProofText({ extra, index, path, checkpoint }: TlogProof): string {
  const lines = [header, ...(extra === null ? [] : [`extra ${toBase64(extra)}`]), `index ${index}`, ...path.map(toBase64)]
  return `${lines.join('\n')}\n\n${checkpoint}`
}

/** An entry that stands in a log which a quorum of witnesses saw. */
export interface LoggedEntry {
  readonly index: number
  readonly checkpoint: VerifiedCheckpoint
}

/**
 * Verifies that `entry` (its bytes; the leaf is their RFC 6962 hash) is in the log, in this order: shape; the checkpoint under `trust`; the audit path.
 * Extra data counts for nothing. It does not say when the entry was logged: by `checkpoint.existedBy` at the latest.
 *
 * Throws `tlog_proof_malformed`, what `verifyCheckpoint` throws, `log_inclusion_invalid`.
 */
export async function verifyTlogProof(text: string, entry: Uint8Array, trust: LogTrust): Promise<Verified<LoggedEntry>> {
  const { index, path, checkpoint: note } = parseTlogProof(text)
  const checkpoint = await verifyCheckpoint(note, trust)
  if (!(await verifyInclusionProof(index, checkpoint.size, await leafHash(entry), checkpoint.root, path)))
    throw fail('log_inclusion_invalid', `expected a proof that the entry is number ${index} of ${checkpoint.size}`)
  const found: LoggedEntry = { index, checkpoint }
  return found as Verified<LoggedEntry>
}

function malformed(expected: string): Error {
  return fail('tlog_proof_malformed', `the proof: expected ${expected}`)
}
