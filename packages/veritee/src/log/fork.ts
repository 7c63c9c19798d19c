import { equal } from '../bytes/bytes.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import { maxNoteLength } from './note.ts'
import type { LogTrust } from './trust.ts'
import { verifyCheckpointOfLog } from './verify.ts'

/** Two checkpoints that one log signed, of which at most one can be of an append-only log. */
export interface ForkEvidence {
  readonly origin: string
  readonly size: number
  /** Two signed notes. */
  readonly checkpoints: readonly [string, string]
}

export const forkVersion = 'veritee.log-fork.v1'
const shape = new Shape('log_fork_unproven')

/** The evidence as a document for keeping and passing on. */
export function forkText(checkpoints: readonly [string, string]): string {
  return `${JSON.stringify({ version: forkVersion, checkpoints }, null, 2)}\n`
}

/**
 * Verifies that a document convicts a log (spec/log.md): both checkpoints are signed by the log's key, for one size, with different roots. Two sizes that cannot be
 * reconciled are no evidence by themselves: a proof that does not hold shows nothing, and whoever has one asks the log for both at one size.
 *
 * Throws `log_fork_unproven`, and what `verifyCheckpointOfLog` throws.
 */
export async function verifyFork(text: string, log: Pick<LogTrust, 'origin' | 'key'>): Promise<ForkEvidence> {
  const document = parseDocument(text, { maxLength: 4 * maxNoteLength, maxDepth: 3 }, 'log_fork_unproven', 'the evidence of a fork')
  const o = shape.object(document, 'evidence', ['version', 'checkpoints'])
  shape.oneOf(o.version, 'version', [forkVersion])
  const notes = shape.array(o.checkpoints, 'checkpoints', 2).map((note, i) => shape.string(note, `checkpoints[${i}]`, maxNoteLength))
  const [first, second] = notes
  if (first === undefined || second === undefined) throw shape.refuse('checkpoints', 'two checkpoints')
  const a = await verifyCheckpointOfLog(first, log)
  const b = await verifyCheckpointOfLog(second, log)
  if (a.size !== b.size || equal(a.root, b.root)) throw fail('log_fork_unproven', 'expected two roots for one size, signed by one log')
  return { origin: log.origin, size: a.size, checkpoints: [first, second] }
}
