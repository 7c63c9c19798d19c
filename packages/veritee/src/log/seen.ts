import { toHex } from '../bytes/hex.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { maxNoteLength } from './note.ts'
import type { LogTrust } from './trust.ts'
import { type SeenCheckpoint, verifyCheckpointOfLog } from './verify.ts'

export const seenVersion = 'veritee.log-seen.v1'
const shape = new Shape('malformed_document')

/** The largest checkpoint seen, as a document for keeping. */
export function seenText({ origin, size, root, note }: SeenCheckpoint): string {
  return `${JSON.stringify({ version: seenVersion, origin, size, root: toHex(root), note }, null, 2)}\n`
}

/**
 * Reads what was kept: the note must be signed by the log, so that a damaged file does not look like a fork. Throws `malformed_json`, `malformed_document`, and what
 * `verifyCheckpointOfLog` throws.
 */
export async function parseSeen(text: string, log: Pick<LogTrust, 'origin' | 'key'>): Promise<SeenCheckpoint> {
  const document = parseDocument(text, { maxLength: 2 * maxNoteLength, maxDepth: 2 }, 'malformed_document', 'the checkpoint seen')
  const o = shape.object(document, 'seen', ['version', 'origin', 'size', 'root', 'note'])
  shape.oneOf(o.version, 'version', [seenVersion])
  const note = shape.string(o.note, 'note', maxNoteLength)
  const { origin, size, root } = await verifyCheckpointOfLog(note, log)
  if (size !== o.size || origin !== o.origin || toHex(root) !== o.root) throw shape.refuse('seen', 'what its note says')
  return { origin, size, root, note }
}
