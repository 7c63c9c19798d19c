import { toBase64 } from '../bytes/base64.ts'
import { fail } from '../errors.ts'
import { base64Field, decimalField, maxNoteLength, type NoteSignature, parseSignatureLine } from './note.ts'

/** Messages between a log and a witness: https://c2sp.org/tlog-witness, `add-checkpoint`. */
export interface AddCheckpoint {
  /** The size that the log believes the witness to have seen last; 0 for none. */
  readonly oldSize: number
  /** Consistency proof from there; at most 63 hashes. */
  readonly consistency: readonly Uint8Array[]
  /** The signed note. */
  readonly checkpoint: string
}

export const maxAddCheckpointLength: number = maxNoteLength + (1 << 13)
const maxHashes = 63

/** Reads the body of a request: shape only. Throws `witness_request_malformed`. */
export function parseAddCheckpoint(text: string): AddCheckpoint {
  if (text.length > maxAddCheckpointLength) throw malformed(`at most ${maxAddCheckpointLength} characters`)
  const end = text.indexOf('\n\n')
  const [old, ...hashes] = end < 0 ? [] : text.slice(0, end).split('\n')
  if (old === undefined || !old.startsWith('old ')) throw malformed('a line with the old size, and an empty line before the checkpoint')
  if (hashes.length > maxHashes) throw malformed(`at most ${maxHashes} hashes`)
  const consistency = hashes.map((line) => base64Field(line, 'hashes', malformed))
  if (consistency.some((hash) => hash.length !== 32)) throw malformed('hashes of 32 bytes')
  return { oldSize: decimalField(old.slice('old '.length), 'the old size', malformed), consistency, checkpoint: text.slice(end + 2) }
}

export function addCheckpointText({ oldSize, consistency, checkpoint }: AddCheckpoint): string {
  return `${[`old ${oldSize}`, ...consistency.map(toBase64)].join('\n')}\n\n${checkpoint}`
}

/** Reads the answer of a witness: 1 to 16 signature lines. They are not verified. Throws `note_malformed`. */
export function parseCosignatures(text: string): readonly NoteSignature[] {
  const lines = text.endsWith('\n') && text.length <= maxNoteLength ? text.slice(0, -1).split('\n') : []
  if (lines.length < 1 || lines.length > 16) throw fail('note_malformed', 'expected 1 to 16 signature lines of a witness')
  return lines.map(parseSignatureLine)
}

function malformed(expected: string): Error {
  return fail('witness_request_malformed', `the request to the witness: expected ${expected}`)
}
