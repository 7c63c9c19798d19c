// What all parts of the second implementation ask: who is who, what counts, who is charged.
import type { AuditRecord, EpochInput, WorkerId } from '../../../src/scoring/index.ts'
import { decimal, fine, half, most, mul, nano, power, quo, sqrt, total } from './numbers.ts'

export type Any = ReturnType<typeof JSON.parse>
export type Counter = { successes: bigint; trials: bigint }
export type Party = { quality: Counter; availability: Counter; score: bigint }

const availabilityFaults = ['refused', 'timeout', 'cut_off', 'answer_error', 'receipt_unavailable', 'attestation_unavailable']
const pauseFaults = ['attestation_rejected', 'keyset_expired']
export const classOf = (r: AuditRecord): string | null =>
  r.verdict === 'pass' || r.verdict === 'inconclusive'
    ? null
    : availabilityFaults.includes(r.reason ?? '')
      ? 'availability'
      : pauseFaults.includes(r.reason ?? '')
        ? 'pause'
        : 'honesty'
export const own = (r: AuditRecord): boolean => r.kind === 'probe' || r.kind === 'canary'
export const id = (w: WorkerId): string => `${w.operator} ${w.platform} ${String(w.slot).padStart(5, '0')}`
export const via = (r: AuditRecord): string => r.path[0] ?? 'direct'
export const cmp = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
export const unique = (xs: readonly string[]): string[] => [...new Set(xs)].sort(cmp)
export const big = (text: string): bigint => BigInt(text.replace('.', ''))
export const counter = (c: Any): Counter => ({ successes: big(c.successes), trials: big(c.trials) })
export const counterOut = (c: Counter): Any => ({ successes: decimal(c.successes), trials: decimal(c.trials) })
export const zero: Counter = { successes: 0n, trials: 0n }

export type Facts = ReturnType<typeof factsOf>

export function factsOf(input: Omit<EpochInput, 'before'>, before: Any) {
  const { policy, epoch: e, roster } = input
  const opens = policy.epoch.genesis + e * policy.epoch.length
  const close = opens + policy.epoch.length
  const stateOf = (v: string): Any =>
    before.validators.find((x: Any) => x.validator === v) ?? { operators: [], workers: [], controllers: [], paths: [], ratios: [] }
  const isBanned = (kind: 'operators' | 'platforms', name: 'operator' | 'platform', key: string): boolean =>
    before[kind].some((x: Any) => x[name] === key && x.until >= e)
  const weightOf = (v: string): bigint =>
    input.failed.includes(v) || before.disqualified.some((x: Any) => x.validator === v && x.until >= e)
      ? 0n
      : (policy.validators.find((x) => x.key === v)?.weight ?? 0n)
  const ownerOf = (v: string): string | null => policy.validators.find((x) => x.key === v)?.operator ?? null
  const model = (r: AuditRecord) => policy.models.find((m) => m.weights === r.model?.weights)

  const records = input.records.filter(
    (r) =>
      r.worker === null ||
      (roster.operators.includes(r.worker.operator) &&
        !isBanned('operators', 'operator', r.worker.operator) &&
        r.worker.operator !== ownerOf(r.validator)),
  )
  const counts = (r: AuditRecord): boolean => model(r) !== undefined && (policy.log === 'any' || r.view?.log?.origin === policy.log.origin)
  const passed = (r: AuditRecord): boolean => r.verdict === 'pass' && counts(r)
  const inconclusive = (r: AuditRecord): boolean => r.verdict === 'inconclusive' || (r.verdict === 'pass' && !counts(r))
  // Who is charged.
  const paired = new Set<AuditRecord>()
  const blamable = records.filter((r) => own(r) && r.worker !== null && r.charged !== null)
  for (const r of [...blamable].sort((x, y) => x.at - y.at || x.index - y.index)) {
    const partner = blamable
      .filter(
        (o) =>
          o.validator === r.validator &&
          id(o.worker as WorkerId) === id(r.worker as WorkerId) &&
          classOf(o) === classOf(r) &&
          via(o) !== via(r) &&
          !paired.has(o) &&
          (o.at < r.at || (o.at === r.at && o.index < r.index)) &&
          r.at - o.at <= policy.repeatWindow,
      )
      .sort((x, y) => x.at - y.at || x.index - y.index)[0]
    if (partner !== undefined) paired.add(partner).add(r)
  }
  const chargeOf = new Map(records.map((r) => [r, paired.has(r) ? 'worker' : r.charged]))
  const toWorker = (r: AuditRecord, ...classes: string[]): boolean => chargeOf.get(r) === 'worker' && classes.includes(classOf(r) ?? '')

  // Platforms.
  const platforms = unique(input.records.flatMap((r) => (r.worker === null ? [] : [r.worker.platform])))
  const holders = new Map<string, string | null>()
  for (const { platform, operator } of before.holders) if (!roster.shared.includes(platform)) holders.set(platform, operator)
  for (const platform of platforms.filter((p) => !roster.shared.includes(p))) {
    const here = records.filter((r) => own(r) && passed(r) && r.worker?.platform === platform)
    const claim = (o: string): bigint =>
      total(policy.validators.filter((v) => here.some((r) => r.validator === v.key && r.worker?.operator === o)).map((v) => weightOf(v.key)))
    const claims = unique(here.map((r) => r.worker?.operator ?? ''))
      .map((o) => ({ o, w: claim(o) }))
      .filter(({ w }) => w > 0n)
    if (claims.length === 0 || claims.some(({ o }) => o === holders.get(platform))) continue
    const top = most(...claims.map(({ w }) => w))
    const winners = claims.filter(({ w }) => w === top)
    holders.set(platform, winners.length === 1 ? (winners[0]?.o ?? null) : null)
  }
  const isExcluded = (w: WorkerId): boolean => holders.has(w.platform) && holders.get(w.platform) !== w.operator

  const carry = half((e - (before.epoch ?? e - 1)) * policy.epoch.length, policy.halfLife)
  const age = (was: Counter, trials: readonly (readonly [AuditRecord, boolean])[]): Counter => ({
    successes: nano(mul(fine(was.successes), carry) + total(trials.filter(([, ok]) => ok).map(([r]) => half(close - r.at, policy.halfLife)))),
    trials: nano(mul(fine(was.trials), carry) + total(trials.map(([r]) => half(close - r.at, policy.halfLife)))),
  })
  const bound = (c: Counter): bigint => {
    if (c.trials === 0n) return 0n
    const s = fine(c.successes)
    const n = fine(c.trials)
    const zz = mul(policy.z, policy.z)
    return most(0n, quo(2n * s + zz - mul(policy.z, sqrt(quo(mul(4n * s, n - s), n) + zz)), 2n * (n + zz)))
  }
  const sure = (q: bigint, a: bigint): bigint => mul(power(q, policy.exponents.quality), power(a, policy.exponents.availability))
  const median = (xs: readonly bigint[]): bigint => [...xs].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))[Math.floor((xs.length - 1) / 2)] ?? 0n
  const follow = (s: bigint, raw: bigint): bigint => s + nano(mul(raw >= s ? policy.ema.up : policy.ema.down, fine(raw - s)))
  return {
    policy,
    e,
    roster,
    before,
    records,
    close,
    carry,
    stateOf,
    isBanned,
    weightOf,
    ownerOf,
    model,
    passed,
    inconclusive,
    chargeOf,
    toWorker,
    holders,
    isExcluded,
    age,
    bound,
    sure,
    median,
    follow,
  }
}
