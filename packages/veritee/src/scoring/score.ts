import { Shape } from '../bytes/shape.ts'
import type { AuditRecord } from './audit/record.ts'
import { combine, type NetworkScores } from './network/combine.ts'
import { type Convicted, type Conviction, convict, type ProvenKeyset } from './network/convictions.ts'
import { holdersAfter } from './network/platforms.ts'
import { epochWindow, type ScoringPolicy } from './policy/policy.ts'
import { judge } from './rules/charge.ts'
import { Weights } from './rules/evidence.ts'
import { passCounts, type Setting, scoreValidator, type ValidatorScores } from './rules/validator.ts'
import { type Counter, emptyValidator, type ScoringState, type Standing, type ValidatorState, workerKey } from './state/state.ts'

/** Everything that scores of an epoch follow from (spec/scoring.md, "Input of an epoch"). Signatures, proofs and duties were verified by the caller. */
export interface EpochInput {
  readonly policy: ScoringPolicy
  readonly epoch: number
  readonly before: ScoringState
  /** Of the admission manifest in force: operators that take part, and platforms that several may share. */
  readonly roster: { readonly operators: readonly string[]; readonly shared: readonly string[] }
  /** In any order. */
  readonly records: readonly AuditRecord[]
  readonly proven: readonly ProvenKeyset[]
  /** Keys of validators that failed their duties in this epoch. */
  readonly failed: readonly string[]
}

export interface EpochScores {
  readonly validators: readonly (ValidatorScores & { readonly weight: bigint })[]
  readonly convictions: readonly Conviction[]
  readonly network: NetworkScores
  readonly after: ScoringState
}

const shape = new Shape('scoring_input_invalid')

/**
 * Scores one epoch: the pure function of spec/scoring.md. It reads no clock, and the order of records, operators and validators changes nothing; the same input
 * gives the same digits everywhere. It verifies nothing but that records belong to the policy, the epoch and each other.
 * Throws `scoring_input_invalid`.
 */
export function scoreEpoch(input: EpochInput): EpochScores {
  const { policy, epoch, before } = input
  if (before.epoch !== null && before.epoch >= epoch) throw shape.refuse('before', `the state after an epoch before ${epoch}, found ${before.epoch}`)
  const { closes } = epochWindow(policy, epoch)
  const roster = new Set(input.roster.operators)
  const shared = new Set(input.roster.shared)
  const models = new Map(policy.models.map((model) => [model.weights, model]))
  const banned = (standings: ReadonlyMap<string, Standing>): Set<string> =>
    new Set([...standings].filter(([, { until }]) => until >= epoch).map(([key]) => key))
  const bannedOperators = banned(before.operators)
  const groups = grouped(input)
  const failed = new Set(input.failed)
  const sides = policy.validators.map((validator) => ({
    ...validator,
    weight: failed.has(validator.key) || (before.disqualified.get(validator.key) ?? -1) >= epoch ? 0n : validator.weight,
    records: (groups.get(validator.key) ?? []).filter(
      ({ worker }) =>
        worker === null || (roster.has(worker.operator) && !bannedOperators.has(worker.operator) && worker.operator !== validator.operator),
    ),
  }))
  const counts = (pass: AuditRecord): boolean => passCounts({ policy, models }, pass)
  const { holders, excluded } = holdersAfter(before.holders, new Map(sides.map((side) => [side.key, side])), shared, counts)
  const setting: Setting = {
    policy,
    epoch,
    weights: new Weights(policy, closes, before.epoch === null ? 1 : epoch - before.epoch),
    models,
    roster,
    bannedPlatforms: banned(before.platforms),
    excluded,
  }
  const scored = sides.map((side) => ({
    side,
    scores: scoreValidator(side, side.records, before.validators.get(side.key) ?? emptyValidator, setting),
  }))
  const judges = sides.map((side) => ({ ...side, judged: judge(side.records, policy.repeatWindow, counts) }))
  const votes = scored.flatMap(({ scores }) => scores.votes)
  const convicted = convict(epoch, policy, before, judges, { proven: input.proven, votes, shared })
  const fallen = new Set(convicted.convictions.map(({ operator }) => operator))
  const voters = scored.map(({ side, scores }) => ({ ...side, scores: withoutOperators(scores, fallen) }))
  return {
    validators: voters.map(({ scores, weight }) => ({ ...scores, weight })),
    convictions: convicted.convictions,
    network: combine(voters, policy),
    after: stateAfter(input, voters, convicted, holders),
  }
}

/** Records by validator, each checked to belong here. */
function grouped({ policy, epoch, records }: EpochInput): ReadonlyMap<string, AuditRecord[]> {
  const { opens, closes } = epochWindow(policy, epoch)
  const groups = new Map<string, AuditRecord[]>(policy.validators.map(({ key }) => [key, []]))
  const seen = new Map<string, Set<number>>(policy.validators.map(({ key }) => [key, new Set()]))
  for (const record of records) {
    const at = `record ${record.index} of ${record.validator}`
    const group = groups.get(record.validator)
    const indices = seen.get(record.validator)
    if (group === undefined || indices === undefined) throw shape.refuse(at, 'a validator of the policy')
    if (record.network !== policy.network) throw shape.refuse(at, `the network ${JSON.stringify(policy.network)}`)
    if (record.epoch !== epoch) throw shape.refuse(at, `epoch ${epoch}, found ${record.epoch}`)
    if (record.at < opens || record.at >= closes) throw shape.refuse(at, `a time from ${opens} until before ${closes}, found ${record.at}`)
    if (indices.has(record.index)) throw shape.refuse(at, 'each index once')
    indices.add(record.index)
    group.push(record)
  }
  return groups
}

/** Scores with nothing for the operators convicted now. */
function withoutOperators(scores: ValidatorScores, fallen: ReadonlySet<string>): ValidatorScores {
  if (fallen.size === 0) return scores
  return {
    ...scores,
    operators: scores.operators.map((one) => (fallen.has(one.operator) ? { ...one, score: 0n, entry: 0n } : one)),
    workers: scores.workers.map((one) => (fallen.has(one.id.operator) ? { ...one, part: 0n, entry: 0n } : one)),
    ratios: new Map([...scores.ratios].filter(([key]) => !fallen.has(key.slice(0, 64)))),
  }
}

function stateAfter(
  { policy, epoch, before, failed }: EpochInput,
  voters: readonly { readonly key: string; readonly scores: ValidatorScores }[],
  { operators, platforms, votes, keysets }: Convicted,
  holders: ReadonlyMap<string, string>,
): ScoringState {
  const known = new Set(policy.validators.map(({ key }) => key))
  const disqualified = new Map([...before.disqualified].filter(([key, until]) => until > epoch && known.has(key)))
  for (const key of failed) if (known.has(key)) disqualified.set(key, epoch + 1)
  return {
    epoch,
    validators: new Map(voters.map(({ key, scores }) => [key, validatorState(scores)])),
    operators,
    platforms,
    votes,
    holders,
    disqualified,
    keysets,
  }
}

function validatorState({ operators, workers, controllers, paths, ratios }: ValidatorScores): ValidatorState {
  const some = ({ trials }: Counter): boolean => trials !== 0n
  return {
    operators: new Map(
      operators
        .filter(({ quality, availability, mismatches: { failures, allowed }, score }) =>
          [quality.trials, availability.trials, failures, allowed, score].some((number) => number !== 0n),
        )
        .map(({ operator, quality, availability, mismatches, score }) => [operator, { quality, availability, mismatches, score }]),
    ),
    workers: new Map(
      workers
        .filter(({ quality, availability, part }) => some(quality) || some(availability) || part !== 0n)
        .map(({ id, quality, availability, part }) => [workerKey(id), { id, quality, availability, part }]),
    ),
    controllers: new Map(
      controllers
        .filter(({ quality, availability, score }) => some(quality) || some(availability) || score !== 0n)
        .map(({ operator, quality, availability, score }) => [operator, { quality, availability, score }]),
    ),
    paths,
    ratios,
  }
}
