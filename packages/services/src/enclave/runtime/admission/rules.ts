import {
  type AdmissionTrust,
  checkManifestWindow,
  checkSuccession,
  manifestPolicy,
  type VerifiedManifest,
  verifyAdmissionManifest,
} from 'veritee/admission'
import type { Trust } from 'veritee/attestation'
import { type Json, jcs } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { type Policy, roles } from 'veritee/policy'
import type { ServiceDescriptor } from 'veritee/receipt'
import type { ReleaseDocument } from 'veritee/release'
import type { FlooredClock } from './clock.ts'
import { PeerReleases } from './releases.ts'

/** What a service demands of its peers at one moment. */
export interface Demands {
  /** With the release statements that this service was given or holds from others, where a section demands some. */
  readonly policy: Policy
  /** With those that it was given alone: who connects to a peer asks that for its own where there are none. */
  readonly asking: Policy
  readonly trust: Trust
  /** What the policy is from, and what it has no place for; null where the policy is measured, or configured in simulation. */
  readonly manifest: VerifiedManifest | null
}

export interface AdmissionRules {
  /** Throws `admission_manifest_expired` where nobody may be admitted now, `policy_unsupported` where the policy names a log, and as {@link PeerReleases.judging}. */
  current(): Promise<Demands>
  readonly releases: PeerReleases
  /** Takes release statements of the operator. Throws as {@link PeerReleases.give}. */
  takeReleases(documents: readonly ReleaseDocument[]): Promise<void>
  /** The member `admission` of the service's descriptor (rule S7). */
  readonly described: ServiceDescriptor['admission']
}

/**
 * Admission judges reports, which do not show what receipts promise (rule S21): a policy that names a log is refused, not used without that. Throws `policy_unsupported`.
 */
function judgedByReports(policy: Policy): Policy {
  for (const role of roles)
    if ((policy.roles[role]?.log ?? 'any') !== 'any')
      throw fail('policy_unsupported', `roles.${role}.log: admission does not look at receipts: expected "any"`)
  return policy
}

/** Rules that no manifest changes. `read` is asked each time: roots of simulated machines appear when those start. */
export function policyRules(
  read: () => Promise<Pick<Demands, 'policy' | 'trust'>>,
  releases: PeerReleases = new PeerReleases({ now: () => new Date() }),
): AdmissionRules {
  const current = async (): Promise<Demands> => {
    const { policy, trust } = await read()
    return { ...(await releases.judging(judgedByReports(policy))), trust, manifest: null }
  }
  const takeReleases = async (documents: readonly ReleaseDocument[]): Promise<void> => {
    const there = await read().catch((error: unknown) => {
      if (error instanceof VeriteeError && error.code === 'file_unavailable') return null
      throw error
    })
    await releases.give(documents, there?.policy ?? null)
  }
  return { current, described: null, releases, takeReleases }
}

export interface ManifestRulesOptions {
  readonly anchors: AdmissionTrust
  readonly trust: () => Promise<Trust>
  readonly clock: FlooredClock
  /** Those by which peers are judged, where a section demands some; none but what peers show where not given. */
  readonly releases?: PeerReleases
}

/** Rules under an admission manifest, which newer ones follow while the process runs (rules S11 and S13). */
export class ManifestRules implements AdmissionRules {
  readonly #options: ManifestRulesOptions
  readonly releases: PeerReleases
  #manifest: VerifiedManifest

  private constructor(options: ManifestRulesOptions, manifest: VerifiedManifest) {
    this.#options = options
    this.releases = options.releases ?? new PeerReleases(options.clock)
    this.#manifest = manifest
    this.#saw(manifest)
  }

  /** Begins under a manifest. Throws what `verifyAdmissionManifest` throws. */
  static async open(text: string, options: ManifestRulesOptions): Promise<ManifestRules> {
    return new ManifestRules(options, await verifyAdmissionManifest(text, options.anchors, options.clock.now()))
  }

  get manifest(): VerifiedManifest {
    return this.#manifest
  }

  /** As it is stored and handed on. */
  get text(): string {
    return jcs({ ...this.#manifest.document, signatures: this.#manifest.signatures as unknown as Json })
  }

  get described(): NonNullable<ServiceDescriptor['admission']> {
    const { digest, manifest } = this.#manifest
    return { version: manifest.manifest_version, digest, keys: this.#options.anchors.keys }
  }

  async current(): Promise<Demands> {
    const manifest = this.#manifest
    checkManifestWindow(manifest, this.#options.clock.now())
    const judging = await this.releases.judging(judgedByReports(manifestPolicy(manifest.manifest)))
    return { ...judging, trust: await this.#options.trust(), manifest }
  }

  takeReleases(documents: readonly ReleaseDocument[]): Promise<void> {
    return this.releases.give(documents, manifestPolicy(this.#manifest.manifest))
  }

  /** Why nobody is admitted now; null while somebody may be. */
  get reason(): string | null {
    const { expires } = this.#manifest.manifest
    return this.#options.clock.now().getTime() / 1000 < expires ? null : `the admission manifest ended at ${new Date(expires * 1000).toISOString()}`
  }

  /**
   * Puts a manifest in force: true where it is a newer one, false where it is the present one. The floor is the highest version accepted, in memory.
   * Throws what `verifyAdmissionManifest` and `checkSuccession` throw, with the present one still in force.
   */
  async offer(text: string): Promise<boolean> {
    const next = await verifyAdmissionManifest(text, this.#options.anchors, this.#options.clock.now())
    // Nothing is awaited between the comparison and the change.
    if (!checkSuccession(this.#manifest, next)) return false
    this.#manifest = next
    this.#saw(next)
    return true
  }

  #saw({ manifest }: VerifiedManifest): void {
    this.#options.clock.raise(new Date(manifest.issued * 1000))
  }
}
