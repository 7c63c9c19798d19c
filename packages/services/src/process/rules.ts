import { createHash } from 'node:crypto'
import { parseAdmissionTrust } from 'veritee/admission'
import { intelSgxRootCa, type Trust } from 'veritee/attestation'
import { type Json, jcsDigest, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type Policy, parsePolicy, policyFor, type Role } from 'veritee/policy'
import type { FlooredClock } from '../enclave/runtime/admission/clock.ts'
import { PeerReleases } from '../enclave/runtime/admission/releases.ts'
import { type AdmissionRules, ManifestRules, policyRules } from '../enclave/runtime/admission/rules.ts'
import { anchorFromOutside } from './anchor.ts'
import type { Files } from './files.ts'
import type { Anchors } from './program.ts'

/** What a configuration says of whom a service admits. */
export interface AdmissionConfig {
  readonly policy: string | null
  readonly manifest: string | null
  readonly network: string | null
  readonly signers: readonly string[]
  readonly threshold: number
  readonly minimum_version: number
  readonly roots: readonly string[]
}

export interface RulesOptions {
  readonly config: AdmissionConfig
  /** Null in simulation. */
  readonly anchors: Anchors | null
  /** Beside the vendor's root; none in an enclave. */
  readonly roots: () => Promise<readonly Uint8Array[]>
  /** Of whom something must be demanded. */
  readonly role: Role
  /** The policy of a simulated peer appears when that starts: it is read for each verification. */
  readonly late?: true
  readonly files: Files
  readonly clock: FlooredClock
}

export interface OpenedRules {
  readonly rules: AdmissionRules
  /** There where a manifest is in force: it is followed in its file. */
  readonly followed: { readonly rules: ManifestRules; readonly path: string } | null
  /** What of it belongs to the configuration that the quote binds: not paths but what was there. A manifest is in the descriptor by itself. */
  readonly bound: Json
}

/** Rule S13: whom an enclave trusts is measured, and only a signed manifest comes from its host. Throws `anchors_not_measured`. */
export function refuseUnmeasuredRules({ policy, network, signers, roots, threshold, minimum_version }: AdmissionConfig): void {
  if (policy !== null || network !== null || signers.length > 0 || roots.length > 0 || threshold > 1 || minimum_version > 0)
    throw anchorFromOutside('admission, but for the manifest itself')
}

/**
 * What a service demands of its peers: an admission manifest under measured anchors, or configured ones in simulation; or one policy, measured or configured.
 * Throws `config_invalid`, `anchors_not_measured`, `file_unavailable`, `policy_invalid`, `policy_role_missing` and what reading a manifest throws.
 */
export async function openRules({ config, anchors, roots, role, late, files, clock }: RulesOptions): Promise<OpenedRules> {
  const trust = async (): Promise<Trust> => ({ roots: [intelSgxRootCa, ...(await roots())] })
  const releases = new PeerReleases(clock)
  const path = config.manifest
  if (path === null) {
    if (late && anchors === null && config.policy !== null) {
      const read = async (): ReturnType<Parameters<typeof policyRules>[0]> => ({ policy: await policyOf(config, null, files), trust: await trust() })
      return { rules: policyRules(read, releases), followed: null, bound: { policy: null } }
    }
    const policy = await policyOf(config, anchors, files)
    policyFor(policy, role)
    return { rules: policyRules(async () => ({ policy, trust: await trust() }), releases), followed: null, bound: { policy: await digestOf(policy) } }
  }
  if (config.policy !== null) throw fail('config_invalid', 'admission: expected either a manifest or a policy, found both')
  const admission = anchors === null ? configured(config) : anchors.admission
  if (admission === null) throw fail('anchors_not_measured', 'anchors.json: expected admission, whose manifests this enclave accepts')
  const rules = await ManifestRules.open(await files.readText(path), { anchors: admission, trust, clock, releases })
  policyFor((await rules.current()).policy, role)
  return { rules, followed: { rules, path }, bound: { policy: null } }
}

async function policyOf({ policy }: AdmissionConfig, anchors: Anchors | null, files: Files): Promise<Policy> {
  if (anchors !== null) {
    if (anchors.policy !== null) return anchors.policy
    throw fail('anchors_not_measured', 'expected --manifest, or a policy in anchors.json')
  }
  if (policy === null) throw fail('config_invalid', 'admission.policy: expected a file, or a manifest; without one nobody could be admitted')
  return parsePolicy(await files.readText(policy))
}

function configured({ network, signers, threshold, minimum_version }: AdmissionConfig): ReturnType<typeof parseAdmissionTrust> {
  if (network === null) throw fail('config_invalid', 'admission.network: expected the name of the network; say --network')
  return parseAdmissionTrust({ network, keys: signers, threshold, minimum_version }, 'admission', new Shape('config_invalid'))
}

function digestOf(policy: Policy): Promise<string> {
  return jcsDigest(policy as unknown as Json)
}

/** Of certificates, as they stand in a configuration. */
export function rootDigests(roots: readonly Uint8Array[]): string[] {
  return roots.map((root) => `sha256:${createHash('sha256').update(root).digest('hex')}`)
}
