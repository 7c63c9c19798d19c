import * as crypto from '#crypto'
import { toBase64 } from '../bytes/base64.ts'
import { equal } from '../bytes/bytes.ts'
import { fail } from '../errors.ts'
import { type NoteSigner, signNote } from './key.ts'
import { base64Field, decimalField, noteText } from './note.ts'

/** The head of a log: https://c2sp.org/tlog-checkpoint. */
export interface Checkpoint {
  /** Name of the log. */
  readonly origin: string
  /** Leaves in the tree, up to 2^53 - 1. */
  readonly size: number
  /** Root of the RFC 6962 tree, 32 bytes. */
  readonly root: Uint8Array
  /** Opaque lines, without newlines. Nobody audits them; nothing here makes anything of them. */
  readonly extensions: readonly string[]
}

/** Reads the text of a checkpoint: shape only. Throws `checkpoint_malformed`. */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw malformed('lines that end in a newline')
  const [origin, size, root, ...extensions] = text.slice(0, -1).split('\n')
  if (origin === undefined || size === undefined || root === undefined || origin === '' || extensions.includes(''))
    throw malformed('an origin, a size and a root, and no empty line')
  const bytes = base64Field(root, 'the root', malformed)
  if (bytes.length !== 32) throw malformed('a root of 32 bytes')
  return { origin, size: decimalField(size, 'the size', malformed), root: bytes, extensions }
}

/** The text that is signed. Throws `TypeError` for what no text can hold. */
export function checkpointText({ origin, size, root, extensions }: Checkpoint): string {
  const lines = [origin, ...extensions]
  if (lines.some((line) => line === '' || line.includes('\n')) || root.length !== 32 || !Number.isSafeInteger(size) || size < 0)
    throw new TypeError('checkpointText: expected lines that are not empty, a size, and a root of 32 bytes')
  return `${[origin, String(size), toBase64(root), ...extensions].join('\n')}\n`
}

/** A checkpoint signed by its log: a signed note. The origin is the name of the key. It does not check that it is consistent with earlier ones: the log must. */
export async function signCheckpoint(checkpoint: Checkpoint, signer: NoteSigner): Promise<string> {
  if (checkpoint.origin !== signer.verifier.name) throw new TypeError('signCheckpoint: expected a key of the name of the origin')
  const text = checkpointText(checkpoint)
  return noteText({ text, signatures: [await signNote(text, signer)] })
}

/** Root of the tree without leaves: SHA-256 of nothing. */
export async function isEmptyRoot(root: Uint8Array): Promise<boolean> {
  return equal(root, await crypto.sha256(new Uint8Array(0)))
}

function malformed(expected: string): Error {
  return fail('checkpoint_malformed', `the checkpoint: expected ${expected}`)
}
