import type { Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import { jcs } from '../bytes/jcs.ts'
import type { SigningKey } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import { manifestText, manifestVersion, parseAdmissionManifest, type SignedAdmissionManifest } from './manifest.ts'
import { addSignature, checkSignatures } from './signatures.ts'
import type { AdmissionTrust } from './trust.ts'

/** A manifest that enough of the trusted keys have signed. */
export type VerifiedManifest = Verified<SignedByEnough>

interface SignedByEnough extends SignedAdmissionManifest {
  /** Those of the trusted keys that signed. */
  readonly signers: readonly string[]
}

/** Clocks of those who issue and those who read may differ by this. */
const clockSkewSeconds = 300

/** Adds a signature to a manifest, or puts a new one in the place of that key's old one; gives its text. Signers sign one after the other, in any order. Throws what reading throws. */
export async function signAdmissionManifest(text: string, key: SigningKey): Promise<string> {
  const { document, signatures } = await parseAdmissionManifest(text)
  return manifestText(document, await addSignature(signatures, key, signedBytes(document)))
}

/**
 * Verifies an admission manifest, in this order: shape; the network; signatures of `threshold` of the trusted keys, each counted once (those of other keys
 * count for nothing, a wrong one of a trusted key ends it); its version is not below the floor; it is in force at `at`.
 *
 * It cannot tell whether there is a newer one (rule S11): keep the last and see {@link checkSuccession}.
 * Throws `admission_manifest_malformed`, `policy_invalid`, `admission_manifest_network`, `admission_manifest_signature_invalid`,
 * `admission_manifest_signatures_missing`, `admission_manifest_rolled_back`, `admission_manifest_expired`; `TypeError` for a trust in nobody.
 */
export async function verifyAdmissionManifest(text: string, trust: AdmissionTrust, at: Date): Promise<VerifiedManifest> {
  const signed = await parseAdmissionManifest(text)
  const { manifest, signatures, document } = signed
  if (manifest.network !== trust.network)
    throw fail('admission_manifest_network', `expected a manifest of ${JSON.stringify(trust.network)}, found ${JSON.stringify(manifest.network)}`)
  const { keys, threshold } = trust
  const demand = { keys, threshold, invalid: 'admission_manifest_signature_invalid', missing: 'admission_manifest_signatures_missing' } as const
  const signers = await checkSignatures(signatures, signedBytes(document), demand)
  if (manifest.manifest_version < trust.minimumVersion)
    throw fail('admission_manifest_rolled_back', `expected version ${trust.minimumVersion} or later, found ${manifest.manifest_version}`)
  checkManifestWindow(signed, at)
  const found: SignedByEnough = { ...signed, signers }
  return found as VerifiedManifest
}

/** Throws `admission_manifest_expired` before `issued` (with 5 minutes for clocks that differ) and from `expires` on. */
export function checkManifestWindow({ manifest }: Pick<SignedAdmissionManifest, 'manifest'>, at: Date): void {
  const now = at.getTime() / 1000
  if (now < manifest.issued - clockSkewSeconds || now >= manifest.expires)
    throw fail(
      'admission_manifest_expired',
      `expected a manifest in force at ${at.toISOString()}, found one from ${time(manifest.issued)} to ${time(manifest.expires)}`,
    )
}

function time(seconds: number): string {
  // Beyond what a Date holds, the bare number.
  return seconds > 8.64e12 ? String(seconds) : new Date(seconds * 1000).toISOString()
}

/**
 * Whether `next` may follow `current` (rule S11): true where it is newer, false where it is the same document. Throws `admission_manifest_rolled_back` for an older
 * version, and for another document of the same version, since then somebody signed two.
 */
export function checkSuccession(current: Pick<VerifiedManifest, 'manifest' | 'digest'>, next: VerifiedManifest): boolean {
  const { manifest_version: version } = current.manifest
  if (next.digest === current.digest) return false
  if (next.manifest.manifest_version > version) return true
  throw fail(
    'admission_manifest_rolled_back',
    next.manifest.manifest_version < version
      ? `expected version ${version} or later, found ${next.manifest.manifest_version}`
      : `found another manifest of version ${version}: ${next.digest} in place of ${current.digest}`,
  )
}

/** A prefix that no other signed document begins with, then JCS without `signatures`. */
function signedBytes(document: SignedAdmissionManifest['document']): Uint8Array {
  return utf8(`${manifestVersion}\n${jcs(document)}`)
}
