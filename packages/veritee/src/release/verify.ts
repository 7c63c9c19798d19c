import { addSignature, checkSignatures } from '../admission/signatures.ts'
import type { Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import { jcs } from '../bytes/jcs.ts'
import type { SigningKey } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import { releaseSkewSeconds } from '../policy/released.ts'
import { parseRelease, releaseText, releaseVersion, type SignedRelease } from './statement.ts'

/** Whose statements of which product are believed, and for how long. */
export interface ReleaseTrust {
  readonly product: string
  /** Ed25519, 32 bytes lower-case hex each. */
  readonly keys: readonly string[]
  readonly threshold: number
  /** Seconds since `issued`. A maker issues anew at least every 7 days, so that a withdrawal cannot be held back for longer than this. */
  readonly maxReleaseAge: number
  /** The lowest `sequence` accepted: the highest that was seen, where somebody remembers. */
  readonly minimumSequence?: number
}

/** A statement that enough of the trusted keys have signed; of {@link verifyRelease} it is fresh too. */
export type VerifiedRelease = Verified<SignedByEnough>

interface SignedByEnough extends SignedRelease {
  /** Those of the trusted keys that signed. */
  readonly signers: readonly string[]
}

/** Adds a signature to a statement; gives its text. Signers sign one after the other, in any order. Throws what reading throws. */
export async function signRelease(text: string, key: SigningKey): Promise<string> {
  const { document, signatures } = await parseRelease(text)
  return releaseText(document, await addSignature(signatures, key, signedBytes(document)))
}

/**
 * Verifies a release statement, in this order: shape; the product; signatures of `threshold` of the trusted keys; its sequence is not below the floor; its
 * age at `at`; its own release is not withdrawn.
 *
 * It cannot tell whether there is a newer one: `maxReleaseAge` bounds how long a withdrawal can be held back.
 * Throws `release_statement_malformed`, `release_product`, `release_signature_invalid`, `release_signatures_missing`, `release_rolled_back`,
 * `release_expired`, `release_withdrawn`; `TypeError` for a trust in nobody.
 */
export async function verifyRelease(text: string, trust: ReleaseTrust, at: Date): Promise<VerifiedRelease> {
  const { maxReleaseAge, minimumSequence = 1 } = trust
  const found = await verifySigners(text, trust)
  const { statement } = found
  if (statement.sequence < minimumSequence)
    throw fail('release_rolled_back', `expected statement ${minimumSequence} or later, found ${statement.sequence}`)
  const age = at.getTime() / 1000 - statement.issued
  if (age < -releaseSkewSeconds) throw fail('release_expired', `expected a statement issued by ${at.toISOString()}, found one of the future`)
  if (age > maxReleaseAge) throw fail('release_expired', `expected a statement of at most ${maxReleaseAge} s, found one of ${Math.floor(age)} s`)
  if (statement.withdrawn.includes(statement.release)) throw fail('release_withdrawn', `release ${statement.release} is withdrawn`)
  return found
}

/** The first three steps of {@link verifyRelease}: what holds at any time. Throws what they throw. */
export async function verifySigners(text: string, { product, keys, threshold }: Omit<ReleaseTrust, 'maxReleaseAge'>): Promise<VerifiedRelease> {
  const signed = await parseRelease(text)
  const { statement, signatures, document } = signed
  if (statement.product !== product)
    throw fail('release_product', `expected a release of ${JSON.stringify(product)}, found ${JSON.stringify(statement.product)}`)
  const demand = { keys, threshold, invalid: 'release_signature_invalid', missing: 'release_signatures_missing' } as const
  const signers = await checkSignatures(signatures, signedBytes(document), demand)
  const found: SignedByEnough = { ...signed, signers }
  return found as VerifiedRelease
}

/** A prefix that no other signed document begins with, then JCS without `signatures`. */
function signedBytes(document: SignedRelease['document']): Uint8Array {
  return utf8(`${releaseVersion}\n${jcs(document)}`)
}
