import * as crypto from '#crypto'
import { concat, utf8 } from '../bytes/bytes.ts'
import { fail } from '../errors.ts'
import type { NoteSigner, VerifierKey } from './key.ts'
import type { NoteSignature } from './note.ts'

/**
 * Cosignatures of checkpoints, `cosignature/v1` with Ed25519: https://c2sp.org/tlog-cosignature. A witness says: at this time, this is the largest head
 * of this log that I have seen, and it is consistent with all that I saw before.
 */

/** 8 bytes of time, 64 of signature. */
const cosignatureBytes = 72

/** Signs the text of a checkpoint at a time in Unix seconds. Whoever calls it has verified what the signature says. */
export async function cosign(text: string, { verifier, key }: NoteSigner, unixSeconds: number): Promise<NoteSignature> {
  if (verifier.type !== 'cosignature') throw new TypeError('cosign: expected a key of type cosignature')
  if (!Number.isSafeInteger(unixSeconds) || unixSeconds < 1) throw new TypeError('cosign: expected a time in Unix seconds')
  const time = new Uint8Array(8)
  new DataView(time.buffer).setBigUint64(0, BigInt(unixSeconds))
  const signature = await key.sign(message(text, unixSeconds))
  return { name: verifier.name, keyId: verifier.keyId, signature: concat(time, signature) }
}

/**
 * Verifies one cosignature of a key of type `cosignature` and gives its time in Unix seconds, from 1 to 2^53 - 1.
 * The signature does not name the witness: its key does. Throws `note_signature_invalid`.
 */
export async function verifyCosignature(text: string, key: VerifierKey, { signature }: NoteSignature): Promise<number> {
  if (key.type !== 'cosignature') throw new TypeError('verifyCosignature: expected a key of type cosignature')
  if (signature.length !== cosignatureBytes)
    throw fail('note_signature_invalid', `expected a cosignature of ${cosignatureBytes} bytes of ${key.name}, found ${signature.length}`)
  const unixSeconds = Number(new DataView(signature.buffer, signature.byteOffset).getBigUint64(0))
  // A time of zero says nothing, and times beyond 2^53 - 1 are no times.
  const said = Number.isSafeInteger(unixSeconds) && unixSeconds > 0
  if (!said || !(await crypto.verifyEd25519(key.publicKey, signature.subarray(8), message(text, unixSeconds))))
    throw fail('note_signature_invalid', `the cosignature of ${key.name} does not hold over this checkpoint`)
  return unixSeconds
}

function message(text: string, unixSeconds: number): Uint8Array {
  return utf8(`cosignature/v1\ntime ${unixSeconds}\n${text}`)
}
