import { addSignature, checkSignatures } from '../admission/signatures.ts'
import type { Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import { jcs } from '../bytes/jcs.ts'
import type { SigningKey } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import type { Role } from '../policy/policy.ts'
import { parseRelease, type ReleasedEnclave, releaseText, releaseVersion, type SignedRelease } from './statement.ts'

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

/** A statement that enough of the trusted keys have signed, and that is fresh enough. */
export type VerifiedRelease = Verified<SignedByEnough>

interface SignedByEnough extends SignedRelease {
  /** Those of the trusted keys that signed. */
  readonly signers: readonly string[]
}

/** Clocks of those who issue and those who read may differ by this. */
const clockSkewSeconds = 300

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
  const { product, keys, threshold, maxReleaseAge, minimumSequence = 1 } = trust
  const signed = await parseRelease(text)
  const { statement, signatures, document } = signed
  if (statement.product !== product)
    throw fail('release_product', `expected a release of ${JSON.stringify(product)}, found ${JSON.stringify(statement.product)}`)
  const demand = { keys, threshold, invalid: 'release_signature_invalid', missing: 'release_signatures_missing' } as const
  const signers = await checkSignatures(signatures, signedBytes(document), demand)
  if (statement.sequence < minimumSequence)
    throw fail('release_rolled_back', `expected statement ${minimumSequence} or later, found ${statement.sequence}`)
  const age = at.getTime() / 1000 - statement.issued
  if (age < -clockSkewSeconds) throw fail('release_expired', `expected a statement issued by ${at.toISOString()}, found one of the future`)
  if (age > maxReleaseAge) throw fail('release_expired', `expected a statement of at most ${maxReleaseAge} s, found one of ${Math.floor(age)} s`)
  if (statement.withdrawn.includes(statement.release)) throw fail('release_withdrawn', `release ${statement.release} is withdrawn`)
  const found: SignedByEnough = { ...signed, signers }
  return found as VerifiedRelease
}

/** What evidence and descriptor say of the code that runs. */
export interface RunningCode {
  readonly role: Role
  readonly mrenclave: string
  readonly isvSvn: number
  /** Of the descriptor; null where there is none, as for a bare quote. */
  readonly release: string | null
  /** Of the descriptor; null for a role without an engine. */
  readonly cpuVariant: string | null
}

/**
 * Judges running code by a verified statement: its measurement is one of the release, for its role; the descriptor, which the quote binds, names that release
 * and that build of the engine; the security version is not below the floor. Gives the enclave of the statement.
 * Throws `release_measurement_unknown`, `release_withdrawn`, `release_svn`.
 */
export function judgeRelease({ statement }: VerifiedRelease, code: RunningCode): ReleasedEnclave {
  const { role, mrenclave, isvSvn, release, cpuVariant } = code
  if (release !== null && statement.withdrawn.includes(release)) throw fail('release_withdrawn', `release ${release} is withdrawn`)
  const enclave = statement.enclaves.find((one) => one.mrenclave === mrenclave && one.role === role)
  if (enclave === undefined)
    throw fail('release_measurement_unknown', `expected a measurement of a ${role} of release ${statement.release}, found ${mrenclave}`)
  if (release !== null && release !== statement.release)
    throw fail('release_measurement_unknown', `expected release ${statement.release} in the descriptor, found ${release}`)
  if (cpuVariant !== null && cpuVariant !== enclave.cpu_variant)
    throw fail('release_measurement_unknown', `expected the CPU variant ${enclave.cpu_variant ?? 'none'} in the descriptor, found ${cpuVariant}`)
  const floor = statement.svn_floor[role] ?? 0
  if (isvSvn < floor || isvSvn !== enclave.isv_svn)
    throw fail('release_svn', `expected security version ${enclave.isv_svn}, at least ${floor}, found ${isvSvn}`)
  return enclave
}

/** A prefix that no other signed document begins with, then JCS without `signatures`. */
function signedBytes(document: SignedRelease['document']): Uint8Array {
  return utf8(`${releaseVersion}\n${jcs(document)}`)
}
