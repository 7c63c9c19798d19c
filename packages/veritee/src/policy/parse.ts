import { tcbStatuses } from '../attestation/claims.ts'
import { isZero } from '../bytes/bytes.ts'
import { fromHex } from '../bytes/hex.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { fail } from '../errors.ts'
import {
  type AllowDeny,
  type Any,
  type EvidencePolicy,
  type Identity,
  type LogDemand,
  type MaskedValue,
  type PlatformPolicy,
  type Policy,
  type ReleasePolicy,
  type Role,
  roles,
  type TcbPolicy,
  type TdxPolicy,
} from './policy.ts'

const shape = new Shape('policy_invalid')
const maxItems = 1024

/**
 * The signer of the enclaves that come with the SGX SDK's sample key, which is public: anybody can sign under it.
 * An identity naming it names nobody.
 */
const publicSigners: readonly string[] = ['83d719e77deaca1470f6baf62a4d774303c899db69020f9c70ee1dfc08c7ce9e']

/**
 * Reads a policy document (spec/policy.md). Every field is required or the literal "any" where the field may be waived; the one that came later,
 * `externalEngine`, is the strictest value where it is absent. Unknown fields are errors, `comments` is for readers;
 * identity values still marked `UNREVIEWED:` and identities that accept too much are errors (rule S14).
 *
 * Throws `policy_invalid`. Does not judge anything.
 */
export function parsePolicy(text: string): Policy {
  const document = parseDocument(text, { maxLength: 1 << 20, maxDepth: 12 }, 'policy_invalid', 'the policy')
  const top = shape.object(document, 'policy', ['version', 'roles'], ['comments'])
  if (top.comments !== undefined) checkComments(top.comments)
  const version = shape.oneOf(top.version, 'version', ['veritee.policy.v1'])
  return { version, roles: policySections(top.roles) }
}

/** Texts for whoever reads the file. Nothing is made of them. */
function checkComments(value: unknown): void {
  const entries = Object.entries(shape.record(value, 'comments'))
  if (entries.length > maxItems) throw shape.refuse('comments', `at most ${maxItems} texts`)
  for (const [name, text] of entries) shape.string(text, `comments[${JSON.stringify(name.slice(0, 40))}]`)
}

/** The sections of a policy as they stand within another document. As {@link parsePolicy}; the caller has bounded the text they came from. */
export function policySections(value: unknown): Policy['roles'] {
  const sections = shape.object(value, 'roles', [], roles)
  if (Object.keys(sections).length === 0) throw shape.refuse('roles', `at least one of ${roles.join(', ')}`)
  const parsed: { [R in Role]?: EvidencePolicy } = {}
  for (const role of roles) if (Object.hasOwn(sections, role)) parsed[role] = section(sections[role], `roles.${role}`)
  return parsed
}

/** The section for a role. Throws `policy_role_missing`. */
export function policyFor(policy: Policy, role: Role): EvidencePolicy {
  const found = policy.roles[role]
  if (found === undefined) throw fail('policy_role_missing', `expected a section roles.${role}, found ${Object.keys(policy.roles).join(', ')}`)
  return found
}

function section(value: unknown, at: string): EvidencePolicy {
  const o = shape.object(
    value,
    at,
    [
      'tee',
      'simulated',
      'physical',
      'debug',
      'identity',
      'attributes',
      'tdx',
      'tcb',
      'platform',
      'maxCollateralAge',
      'maxAttestationAge',
      'models',
      'engine',
      'operator',
      'release',
      'log',
      'channel',
    ],
    ['externalEngine'],
  )
  const policy: EvidencePolicy = {
    tee: orAny(o.tee, `${at}.tee`, (v, w) => list(v, w, (item, where) => shape.oneOf(item, where, ['sgx', 'tdx']))),
    simulated: shape.oneOf(o.simulated, `${at}.simulated`, ['refuse', 'allow']),
    physical: shape.oneOf(o.physical, `${at}.physical`, ['trusted-site', 'any']),
    debug: shape.oneOf(o.debug, `${at}.debug`, ['refuse', 'any']),
    identity: o.identity === 'released' ? 'released' : list(o.identity, `${at}.identity`, identity),
    attributes: orAny(o.attributes, `${at}.attributes`, (v, w) => masked(v, w, 16)),
    tdx: orAny(o.tdx, `${at}.tdx`, tdx),
    tcb: tcb(o.tcb, `${at}.tcb`),
    platform: platform(o.platform, `${at}.platform`),
    maxCollateralAge: orAny(o.maxCollateralAge, `${at}.maxCollateralAge`, seconds),
    maxAttestationAge: orAny(o.maxAttestationAge, `${at}.maxAttestationAge`, seconds),
    models: orAny(o.models, `${at}.models`, models),
    engine: orAny(o.engine, `${at}.engine`, (v, w) => list(v, w, engine)),
    ...(Object.hasOwn(o, 'externalEngine') && {
      externalEngine: shape.oneOf(o.externalEngine, `${at}.externalEngine`, ['refuse', 'measured', 'any']),
    }),
    operator: orAny(o.operator, `${at}.operator`, (v, w) => list(v, w, (item, where) => shape.hex(item, where, 32))),
    release: orAny(o.release, `${at}.release`, release),
    log: orAny(o.log, `${at}.log`, log),
    channel: shape.oneOf(o.channel, `${at}.channel`, ['attested', 'loopback']),
  }
  if (policy.physical === 'trusted-site' && policy.platform.ppid.allow === 'any')
    throw shape.refuse(`${at}.physical`, '"any", or platform.ppid.allow to list the machines of the trusted site')
  if (policy.identity === 'released' && policy.release === 'any')
    throw shape.refuse(`${at}.identity`, 'measurements, or "release" to say whose statements name them')
  return policy
}

function orAny<T>(value: unknown, at: string, read: (value: unknown, at: string) => T): T | Any {
  return value === 'any' ? 'any' : read(value, at)
}

/** A non-empty array: an empty list would accept nothing or, misread, everything. */
function list<T>(value: unknown, at: string, read: (value: unknown, at: string) => T): readonly T[] {
  const items = shape.array(value, at, maxItems)
  if (items.length === 0) throw shape.refuse(at, 'at least one item')
  return items.map((item, i) => read(item, `${at}[${i}]`))
}

function seconds(value: unknown, at: string): number {
  return shape.integer(value, at, 10 * 366 * 86_400)
}

function reviewedHex(value: unknown, at: string, length: number): string {
  if (typeof value === 'string' && value.startsWith('UNREVIEWED:'))
    throw shape.refuse(at, 'a value that you have reviewed; compare it with the release you trust, then remove the mark UNREVIEWED:')
  return shape.hex(value, at, length)
}

function identity(value: unknown, at: string): Identity {
  const o = shape.record(value, at)
  if (Object.hasOwn(o, 'mrenclave')) {
    shape.object(o, at, ['mrenclave'])
    return { mrenclave: reviewedHex(o.mrenclave, `${at}.mrenclave`, 32) }
  }
  if (Object.hasOwn(o, 'mrsigner')) {
    shape.object(o, at, ['mrsigner', 'isvProdId', 'minIsvSvn'])
    const mrsigner = reviewedHex(o.mrsigner, `${at}.mrsigner`, 32)
    if (publicSigners.includes(mrsigner)) throw shape.refuse(`${at}.mrsigner`, 'another signer: this key is public and anybody can sign with it')
    return {
      mrsigner,
      isvProdId: shape.integer(o.isvProdId, `${at}.isvProdId`, 0xffff),
      minIsvSvn: shape.integer(o.minIsvSvn, `${at}.minIsvSvn`, 0xffff),
    }
  }
  shape.object(o, at, ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'])
  const register = (name: string): string | Any => orAny(o[name], `${at}.${name}`, (v, w) => reviewedHex(v, w, 48))
  return {
    mrtd: reviewedHex(o.mrtd, `${at}.mrtd`, 48),
    rtmr0: register('rtmr0'),
    rtmr1: register('rtmr1'),
    rtmr2: register('rtmr2'),
    rtmr3: register('rtmr3'),
    mrseam: register('mrseam'),
  }
}

function masked(value: unknown, at: string, length: number): MaskedValue {
  const o = shape.object(value, at, ['mask', 'value'])
  const mask = shape.hex(o.mask, `${at}.mask`, length)
  const wanted = shape.hex(o.value, `${at}.value`, length)
  // A mask of zeros would pass everything without saying so; a value with bits outside its mask would match nothing.
  if (isZero(fromHex(mask))) throw shape.refuse(`${at}.mask`, 'at least one bit; write "any" to waive the check')
  const maskBytes = fromHex(mask)
  if (!fromHex(wanted).every((byte, i) => (byte & (maskBytes[i] as number)) === byte)) throw shape.refuse(`${at}.value`, 'no bits outside the mask')
  return { mask, value: wanted }
}

function tdx(value: unknown, at: string): TdxPolicy {
  const o = shape.object(value, at, ['attributes', 'xfam', 'septVeDisable', 'mrServiceTd'])
  return {
    attributes: orAny(o.attributes, `${at}.attributes`, (v, w) => masked(v, w, 8)),
    xfam: orAny(o.xfam, `${at}.xfam`, (v, w) => masked(v, w, 8)),
    septVeDisable: shape.oneOf(o.septVeDisable, `${at}.septVeDisable`, ['require', 'any']),
    mrServiceTd: orAny(o.mrServiceTd, `${at}.mrServiceTd`, (v, w) => list(v, w, (item, where) => shape.hex(item, where, 48))),
  }
}

function tcb(value: unknown, at: string): TcbPolicy {
  const o = shape.object(value, at, ['statuses', 'advisories', 'minTcbEvaluationDataNumber', 'gracePeriod'])
  const acceptable = tcbStatuses.filter((status) => status !== 'Revoked' && status !== 'NotSupported' && status !== 'Unrecognized')
  return {
    statuses: list(o.statuses, `${at}.statuses`, (item, where) => shape.oneOf(item, where, acceptable)),
    advisories: orAny(o.advisories, `${at}.advisories`, (v, w) => shape.array(v, w, maxItems).map((item, i) => shape.string(item, `${w}[${i}]`, 64))),
    minTcbEvaluationDataNumber: orAny(o.minTcbEvaluationDataNumber, `${at}.minTcbEvaluationDataNumber`, (v, w) => shape.integer(v, w)),
    gracePeriod: seconds(o.gracePeriod, `${at}.gracePeriod`),
  }
}

function allowDeny(value: unknown, at: string, length: number): AllowDeny {
  const o = shape.object(value, at, ['allow', 'deny'])
  const hex = (item: unknown, where: string): string => shape.hex(item, where, length)
  return {
    allow: orAny(o.allow, `${at}.allow`, (v, w) => list(v, w, hex)),
    deny: shape.array(o.deny, `${at}.deny`, maxItems).map((item, i) => hex(item, `${at}.deny[${i}]`)),
  }
}

function platform(value: unknown, at: string): PlatformPolicy {
  const o = shape.object(value, at, ['fmspc', 'ppid', 'dynamicPlatform', 'cachedKeys', 'smt'])
  return {
    fmspc: allowDeny(o.fmspc, `${at}.fmspc`, 6),
    ppid: allowDeny(o.ppid, `${at}.ppid`, 16),
    dynamicPlatform: shape.oneOf(o.dynamicPlatform, `${at}.dynamicPlatform`, ['refuse', 'any']),
    cachedKeys: shape.oneOf(o.cachedKeys, `${at}.cachedKeys`, ['refuse', 'any']),
    smt: shape.oneOf(o.smt, `${at}.smt`, ['refuse', 'any']),
  }
}

function models(value: unknown, at: string): { readonly [name: string]: readonly string[] } {
  const o = shape.record(value, at)
  const entries = Object.entries(o)
  if (entries.length === 0 || entries.length > maxItems) throw shape.refuse(at, `1 to ${maxItems} models`)
  return Object.fromEntries(
    entries.map(([name, digests]) => [
      name,
      list(digests, `${at}[${JSON.stringify(name.slice(0, 80))}]`, (item, where) => shape.digest(item, where)),
    ]),
  )
}

function engine(value: unknown, at: string): { build: string; cpuVariant: string | Any } {
  const o = shape.object(value, at, ['build', 'cpuVariant'])
  return { build: shape.digest(o.build, `${at}.build`), cpuVariant: shape.string(o.cpuVariant, `${at}.cpuVariant`, 64) }
}

function release(value: unknown, at: string): ReleasePolicy {
  const o = shape.object(value, at, ['product', 'keys', 'threshold', 'maxReleaseAge', 'log'])
  const keys = list(o.keys, `${at}.keys`, (item, where) => shape.hex(item, where, 32))
  return {
    product: shape.string(o.product, `${at}.product`, 64),
    keys,
    threshold: threshold(o.threshold, `${at}.threshold`, keys),
    maxReleaseAge: seconds(o.maxReleaseAge, `${at}.maxReleaseAge`),
    log: orAny(o.log, `${at}.log`, log),
  }
}

function log(value: unknown, at: string): LogDemand {
  const o = shape.object(value, at, ['origin', 'key', 'witnesses', 'quorum'])
  const witnesses = list(o.witnesses, `${at}.witnesses`, (item, where) => shape.string(item, where, 512))
  if (witnesses.length > 64) throw shape.refuse(`${at}.witnesses`, 'at most 64')
  return {
    origin: shape.string(o.origin, `${at}.origin`, 512),
    key: shape.string(o.key, `${at}.key`, 512),
    witnesses,
    quorum: threshold(o.quorum, `${at}.quorum`, witnesses),
  }
}

/** m of n distinct keys: repeated entries do not count twice. */
function threshold(value: unknown, at: string, keys: readonly string[]): number {
  const distinct = new Set(keys).size
  if (distinct !== keys.length) throw shape.refuse(at, 'a list of keys without repetitions')
  const wanted = shape.integer(value, at, distinct)
  if (wanted === 0) throw shape.refuse(at, 'at least 1')
  return wanted
}
