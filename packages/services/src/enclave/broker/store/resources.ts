import { createHash, randomBytes } from 'node:crypto'
import { type Json, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import { type EvidencePolicy, type Policy, parsePolicy, policyFor } from 'veritee/policy'
import type { ReleaseSeen } from 'veritee/release'
import { readKeyId } from 'veritee/seal'
import { headFromJson, type StoreHead } from './head.ts'

/** One resource of a broker. A value and the policy under which it is released come together and go together: no policy is ever put before an older value. */
export interface Resource {
  /** From 1; rotating and putting again after a revocation count on. */
  readonly version: number
  /** Base64 of the secret; null once it was revoked. */
  readonly value: string | null
  /** The text of the policy document. */
  readonly policy: string
  readonly evidence: EvidenceForm
  /** RFC 3339. */
  readonly changed: string
}

/**
 * Which evidence a resource is released to. `veritee`: evidence that binds a service descriptor, whose role, models, engine and operator are judged too.
 * `quote`: a quote alone is enough, as Trustee's clients send it; the measurement then stands for the role.
 */
export type EvidenceForm = 'veritee' | 'quote'

/** One line of the audit trail. It names what was asked for, who asked as far as it was proven, and how it ended; never a secret. */
export interface AuditEntry {
  /** From 1, one count for both lists. */
  readonly seq: number
  /** RFC 3339, by the host's clock. */
  readonly at: string
  readonly event: 'release' | 'refusal' | 'put' | 'rotate' | 'revoke'
  readonly resource: string | null
  readonly version: number | null
  /** Digest of the policy text that was judged, or put; null where it did not come to one. */
  readonly policy: string | null
  /** Why a refusal was one; null for the rest. */
  readonly code: string | null
  /** MRENCLAVE or MRTD; null where nothing was proven. */
  readonly measurement: string | null
  readonly descriptor: string | null
  readonly simulated: boolean | null
}

/** Everything a broker keeps. */
export interface BrokerState {
  /** 32 lower-case hex digits, drawn when the store was begun: no copy of it is told from it, and every other one is. */
  readonly id: string
  /** The newest one that may be in a log; null where none was ever made. */
  readonly head: StoreHead | null
  readonly resources: { readonly [name: string]: Resource }
  readonly audit: readonly AuditEntry[]
  readonly refusals: readonly AuditEntry[]
  readonly seq: number
  /** The newest release statement seen of each set of signers, by `releaseKeySet`. */
  readonly releases: { readonly [keySet: string]: ReleaseSeen }
}

/** The state of a store that begins. */
export function newState(): BrokerState {
  return { id: randomBytes(16).toString('hex'), head: null, resources: {}, audit: [], refusals: [], seq: 0, releases: {} }
}

export const limits = {
  resources: 1024,
  valueBytes: 65_536,
  policyLength: 262_144,
  audit: 4096,
  refusals: 1024,
  releases: 4096,
  states: 32 << 20,
} as const

const shape = new Shape('broker_store_invalid')

/** `<repository>/<type>/<tag>`, the grammar of sealed models. Throws `kbs_request_malformed`. */
export function readResourceName(text: string): string {
  try {
    return readKeyId(text)
  } catch (cause) {
    throw fail('kbs_request_malformed', 'expected a resource <repository>/<type>/<tag>', cause)
  }
}

/**
 * The policy of a resource and its section for workers, which is the only one judged: evidence of another role never gets a resource (rule S7).
 * Throws `policy_invalid`, `policy_role_missing`; `policy_unsupported` for demands that cannot be checked, of which those are that a quote alone does not show.
 */
export function resourcePolicy(text: string, evidence: EvidenceForm): { readonly policy: Policy; readonly section: EvidencePolicy } {
  const policy = parsePolicy(text)
  const section = policyFor(policy, 'worker')
  if (section.log !== 'any') throw fail('policy_unsupported', 'a broker sees no receipts: expected "any" for log')
  if (section.operator !== 'any')
    throw fail(
      'policy_unsupported',
      'no operator signs what is shown to a broker, and a name alone anybody can configure: expected "any" for operator',
    )
  if (evidence === 'quote' && (section.models !== 'any' || section.engine !== 'any'))
    throw fail('policy_unsupported', 'a quote alone does not show models or engine: expected "any", or evidence "veritee"')
  return { policy, section }
}

/** A new resource, or one that was revoked. Throws `broker_resource_exists`, `broker_limit`. */
export function put(state: BrokerState, name: string, offered: Omit<Resource, 'version' | 'changed'>, at: Date): BrokerState {
  const before = own(state, name)
  if (before !== undefined && before.value !== null)
    throw fail('broker_resource_exists', `${name} has version ${before.version}; rotate it, or revoke it first`)
  if (before === undefined && Object.keys(state.resources).length >= limits.resources)
    throw fail('broker_limit', `expected at most ${limits.resources} resources`)
  return changed(state, name, { ...offered, version: (before?.version ?? 0) + 1, changed: at.toISOString() }, 'put', at)
}

/** A new value, under the policy that is there or a new one. Throws `kbs_resource_unknown`, `kbs_resource_revoked`. */
export function rotate(state: BrokerState, name: string, offered: Pick<Resource, 'value'> & Partial<Resource>, at: Date): BrokerState {
  const before = live(state, name)
  const { value, policy = before.policy, evidence = before.evidence } = offered
  return changed(state, name, { value, policy, evidence, version: before.version + 1, changed: at.toISOString() }, 'rotate', at)
}

/** The value goes; the name and its version stay. Throws `kbs_resource_unknown`. Twice is the same as once. */
export function revoke(state: BrokerState, name: string, at: Date): BrokerState {
  const before = own(state, name)
  if (before === undefined) throw fail('kbs_resource_unknown', `no resource ${name}`)
  return changed(state, name, { ...before, value: null, changed: at.toISOString() }, 'revoke', at)
}

export function own(state: BrokerState, name: string): Resource | undefined {
  return Object.hasOwn(state.resources, name) ? state.resources[name] : undefined
}

/** Throws `kbs_resource_unknown`, `kbs_resource_revoked`. */
export function live(state: BrokerState, name: string): Resource & { readonly value: string } {
  const found = own(state, name)
  if (found === undefined) throw fail('kbs_resource_unknown', 'no resource of this name')
  const { value } = found
  if (value === null) throw fail('kbs_resource_revoked', `version ${found.version} was revoked`)
  return { ...found, value }
}

/** How the trail and summaries name a policy: the text is what was reviewed, so the text is what is hashed. */
export function policyDigest(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}

const nobody = { code: null, measurement: null, descriptor: null, simulated: null } as const

function changed(state: BrokerState, name: string, resource: Resource, event: AuditEntry['event'], at: Date): BrokerState {
  const entry = { ...nobody, event, resource: name, version: resource.version, policy: policyDigest(resource.policy), at: at.toISOString() }
  return recorded({ ...state, resources: { ...state.resources, [name]: resource } }, entry)
}

/**
 * The state with one more line in its trail. Refusals are kept apart, so that strangers cannot push releases out. The oldest go first, and among refusals those
 * of askers that have proven nothing: noise must not push out the line about an enclave that was refused.
 */
export function recorded(state: BrokerState, entry: Omit<AuditEntry, 'seq'>): BrokerState {
  const seq = state.seq + 1
  return recordedAs({ ...state, seq }, [{ seq, ...entry }])
}

/** The same with lines that have their numbers. */
export function recordedAs(state: BrokerState, entries: readonly AuditEntry[]): BrokerState {
  const refusals = entries.filter(({ event }) => event === 'refusal')
  const others = entries.filter(({ event }) => event !== 'refusal')
  return {
    ...state,
    audit: others.length === 0 ? state.audit : [...state.audit, ...others].slice(-limits.audit),
    refusals: refusals.length === 0 ? state.refusals : shortened([...state.refusals, ...refusals]),
  }
}

function shortened(refusals: readonly AuditEntry[]): readonly AuditEntry[] {
  let surplus = refusals.length - limits.refusals
  if (surplus <= 0) return refusals
  const kept = refusals.filter(({ measurement }) => measurement !== null || surplus-- <= 0)
  return kept.slice(-limits.refusals)
}

/** Reads what {@link stateToJson} wrote. Throws `broker_store_invalid`. */
export function stateFromJson(value: unknown): BrokerState {
  const o = shape.object(value, 'state', ['id', 'head', 'resources', 'audit', 'refusals', 'seq'], ['releases'])
  const resources = Object.entries(shape.record(o.resources, 'resources'))
  return {
    id: shape.hex(o.id, 'id', 16),
    head: headFromJson(o.head, 'head', shape),
    resources: Object.fromEntries(resources.map(([name, item]) => [readKeyId(name), resourceFromJson(item, `resources.${name}`)])),
    audit: shape.array(o.audit, 'audit', limits.audit).map((item, i) => auditFromJson(item, `audit[${i}]`)),
    refusals: shape.array(o.refusals, 'refusals', limits.refusals).map((item, i) => auditFromJson(item, `refusals[${i}]`)),
    seq: shape.integer(o.seq, 'seq'),
    releases: releasesFromJson(o.releases, 'releases'),
  }
}

export function stateToJson(state: BrokerState): Json {
  return state as unknown as Json
}

/** The state with the newest statement of one set of signers, where it is newer. Of more than are kept, those seen first go. */
export function withReleaseSeen(state: BrokerState, keySet: string, seen: ReleaseSeen): BrokerState {
  const before = Object.hasOwn(state.releases, keySet) ? state.releases[keySet] : undefined
  if (before !== undefined && before.sequence >= seen.sequence) return state
  return { ...state, releases: mergedReleases(state.releases, { [keySet]: seen }) }
}

export function mergedReleases(before: BrokerState['releases'], more: BrokerState['releases']): BrokerState['releases'] {
  const kept = Object.entries(before).filter(([keySet]) => !Object.hasOwn(more, keySet))
  return Object.fromEntries([...kept, ...Object.entries(more)].slice(-limits.releases))
}

/** Absent in what was written before there were any. Throws `broker_store_invalid`. */
export function releasesFromJson(value: unknown, at: string): BrokerState['releases'] {
  const found = value === undefined ? [] : Object.entries(shape.record(value, at))
  if (found.length > limits.releases) throw shape.refuse(at, `at most ${limits.releases}`)
  return Object.fromEntries(
    found.map(([keySet, item]) => {
      const o = shape.object(item, `${at}.${keySet}`, ['sequence', 'digest'])
      const seen = { sequence: shape.integer(o.sequence, `${at}.sequence`), digest: shape.digest(o.digest, `${at}.digest`) }
      return [shape.digest(keySet, at), seen]
    }),
  )
}

/** Throws `broker_store_invalid`. */
export function resourceFromJson(value: unknown, at: string): Resource {
  const o = shape.object(value, at, ['version', 'value', 'policy', 'evidence', 'changed'])
  return {
    version: shape.integer(o.version, `${at}.version`),
    value: shape.nullableString(o.value, `${at}.value`, 2 * limits.valueBytes),
    policy: shape.string(o.policy, `${at}.policy`, limits.policyLength),
    evidence: shape.oneOf(o.evidence, `${at}.evidence`, ['veritee', 'quote']),
    changed: shape.string(o.changed, `${at}.changed`, 32),
  }
}

/** Throws `broker_store_invalid`. */
export function auditFromJson(value: unknown, at: string): AuditEntry {
  const o = shape.object(value, at, ['seq', 'at', 'event', 'resource', 'version', 'policy', 'code', 'measurement', 'descriptor', 'simulated'])
  return {
    seq: shape.integer(o.seq, `${at}.seq`),
    at: shape.string(o.at, `${at}.at`, 32),
    event: shape.oneOf(o.event, `${at}.event`, ['release', 'refusal', 'put', 'rotate', 'revoke']),
    resource: shape.nullableString(o.resource, `${at}.resource`, 256),
    version: o.version === null ? null : shape.integer(o.version, `${at}.version`),
    policy: shape.nullableString(o.policy, `${at}.policy`, 71),
    code: shape.nullableString(o.code, `${at}.code`, 64),
    measurement: shape.nullableString(o.measurement, `${at}.measurement`, 96),
    descriptor: shape.nullableString(o.descriptor, `${at}.descriptor`, 71),
    simulated: o.simulated === null ? null : shape.boolean(o.simulated, `${at}.simulated`),
  }
}
