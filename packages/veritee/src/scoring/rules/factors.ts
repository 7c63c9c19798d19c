import { fine, max, mul, nano, one, power, quo, sqrt } from '../numbers/fixed.ts'
import { lowerMedian } from '../numbers/shares.ts'
import type { ScoringPolicy } from '../policy/policy.ts'
import type { Counter } from '../state/state.ts'
import type { Evidence, PathTimings } from './evidence.ts'

/** Lower Wilson bound of a counter (nano), a fine number from 0 to 1; 0 without trials. */
export function bound({ successes, trials }: Counter, z: bigint): bigint {
  if (trials === 0n) return 0n
  const s = fine(successes)
  const n = fine(trials)
  const zz = mul(z, z)
  const root = sqrt(quo(mul(4n * s, n - s), n) + zz)
  return max(0n, quo(2n * s + zz - mul(z, root), 2n * (n + zz)))
}

/** The factors of a worker or operator, fine numbers. */
export interface Factors {
  readonly qualityBound: bigint
  readonly availabilityBound: bigint
  readonly latency: bigint
  readonly speed: bigint
  readonly goodness: bigint
}

/** Factors from counters after the epoch and timings of the epoch (spec/scoring.md, "Factors"). `allowance` is {@link withinAllowance}, 1 for a worker alone. */
export function factors(
  counters: { readonly quality: Counter; readonly availability: Counter },
  allowance: bigint,
  { paths }: Evidence,
  policy: ScoringPolicy,
): Factors {
  const qualityBound = bound(counters.quality, policy.z)
  const availabilityBound = bound(counters.availability, policy.z)
  const latency = best(paths, 'latency', policy.minPathRecords)
  const speed = best(paths, 'speed', policy.minPathRecords)
  const timing = mul(policy.speedShare, speed) + mul(one - policy.speedShare, latency)
  return {
    qualityBound,
    availabilityBound,
    latency,
    speed,
    goodness: mul(reliability(mul(qualityBound, allowance), availabilityBound, policy), timing),
  }
}

/** Quality and availability, each to its power. */
export function reliability(quality: bigint, availability: bigint, { exponents }: ScoringPolicy): bigint {
  return mul(power(quality, exponents.quality), power(availability, exponents.availability))
}

/** The best median of the paths with enough answers, so that a controller which delays changes nothing; over all answers where none has enough. */
function best(paths: ReadonlyMap<string, PathTimings>, what: keyof PathTimings, enough: number): bigint {
  let found: bigint | null = null
  for (const { [what]: values } of paths.values()) {
    if (values.length < enough) continue
    const median = lowerMedian(values) as bigint
    if (found === null || median > found) found = median
  }
  return found ?? lowerMedian([...paths.values()].flatMap(({ [what]: values }) => values)) ?? 0n
}

/** The score after an epoch: slower up than down. Nano numbers. */
export function followed(before: bigint, raw: bigint, { ema }: ScoringPolicy): bigint {
  return before + nano(mul(raw >= before ? ema.up : ema.down, fine(raw - before)))
}
