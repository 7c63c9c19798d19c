import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import { unreviewed } from '../policy/init.ts'
import { type Role, roles } from '../policy/policy.ts'
import type { VerifiedRelease } from './verify.ts'

export interface AcceptedPolicy {
  /** The policy with the measurements of the release; strict JSON. */
  readonly text: string
  /** Roles whose measurements were filled in. */
  readonly filled: readonly Role[]
  /** Dotted paths of values that still bear the mark `UNREVIEWED:`: no statement says which model, machine or operator you want. */
  readonly left: readonly string[]
}

const shape = new Shape('policy_invalid')

/**
 * Fills the identities of a policy that `policy init` wrote from a verified release statement (rule S14): each section whose identity is one measurement with
 * the mark `UNREVIEWED:` gets all measurements of its role in the release. A measurement that was found on a service and is not of the release is an error,
 * not replaced: that service runs something else. Everything without a mark stays as it is, and other marks stay too.
 * Throws `policy_invalid` for what is no policy document, `release_measurement_unknown`.
 */
export function acceptRelease(policyText: string, { statement }: VerifiedRelease): AcceptedPolicy {
  const document = shape.record(parseDocument(policyText, { maxLength: 1 << 20, maxDepth: 12 }, 'policy_invalid', 'the policy'), 'policy')
  const sections = shape.object(document.roles, 'roles', [], roles)
  const filled: Role[] = []
  const accepted: Record<string, unknown> = {}
  for (const role of roles) {
    if (!Object.hasOwn(sections, role)) continue
    const section = shape.record(sections[role], `roles.${role}`)
    // Its identities are those of whatever statement is given with it.
    if (section.identity === 'released') {
      accepted[role] = section
      continue
    }
    const marked = shape.array(section.identity, `roles.${role}.identity`, 1024).flatMap((item) => markedMeasurement(item))
    if (marked.length === 0) {
      accepted[role] = section
      continue
    }
    const known = statement.enclaves.filter((one) => one.role === role).flatMap(({ mrenclave }) => (mrenclave === null ? [] : [mrenclave]))
    for (const found of marked)
      if (!known.includes(found))
        throw fail('release_measurement_unknown', `roles.${role}.identity: ${found} is no measurement of a ${role} of release ${statement.release}`)
    accepted[role] = { ...section, identity: known.map((mrenclave) => ({ mrenclave })) }
    filled.push(role)
  }
  const result = { ...document, roles: accepted }
  return { text: `${JSON.stringify(result, null, 2)}\n`, filled, left: marksIn(accepted, 'roles') }
}

function markedMeasurement(item: unknown): string[] {
  const { mrenclave } = shape.record(item, 'identity')
  return typeof mrenclave === 'string' && mrenclave.startsWith(unreviewed) ? [mrenclave.slice(unreviewed.length)] : []
}

function marksIn(value: unknown, at: string): string[] {
  if (typeof value === 'string') return value.startsWith(unreviewed) ? [at] : []
  if (value === null || typeof value !== 'object') return []
  return Object.entries(value).flatMap(([name, member]) => [
    ...(name.startsWith(unreviewed) ? [`${at}.${name}`] : []),
    ...marksIn(member, `${at}.${name}`),
  ])
}
