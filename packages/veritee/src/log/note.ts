import { fromBase64, toBase64 } from '../bytes/base64.ts'
import { concat, utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { fail } from '../errors.ts'

/** Signed notes: https://c2sp.org/signed-note. A text, and lines with signatures of keys that are known by name and id. */

export interface NoteSignature {
  /** Name of the key: no white space, no `+`. */
  readonly name: string
  /** 4 bytes, lower-case hex. */
  readonly keyId: string
  /** What follows the key id: 64 bytes for Ed25519, 72 for a cosignature. 1 byte at least. */
  readonly signature: Uint8Array
}

export interface Note {
  /** What is signed: ends in a newline. */
  readonly text: string
  /** In the order of the note, those of unknown keys included. At least one. */
  readonly signatures: readonly NoteSignature[]
}

/** The format demands at least 16 signatures; signatures of post-quantum schemes have nearly 5 kB. */
const maxSignatures = 64
export const maxNoteLength: number = 1 << 18

/** True where a name may stand in a note. */
export function isKeyName(name: string): boolean {
  return name.length > 0 && name.length <= 512 && !/[\p{White_Space}\p{Surrogate}\u0000-\u001f+]/u.test(name)
}

/**
 * Reads a signed note of at most 262,144 characters with 1 to 64 signatures: shape only. No signature is verified (see `verifyNote`), and the text
 * means nothing before one is. The last empty line parts text and signatures. Throws `note_malformed`.
 */
export function parseNote(note: string): Note {
  if (note.length > maxNoteLength) throw malformed(`at most ${maxNoteLength} characters`)
  if (/[\u0000-\u0009\u000b-\u001f]|\p{Surrogate}/u.test(note)) throw malformed('UTF-8 text without control characters')
  const at = note.lastIndexOf('\n\n')
  if (at < 0 || !note.endsWith('\n')) throw malformed('a text, an empty line, and signatures that end in a newline')
  const lines = note.slice(at + 2, -1).split('\n')
  if (at + 2 >= note.length || lines.length > maxSignatures) throw malformed(`1 to ${maxSignatures} signatures`)
  return { text: note.slice(0, at + 1), signatures: lines.map(parseSignatureLine) }
}

/** Reads one signature line without its newline. Throws `note_malformed`. */
export function parseSignatureLine(line: string): NoteSignature {
  const [dash, name, encoded, ...rest] = line.split(' ')
  if (dash !== '\u2014' || name === undefined || encoded === undefined || rest.length > 0 || !isKeyName(name))
    throw malformed('signature lines of an em dash, a key name and base64')
  const bytes = base64Field(encoded, 'a signature', malformed)
  if (bytes.length < 5) throw malformed('signatures of a key id and at least one byte')
  return { name, keyId: toHex(bytes.subarray(0, 4)), signature: bytes.slice(4) }
}

/** A signature line with its newline. */
export function signatureLine({ name, keyId, signature }: NoteSignature): string {
  if (!isKeyName(name)) throw new TypeError('signatureLine: expected the name of a key')
  return `\u2014 ${name} ${toBase64(concat(fromHex(keyId, 4), signature))}\n`
}

/** The note of a text and its signatures. The text must end in a newline. */
export function noteText({ text, signatures }: Note): string {
  if (!text.endsWith('\n')) throw new TypeError('noteText: expected a text that ends in a newline')
  return `${text}\n${signatures.map(signatureLine).join('')}`
}

/** The bytes that an Ed25519 note signature (type 0x01) is over. */
export function signedText(text: string): Uint8Array {
  return utf8(text)
}

/** Canonical base64, refused with the caller's code. */
export function base64Field(text: string, what: string, refuse: (expected: string) => Error): Uint8Array {
  try {
    return fromBase64(text)
  } catch {
    throw refuse(`${what} in canonical base64`)
  }
}

/** An ASCII decimal without leading zeros up to 2^53 - 1. */
export function decimalField(text: string, what: string, refuse: (expected: string) => Error): number {
  const value = /^(?:0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw refuse(`${what} as a decimal without leading zeros, at most 2^53 - 1`)
  return value
}

function malformed(expected: string): Error {
  return fail('note_malformed', `the signed note: expected ${expected}`)
}
