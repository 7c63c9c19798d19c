import * as crypto from '#crypto'
import type { AdmissionTrust } from '../../admission/trust.ts'
import type { Verified } from '../../attestation/claims.ts'
import { utf8 } from '../../bytes/bytes.ts'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { jcs } from '../../bytes/jcs.ts'
import type { SigningKey } from '../../crypto/types.ts'
import { fail } from '../../errors.ts'
import { parseScoringPolicy } from './parse.ts'
import { type SignedScoringPolicy, scoringPolicyVersion } from './policy.ts'

export type VerifiedScoringPolicy = Verified<SignedScoringPolicy>

/** Adds a signature to a policy, or replaces that key's old one; gives its text (JCS). Throws `scoring_policy_malformed`. */
export async function signScoringPolicy(text: string, key: SigningKey): Promise<string> {
  const { document, signatures } = await parseScoringPolicy(text)
  const own = { key: toHex(key.publicKey), signature: toHex(await key.sign(signedBytes(document))) }
  const all = [...signatures.filter((one) => one.key !== own.key), own].sort((a, b) => (a.key < b.key ? -1 : 1))
  return jcs({ ...document, signatures: all })
}

/**
 * Verifies a scoring policy: shape; the network; signatures of `threshold` of the trusted keys (a wrong one of a trusted key ends it, those of other keys count
 * for nothing); version not below the floor; in force at `at`, which for an epoch is its first second. Whether there is a newer one it cannot tell.
 *
 * Throws `scoring_policy_malformed`, `scoring_policy_signature_invalid`, `scoring_policy_rejected`; `TypeError` for a threshold that no signatures reach.
 */
export async function verifyScoringPolicy(text: string, trust: AdmissionTrust, at: Date): Promise<VerifiedScoringPolicy> {
  const keys = new Set(trust.keys)
  if (!Number.isInteger(trust.threshold) || trust.threshold < 1 || trust.threshold > keys.size)
    throw new TypeError('verifyScoringPolicy: expected a threshold that the keys can reach')
  const signed = await parseScoringPolicy(text)
  const { policy, document } = signed
  if (policy.network !== trust.network) throw reject(`a policy of ${JSON.stringify(trust.network)}, found one of ${JSON.stringify(policy.network)}`)
  const message = signedBytes(document)
  let signers = 0
  for (const { key, signature } of signed.signatures) {
    if (!keys.has(key)) continue
    if (!(await crypto.verifyEd25519(fromHex(key), fromHex(signature), message)))
      throw fail('scoring_policy_signature_invalid', `the signature of ${key} does not hold over this scoring policy`)
    signers++
  }
  if (signers < trust.threshold) throw reject(`signatures of ${trust.threshold} of ${keys.size} trusted keys, found ${signers}`)
  if (policy.policyVersion < trust.minimumVersion) throw reject(`version ${trust.minimumVersion} or later, found ${policy.policyVersion}`)
  const seconds = at.getTime() / 1000
  // The other way round, a time that is none would be in force.
  if (!(seconds >= policy.issued && seconds < policy.expires))
    throw reject(`a policy in force at ${seconds}, found one from ${policy.issued} until before ${policy.expires}`)
  return signed as VerifiedScoringPolicy
}

function reject(expected: string): Error {
  return fail('scoring_policy_rejected', `the scoring policy: expected ${expected}`)
}

function signedBytes(document: SignedScoringPolicy['document']): Uint8Array {
  return utf8(`${scoringPolicyVersion}\n${jcs(document)}`)
}
