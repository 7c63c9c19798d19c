import { fail } from 'veritee/errors'
import { type EvidencePolicy, evaluate, policyFor, type Verdict } from 'veritee/policy'
import { evaluateReport } from 'veritee/receipt'
import type { PeerReleases } from '../runtime/admission/releases.ts'
import type { Attested } from './attested.ts'
import { type Resource, resourcePolicy } from './store/index.ts'

/** The section of a policy, with the release statements by which it is judged. */
export interface Prepared {
  /** The text of the policy. */
  readonly policy: string
  readonly section: EvidencePolicy
}

/**
 * Verifies the release statements that the policy of a resource demands: those of the operator; where he gave none, those that came with the evidence, and those held from others. Null where it demands none.
 * Throws as `HeldReleases.judging`.
 */
export async function prepare(attested: Attested, resource: Resource, releases: PeerReleases): Promise<Prepared | null> {
  const { policy, section } = resourcePolicy(resource.policy, resource.evidence)
  if (section.release === 'any') return null
  const judging = await releases.judging({ ...policy, roles: { worker: section } }, attested.releases)
  return { policy: resource.policy, section: policyFor(judging.policy, 'worker') }
}

/**
 * Judges an attested enclave under the policy of one resource, at a time. Never throws for a rejection by the policy.
 *
 * The section for workers is the only one. Where a descriptor is bound, its role must be `worker` and everything in it is judged, also for resources that ask
 * for a quote only: saying more never gives more. Where none is bound, resources of the form `veritee` are refused (`kbs_descriptor_missing`).
 * No operator's signature comes with it, so that a policy which lists operators accepts nobody (rule S17). There is no channel to judge: what is released is encrypted to the quoted key.
 *
 * `prepared` has the release statements that the policy demands, see {@link prepare}. Where the policy was exchanged since, it counts for nothing, and what demands a statement is refused.
 */
export function judge(attested: Attested, resource: Resource, at: Date, prepared: Prepared | null): Verdict {
  const read = resourcePolicy(resource.policy, resource.evidence)
  const section = prepared?.policy === resource.policy ? prepared.section : read.section
  const { claims, checks, bound, drawnAt: attestedAt } = attested
  if (bound !== null)
    return evaluateReport({ claims, checks, descriptor: bound.descriptor, operator: null }, section, {
      role: 'worker',
      at,
      attestedAt,
      channel: 'stored',
    })
  if (resource.evidence === 'veritee') throw fail('kbs_descriptor_missing', 'expected evidence that binds a service descriptor')
  const age = (at.getTime() - attestedAt.getTime()) / 1000
  if (section.maxAttestationAge !== 'any' && age > section.maxAttestationAge)
    throw fail('policy_attestation_age', `expected at most ${section.maxAttestationAge} s, found ${Math.floor(age)} s`)
  return evaluate(claims, section, at, checks)
}
