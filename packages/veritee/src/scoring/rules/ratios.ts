import { fine, nano, one, quo } from '../numbers/fixed.ts'
import { ln } from '../numbers/real.ts'
import type { PolicyModel, ScoringPolicy } from '../policy/policy.ts'
import { ratioKey, type Vote } from '../state/state.ts'
import type { Judged } from './charge.ts'

/** Sequential tests of one validator after an epoch, and against whom it votes by them. */
export interface Tested {
  readonly ratios: ReadonlyMap<string, bigint>
  readonly votes: readonly Vote[]
}

/** Steps and bounds of the test for one model; null where the model convicts nobody (rule S18). */
export function testOf({ sprt }: ScoringPolicy, { level2 }: PolicyModel): { readonly failed: bigint; readonly passed: bigint } | null {
  if (level2 === null || level2.p0Upper > sprt.maxP0Upper) return null
  return { failed: ln(quo(sprt.p1, level2.p0)), passed: ln(quo(one - sprt.p1, one - level2.p0)) }
}

/**
 * Runs the sequential tests of a validator over its own traffic at level 2, by time and index: one for each worker and one for each operator, for each model
 * (spec/scoring.md, "Convictions"). After a clearance, as after a vote, the ratio begins again at 0.
 */
export function runTests(
  judged: readonly Judged[],
  before: ReadonlyMap<string, bigint>,
  { policy, models, epoch }: { readonly policy: ScoringPolicy; readonly models: ReadonlyMap<string, PolicyModel>; readonly epoch: number },
): Tested {
  const convict = ln(quo(one - policy.sprt.beta, policy.sprt.alpha))
  const clear = ln(quo(policy.sprt.beta, one - policy.sprt.alpha))
  const tests = new Map([...models].map(([digest, model]) => [digest, testOf(policy, model)] as const))
  const ratios = new Map([...before].map(([key, ratio]) => [key, fine(ratio)]))
  const votes: Vote[] = []
  const relevant = judged
    .filter(({ record, own, outcome, charged }) => own && record.replay?.level === 2 && (outcome === 'pass' || charged === 'worker'))
    .sort(({ record: a }, { record: b }) => a.at - b.at || a.index - b.index)
  for (const { record, outcome } of relevant) {
    const { worker, model, replay, validator } = record
    if (worker === null || model === null || (outcome === 'fault' && record.reason !== 'replay_mismatch')) continue
    const test = tests.get(model.weights)
    if (test === undefined || test === null || replay?.calibration !== models.get(model.weights)?.level2?.calibration) continue
    for (const unit of [worker, null]) {
      const key = ratioKey(worker.operator, unit, model.weights)
      let ratio = (ratios.get(key) ?? 0n) + (outcome === 'pass' ? test.passed : test.failed)
      if (ratio >= convict) votes.push({ validator, operator: worker.operator, platform: unit?.platform ?? null, epoch })
      if (ratio >= convict || ratio <= clear) ratio = 0n
      ratios.set(key, ratio)
    }
  }
  return { ratios: new Map([...ratios].map(([key, ratio]) => [key, nano(ratio)] as const).filter(([, ratio]) => ratio !== 0n)), votes }
}
