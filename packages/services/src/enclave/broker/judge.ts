import { fail } from 'veritee/errors'
import { evaluate, type Verdict } from 'veritee/policy'
import { evaluateReport } from 'veritee/receipt'
import type { Attested } from './attested.ts'
import { type Resource, resourcePolicy } from './store/index.ts'

/**
 * Judges an attested enclave under the policy of one resource, at a time. Never throws for a rejection by the policy.
 *
 * The section for workers is the only one. Where a descriptor is bound, its role must be `worker` and everything in it is judged, also for resources that ask
 * for a quote only: saying more never gives more. Where none is bound, resources of the form `veritee` are refused (`kbs_descriptor_missing`).
 * No operator's signature comes with it, so that a policy which lists operators accepts nobody (rule S17). There is no channel to judge: what is released is encrypted to the quoted key.
 */
export function judge(attested: Attested, resource: Resource, at: Date): Verdict {
  const { section } = resourcePolicy(resource.policy, resource.evidence)
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
