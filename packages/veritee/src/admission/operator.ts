import * as crypto from '#crypto'
import { utf8 } from '../bytes/bytes.ts'
import { fromHex, isHex, toHex } from '../bytes/hex.ts'
import type { SigningKey } from '../crypto/types.ts'
import { fail } from '../errors.ts'

/** What an operator signs over one of his enclaves (rule S17). Throws `TypeError` for anything but a digest. */
export function operatorStatement(keysetDigest: string): Uint8Array {
  if (!/^sha256:[0-9a-f]{64}$/.test(keysetDigest)) throw new TypeError('operatorStatement: expected a keyset digest')
  return utf8(`veritee.operator.v1\n${keysetDigest}`)
}

/** The operator's signature over a keyset digest, 64 bytes hex. */
export async function signOperatorStatement(keysetDigest: string, key: SigningKey): Promise<string> {
  return toHex(await key.sign(operatorStatement(keysetDigest)))
}

/**
 * Verifies that an enclave and its operator name each other: the descriptor, which the quote binds, names the key, and the key signed the keyset digest.
 * Neither side can be claimed alone. Whether that operator is wanted is for the policy (`operator`).
 *
 * Gives the operator, null where the descriptor names none. A signature without an operator in the descriptor is refused: it was meant for somebody.
 * Throws `operator_signature_missing`, `operator_signature_invalid`.
 */
export async function verifyOperator(operatorKey: string | null, keysetDigest: string, signature: string | null): Promise<string | null> {
  if (operatorKey === null) {
    if (signature === null) return null
    throw fail('operator_signature_invalid', 'an operator signed this keyset, and its descriptor names none')
  }
  if (signature === null) throw fail('operator_signature_missing', `expected a signature of ${operatorKey} over ${keysetDigest}`)
  const holds = isHex(signature, 64) && (await crypto.verifyEd25519(fromHex(operatorKey), fromHex(signature), operatorStatement(keysetDigest)))
  if (!holds) throw fail('operator_signature_invalid', `expected a signature of ${operatorKey} over ${keysetDigest}`)
  return operatorKey
}
