import { emptyState, type Ground, type ProvenKeyset, scoreEpoch } from 'veritee/scoring'
import { auditEpoch, type Between, untouched } from './epoch.ts'
import { digest } from './records.ts'
import type { World } from './world.ts'

/** What became of one operator, epoch by epoch. */
export interface Course {
  /** Of the whole, 0 to 1. */
  readonly shares: number[]
  /** Epochs in which it was convicted. */
  readonly convicted: number[]
  /** On which grounds. */
  readonly grounds: Set<Ground['kind']>
}

export interface FleetRun {
  readonly courses: readonly Course[]
  readonly records: number
  readonly honestAudits: number
  readonly honestAtLevel2: number
  /** Convictions of honest operators: must be none. */
  readonly falseConvictions: number
  /** How often a validator found an honest operator beyond the allowance of mismatches, by operator and epoch; without the validator that lies. */
  readonly beyondAllowance: number
}

/** Runs a fleet through its epochs: records, then the scoring function, whose state goes on to the next epoch. */
export function runFleet(world: World, seed: number, between: Between = untouched, progress: (epoch: number) => void = () => {}): FleetRun {
  const { operators, controllers, policy, size } = world
  const courses = operators.map((): Course => ({ shares: [], convicted: [], grounds: new Set() }))
  const roster = { operators: [...operators.map(({ key }) => key), ...controllers].sort(), shared: [] }
  let state = emptyState
  let records = 0
  let honestAudits = 0
  let honestAtLevel2 = 0
  let falseConvictions = 0
  let beyondAllowance = 0
  const honest = new Set(operators.filter(({ strategy }) => strategy.honest && strategy.told === undefined).map(({ key }) => key))
  for (let epoch = 0; epoch < size.epochs; epoch++) {
    const made = auditEpoch(world, seed, epoch, state, between)
    const scores = scoreEpoch({
      policy,
      epoch,
      before: state,
      roster,
      records: made.records,
      proven: proofs(world, epoch, state.operators),
      failed: [],
    })
    const shares = new Map(scores.network.operators.map(({ operator, share }) => [operator, Number(share) / 1e9]))
    const fallen = new Map(scores.convictions.map(({ operator, grounds }) => [operator, grounds]))
    for (const [o, { key, strategy }] of operators.entries()) {
      const course = courses[o] as Course
      course.shares.push(shares.get(key) ?? 0)
      const grounds = fallen.get(key)
      if (grounds === undefined) continue
      course.convicted.push(epoch)
      for (const { kind } of grounds) course.grounds.add(kind)
      if (strategy.honest) falseConvictions++
    }
    for (const { operators: judged } of scores.validators)
      for (const { operator, allowance } of judged) if (honest.has(operator) && allowance < 10n ** 18n) beyondAllowance++
    records += made.records.length
    honestAudits += made.honest
    honestAtLevel2 += made.honestAtLevel2
    state = scores.after
    progress(epoch)
  }
  return { courses, records, honestAudits, honestAtLevel2, falseConvictions, beyondAllowance }
}

/**
 * Verified fraud proofs of an epoch, as `verifyFraudProof` would give them to scoring: the first worker of an operator that signs contradictions, with the
 * keyset that it has since its last ban.
 */
function proofs(
  { operators, size }: World,
  epoch: number,
  standings: ReadonlyMap<string, { readonly convictions: number; readonly until: number }>,
): ProvenKeyset[] {
  return operators.flatMap(({ key, strategy, workers }, o) => {
    const standing = standings.get(key)
    if (strategy.proof !== true || (standing !== undefined && standing.until >= epoch)) return []
    return [
      { keyset: digest(0xf0, o * size.workers * 1000 + (standing?.convictions ?? 0)), operator: key, platform: workers[0]?.id.platform ?? null },
    ]
  })
}
