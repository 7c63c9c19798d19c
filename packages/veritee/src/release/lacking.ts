import type { EvidencePolicy, Policy, ReleasePolicy } from '../policy/policy.ts'
import { roles } from '../policy/policy.ts'

/** Whether a section demands a statement and has been given none. */
export function lacksRelease(policy: Policy): boolean {
  return roles.some((role) => lacking(policy.roles[role]))
}

export function lacking(section: EvidencePolicy | undefined): section is EvidencePolicy & { readonly release: ReleasePolicy } {
  return section !== undefined && section.release !== 'any' && (section.released ?? []).length === 0
}
