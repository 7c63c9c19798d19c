import * as crypto from '#crypto'
import { toBase64 } from '../bytes/base64.ts'
import { concat, equal, utf8 } from '../bytes/bytes.ts'
import { toHex } from '../bytes/hex.ts'
import type { SigningKey } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import { base64Field, isKeyName, type Note, type NoteSignature, signedText } from './note.ts'

/** Keys of signed notes. `ed25519` (type 0x01) signs the text; `cosignature` (type 0x04) signs a time and the text: https://c2sp.org/tlog-cosignature. */
export type KeyType = 'ed25519' | 'cosignature'

const typeBytes: Readonly<Record<KeyType, number>> = { ed25519: 1, cosignature: 4 }

export interface VerifierKey {
  readonly name: string
  /** 4 bytes, lower-case hex. */
  readonly keyId: string
  readonly type: KeyType
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array
}

/** A key that signs under a name. */
export interface NoteSigner {
  readonly verifier: VerifierKey
  readonly key: SigningKey
}

/** The verifier key of a name and an Ed25519 key: the id is SHA-256(name, newline, type, key), its first 4 bytes. */
export async function verifierKey(name: string, type: KeyType, publicKey: Uint8Array): Promise<VerifierKey> {
  if (!isKeyName(name) || publicKey.length !== 32) throw new TypeError('verifierKey: expected a name without white space or +, and 32 bytes')
  const digest = await crypto.sha256(concat(utf8(`${name}\n`), Uint8Array.of(typeBytes[type]), publicKey))
  return { name, keyId: toHex(digest.subarray(0, 4)), type, publicKey }
}

export async function noteSigner(name: string, type: KeyType, key: SigningKey): Promise<NoteSigner> {
  return { verifier: await verifierKey(name, type, key.publicKey), key }
}

/** `<name>+<key id>+<base64 of type and key>`. */
export function verifierKeyText({ name, keyId, type, publicKey }: VerifierKey): string {
  return `${name}+${keyId}+${toBase64(concat(Uint8Array.of(typeBytes[type]), publicKey))}`
}

/**
 * Reads a verifier key (*vkey*) of one of the two types; the id must be that of the name and key. A name is all that a line of a policy has to tell
 * it apart by, so nothing is repaired. Throws `log_key_malformed`.
 */
export async function parseVerifierKey(text: string): Promise<VerifierKey> {
  const [name, keyId, encoded, ...rest] = text.length > 1024 ? [] : text.split('+')
  // Base64 has pluses of its own.
  const bytes =
    name === undefined || keyId === undefined || encoded === undefined ? null : base64Field([encoded, ...rest].join('+'), 'the key', malformed)
  if (bytes === null || name === undefined || !isKeyName(name)) throw malformed('<name>+<key id>+<key>')
  const type = (['ed25519', 'cosignature'] as const).find((one) => typeBytes[one] === bytes[0])
  if (type === undefined || bytes.length !== 33) throw malformed('an Ed25519 key of type 0x01 or 0x04')
  const key = await verifierKey(name, type, bytes.slice(1))
  if (key.keyId !== keyId) throw malformed(`the key id ${key.keyId}`)
  return key
}

/** True where a signature says that it is of this key: name and id are equal. */
export function isOf(key: VerifierKey, signature: NoteSignature): boolean {
  return key.name === signature.name && key.keyId === signature.keyId
}

/** True for two keys with the same key material, whatever their names and types. */
export function sameKey(a: VerifierKey, b: VerifierKey): boolean {
  return equal(a.publicKey, b.publicKey)
}

/** Signs a text with a key of type `ed25519`. */
export async function signNote(text: string, { verifier, key }: NoteSigner): Promise<NoteSignature> {
  if (verifier.type !== 'ed25519') throw new TypeError('signNote: expected a key of type ed25519; a cosignature has a time')
  return { name: verifier.name, keyId: verifier.keyId, signature: await key.sign(signedText(text)) }
}

/**
 * Verifies a note under keys of type `ed25519`: signatures of other keys are ignored, every one of these keys must hold, and one is needed at least.
 * Gives the keys that signed. Throws `note_signature_invalid`, `note_signature_missing`.
 */
export async function verifyNote({ text, signatures }: Note, keys: readonly VerifierKey[]): Promise<readonly VerifierKey[]> {
  if (keys.length === 0 || keys.some(({ type }) => type !== 'ed25519')) throw new TypeError('verifyNote: expected keys of type ed25519')
  const signers = new Set<VerifierKey>()
  for (const signature of signatures) {
    const key = keys.find((one) => isOf(one, signature))
    if (key === undefined) continue
    if (!(await crypto.verifyEd25519(key.publicKey, signature.signature, signedText(text))))
      throw fail('note_signature_invalid', `the signature of ${key.name} does not hold over this text`)
    signers.add(key)
  }
  if (signers.size === 0)
    throw fail('note_signature_missing', `expected a signature of ${keys.map(({ name, keyId }) => `${name} (${keyId})`).join(' or ')}`)
  return [...signers]
}

function malformed(expected: string): Error {
  return fail('log_key_malformed', `the verifier key: expected ${expected}`)
}
