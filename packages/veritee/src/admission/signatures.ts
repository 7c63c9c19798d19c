import * as crypto from '#crypto'
import { fromHex, toHex } from '../bytes/hex.ts'
import type { Shape } from '../bytes/shape.ts'
import type { SigningKey } from '../crypto/types.ts'
import { type ErrorCode, fail } from '../errors.ts'

/** One of the signatures on a document that several people sign: Ed25519, lower-case hex. */
export type DocumentSignature = { readonly key: string; readonly signature: string }

/** Reads the member `signatures`: at most 64, by rising key, so that no key counts twice and one document has one form. `by` says with which code it refuses. */
export function parseSignatures(value: unknown, by: Shape): readonly DocumentSignature[] {
  const found = by.array(value, 'signatures', 64).map((item, i) => {
    const o = by.object(item, `signatures[${i}]`, ['key', 'signature'])
    return { key: by.hex(o.key, `signatures[${i}].key`, 32), signature: by.hex(o.signature, `signatures[${i}].signature`, 64) }
  })
  if (found.some(({ key }, i) => i > 0 && key <= (found[i - 1]?.key ?? ''))) throw by.refuse('signatures', 'keys in rising order, each once')
  return found
}

/** Adds a signature over `message`, or puts a new one in the place of that key's old one; by rising key. */
export async function addSignature(
  signatures: readonly DocumentSignature[],
  key: SigningKey,
  message: Uint8Array,
): Promise<readonly DocumentSignature[]> {
  const own = toHex(key.publicKey)
  const others = signatures.filter((one) => one.key !== own)
  return [...others, { key: own, signature: toHex(await key.sign(message)) }].sort((a, b) => (a.key < b.key ? -1 : 1))
}

/** Whose signatures count, how many are needed, and the codes for one that does not hold and for too few. */
export interface SignerDemand {
  readonly keys: readonly string[]
  readonly threshold: number
  readonly invalid: ErrorCode
  readonly missing: ErrorCode
}

/**
 * Demands signatures of `threshold` of the keys over `message`, each key counted once. Those of other keys count for nothing, since keys are exchanged while
 * old and new ones sign; a wrong one of a trusted key ends it. Gives the keys that signed.
 * Throws the two codes of the demand, and `TypeError` for a threshold that the keys cannot reach.
 */
export async function checkSignatures(
  signatures: readonly DocumentSignature[],
  message: Uint8Array,
  { keys: trusted, threshold, invalid, missing }: SignerDemand,
): Promise<readonly string[]> {
  const keys = new Set(trusted)
  if (!Number.isInteger(threshold) || threshold < 1 || threshold > keys.size)
    throw new TypeError('checkSignatures: expected a threshold that the keys can reach')
  const signers: string[] = []
  for (const { key, signature } of signatures) {
    if (!keys.has(key)) continue
    if (!(await crypto.verifyEd25519(fromHex(key), fromHex(signature), message)))
      throw fail(invalid, `the signature of ${key} does not hold over this document`)
    signers.push(key)
  }
  if (signers.length < threshold) throw fail(missing, `expected signatures of ${threshold} of ${keys.size} trusted keys, found ${signers.length}`)
  return signers
}
