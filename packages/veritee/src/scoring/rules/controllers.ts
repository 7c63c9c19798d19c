import { mul, nano } from '../numbers/fixed.ts'
import type { ScoringPolicy } from '../policy/policy.ts'
import { byText, emptyCounter, type PartyState } from '../state/state.ts'
import { type Judged, pathOf } from './charge.ts'
import type { Weights } from './evidence.ts'
import { bound, followed, reliability } from './factors.ts'

/** What one validator makes of an operator of controllers (rule S19): `quality` is its honesty. */
export interface ControllerScore extends PartyState {
  readonly operator: string
  readonly qualityBound: bigint
  readonly availabilityBound: bigint
  /** Fine number: how far what it shows of workers agrees with what others show. */
  readonly agreement: bigint
  readonly raw: bigint
  readonly before: bigint
}

/** Scores operators of controllers from a validator's own traffic that went through them first (spec/scoring.md, "Controllers"). */
export function scoreControllers(
  judged: readonly Judged[],
  before: ReadonlyMap<string, PartyState>,
  setting: {
    readonly weights: Weights
    readonly policy: ScoringPolicy
    readonly roster: ReadonlySet<string>
    readonly own: string | null
    readonly agreement: (path: string) => bigint
  },
): ControllerScore[] {
  const { weights, policy, roster, own } = setting
  const seen = new Map<string, { quality: Sums; availability: Sums }>()
  for (const operator of before.keys()) if (roster.has(operator)) seen.set(operator, { quality: new Sums(), availability: new Sums() })
  const used = new Set<string>()
  for (const item of judged) {
    const operator = pathOf(item.record)
    if (!item.own || operator === '' || operator === own || !roster.has(operator)) continue
    used.add(operator)
    const sums = seen.get(operator) ?? { quality: new Sums(), availability: new Sums() }
    seen.set(operator, sums)
    const weight = weights.at(item.record.at)
    const atFault = item.charged === 'controller'
    sums.quality.add(weight, !(atFault && item.class !== 'availability'))
    sums.availability.add(weight, !(atFault && item.class === 'availability'))
  }
  return [...seen]
    .map(([operator, sums]): ControllerScore => {
      const was = before.get(operator)
      const quality = weights.after(was?.quality ?? emptyCounter, sums.quality)
      const availability = weights.after(was?.availability ?? emptyCounter, sums.availability)
      const qualityBound = bound(quality, policy.z)
      const availabilityBound = bound(availability, policy.z)
      const agreement = setting.agreement(operator)
      const raw = used.has(operator) ? nano(mul(reliability(qualityBound, availabilityBound, policy), agreement)) : 0n
      const score = followed(was?.score ?? 0n, raw, policy)
      return { operator, quality, availability, qualityBound, availabilityBound, agreement, raw, before: was?.score ?? 0n, score }
    })
    .sort(byText(({ operator }) => operator))
}

class Sums {
  successes = 0n
  trials = 0n

  add(weight: bigint, success: boolean): void {
    this.trials += weight
    if (success) this.successes += weight
  }
}
