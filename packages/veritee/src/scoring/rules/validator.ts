import type { AuditRecord, WorkerId } from '../audit/record.ts'
import { divide, mul, nano, one } from '../numbers/fixed.ts'
import { pow } from '../numbers/real.ts'
import { divideShares } from '../numbers/shares.ts'
import type { PolicyModel, ScoringPolicy } from '../policy/policy.ts'
import {
  byText,
  emptyCounter,
  noMismatches,
  type OperatorState,
  type PathState,
  type ValidatorState,
  type Vote,
  type WorkerState,
  workerKey,
} from '../state/state.ts'
import { type Judged, judge } from './charge.ts'
import { type ControllerScore, scoreControllers } from './controllers.ts'
import { Evidence, type Weights } from './evidence.ts'
import { type Factors, factors, followed } from './factors.ts'
import { withinAllowance } from './mismatches.ts'
import { type Compared, comparePaths, type Heard } from './paths.ts'
import { runTests } from './ratios.ts'

/** Why a worker does not count in an epoch. */
export type NotCounted = 'platform_banned' | 'platform_excluded' | 'paused' | 'inconclusive'

/** What one validator makes of an operator: every number on the way to its score. Factors are fine numbers, the others nano or counts. */
export interface OperatorScore extends OperatorState, Factors {
  readonly operator: string
  /** Tokens, those through controllers that are left out made up for by the others. */
  readonly work: bigint
  /** Operators of controllers whose word on it is not taken. */
  readonly leftOut: readonly string[]
  /** Fine number from 0 to 1: see {@link withinAllowance}. */
  readonly allowance: bigint
  readonly judged: number
  readonly inconclusive: number
  readonly unscored: boolean
  readonly raw: bigint
  readonly before: bigint
  /** What stands in the vector: the score, or 0 where it is unscored. */
  readonly entry: bigint
}

export interface WorkerScore extends WorkerState, Factors {
  readonly work: bigint
  /** The part of the work that came through controllers. */
  readonly relayed: bigint
  readonly judged: number
  readonly inconclusive: number
  readonly notCounted: NotCounted | null
  readonly entry: bigint
}

export interface ValidatorScores {
  readonly validator: string
  readonly operators: readonly OperatorScore[]
  readonly workers: readonly WorkerScore[]
  readonly controllers: readonly ControllerScore[]
  readonly paths: ReadonlyMap<string, PathState>
  readonly ratios: ReadonlyMap<string, bigint>
  readonly votes: readonly Vote[]
}

/** What all validators of an epoch share. */
export interface Setting {
  readonly policy: ScoringPolicy
  readonly epoch: number
  readonly weights: Weights
  readonly models: ReadonlyMap<string, PolicyModel>
  /** Operators that take part. */
  readonly roster: ReadonlySet<string>
  readonly bannedPlatforms: ReadonlySet<string>
  /** True for workers on a platform that another operator holds. */
  readonly excluded: (worker: WorkerId) => boolean
}

/** True for a pass that counts: of a model of the policy, and in its log where it has one. */
export function passCounts({ policy: { log }, models }: Pick<Setting, 'policy' | 'models'>, { model, view }: AuditRecord): boolean {
  return model !== null && models.has(model.weights) && (log === 'any' || view?.log?.origin === log.origin)
}

/**
 * Scores one epoch from the records of one validator (spec/scoring.md, "One validator"). Records have been checked and those that are left out are gone; their order
 * does not matter. Convictions are not applied: they take all validators.
 */
export function scoreValidator(
  { key, operator: own }: { readonly key: string; readonly operator: string | null },
  records: readonly AuditRecord[],
  before: ValidatorState,
  setting: Setting,
): ValidatorScores {
  const { policy, roster, models, epoch, weights } = setting
  const judged = judge(records, policy.repeatWindow, (pass) => passCounts(setting, pass))
  const compared = comparePaths(judged, before.paths, { weights, policy, roster })
  const { byOperator, byWorker } = gather(judged, weights, models, before, roster, compared)
  const workersOf = new Map<string, WorkerScore[]>()
  for (const [worker, { id, evidence }] of byWorker) {
    const found = scoreWorker(id, evidence, before.workers.get(worker), weights, setting)
    const others = workersOf.get(id.operator)
    if (others === undefined) workersOf.set(id.operator, [found])
    else others.push(found)
  }
  const operators: OperatorScore[] = []
  const workers: WorkerScore[] = []
  for (const [operator, evidence] of byOperator) {
    const own = (workersOf.get(operator) ?? []).sort(byText(({ id }) => workerKey(id)))
    const scored = scoreOperator(operator, evidence, own, compared.of(operator), before.operators.get(operator), weights, policy)
    operators.push(scored)
    workers.push(...divided(scored, own))
  }
  return {
    validator: key,
    operators: operators.sort(byText(({ operator }) => operator)),
    workers: workers.sort(byText(({ id }) => workerKey(id))),
    controllers: scoreControllers(judged, before.controllers, { weights, policy, roster, own, agreement: compared.agreement }),
    paths: compared.after,
    ...runTests(judged, before.ratios, { policy, models, epoch }),
  }
}

/** The evidence of the epoch by operator and by worker, with an empty one for whoever is known from before only. */
function gather(
  judged: readonly Judged[],
  weights: Weights,
  models: ReadonlyMap<string, PolicyModel>,
  before: ValidatorState,
  roster: ReadonlySet<string>,
  compared: Compared,
): { byOperator: ReadonlyMap<string, Evidence>; byWorker: ReadonlyMap<string, { id: WorkerId; evidence: Evidence }> } {
  const byOperator = new Map<string, Evidence>()
  const byWorker = new Map<string, { id: WorkerId; evidence: Evidence }>()
  for (const operator of before.operators.keys()) if (roster.has(operator)) byOperator.set(operator, new Evidence())
  for (const [key, { id }] of before.workers) if (roster.has(id.operator)) byWorker.set(key, { id, evidence: new Evidence() })
  for (const item of judged) {
    const { worker, model, at } = item.record
    if (worker === null) continue
    const key = workerKey(worker)
    const ofWorker = byWorker.get(key) ?? { id: worker, evidence: new Evidence() }
    const ofOperator = byOperator.get(worker.operator) ?? new Evidence()
    byWorker.set(key, ofWorker)
    byOperator.set(worker.operator, ofOperator)
    const weight = weights.at(at)
    const known = model === null ? undefined : models.get(model.weights)
    const heard = compared.of(worker.operator)
    ofWorker.evidence.add(item, weight, known, heard)
    ofOperator.add(item, weight, known, heard)
  }
  for (const { id } of byWorker.values()) if (!byOperator.has(id.operator)) byOperator.set(id.operator, new Evidence())
  return { byOperator, byWorker }
}

function scoreWorker(id: WorkerId, evidence: Evidence, before: WorkerState | undefined, weights: Weights, setting: Setting): WorkerScore {
  const quality = weights.after(before?.quality ?? emptyCounter, evidence.quality)
  const availability = weights.after(before?.availability ?? emptyCounter, evidence.availability)
  const notCounted = whyNot(id, evidence, setting)
  const { judged, inconclusive } = evidence
  return {
    id,
    ...factors({ quality, availability }, one, evidence, setting.policy),
    quality,
    availability,
    work: notCounted === null ? evidence.work : 0n,
    relayed: notCounted === null ? evidence.relayed : 0n,
    judged,
    inconclusive,
    notCounted,
    part: before?.part ?? 0n,
    entry: 0n,
  }
}

function whyNot(id: WorkerId, evidence: Evidence, { bannedPlatforms, excluded, policy }: Setting): NotCounted | null {
  if (bannedPlatforms.has(id.platform)) return 'platform_banned'
  if (excluded(id)) return 'platform_excluded'
  if (evidence.paused) return 'paused'
  return tooInconclusive(evidence, policy) ? 'inconclusive' : null
}

/** Rule S23: whoever cannot be replayed earns nothing. */
function tooInconclusive({ inconclusive, judged }: Evidence, { maxInconclusive }: ScoringPolicy): boolean {
  return BigInt(inconclusive) * one > maxInconclusive * BigInt(judged)
}

function scoreOperator(
  operator: string,
  evidence: Evidence,
  workers: readonly WorkerScore[],
  { scale, leftOut }: Heard,
  before: OperatorState | undefined,
  weights: Weights,
  policy: ScoringPolicy,
): OperatorScore {
  const quality = weights.after(before?.quality ?? emptyCounter, evidence.quality)
  const availability = weights.after(before?.availability ?? emptyCounter, evidence.availability)
  const was = before?.mismatches ?? noMismatches
  const mismatches = {
    failures: weights.grown(was.failures, evidence.mismatches.failures),
    allowed: weights.grown(was.allowed, evidence.mismatches.allowed),
  }
  const allowance = withinAllowance(mismatches, policy.z)
  const found = factors({ quality, availability }, allowance, evidence, policy)
  const relayed = workers.reduce((sum, worker) => sum + worker.relayed, 0n)
  const direct = workers.reduce((sum, worker) => sum + worker.work, 0n) - relayed
  // Scaled as a whole: rounding for each worker would pay for splitting.
  const work = direct + divide(relayed * scale, one)
  const unscored = tooInconclusive(evidence, policy)
  // The exponent is on the work of the operator as a whole (rule S18): spreading it over more workers gains nothing.
  const raw = work === 0n || unscored ? 0n : nano(mul(found.goodness, pow(work * one, policy.exponents.work)))
  const score = followed(before?.score ?? 0n, raw, policy)
  const { judged, inconclusive } = evidence
  return {
    operator,
    ...found,
    quality,
    availability,
    mismatches,
    allowance,
    leftOut,
    work,
    judged,
    inconclusive,
    unscored,
    raw,
    before: before?.score ?? 0n,
    score,
    entry: unscored ? 0n : score,
  }
}

/** An operator's score over its workers that count: by work and goodness, else by work, else by what they had. */
function divided({ score, entry }: OperatorScore, workers: readonly WorkerScore[]): WorkerScore[] {
  const counted = workers.map(({ notCounted }) => (notCounted === null ? 1n : 0n))
  const candidates = [
    workers.map(({ work, goodness }) => mul(work * one, goodness)),
    workers.map(({ work }) => work),
    workers.map(({ part }, i) => part * (counted[i] as bigint)),
  ]
  const by = candidates.find((list) => list.some((weight) => weight > 0n)) ?? workers.map(() => 0n)
  const parts = divideShares(score, by)
  const entries = divideShares(entry, by)
  return workers.map((worker, i) => ({ ...worker, part: parts[i] as bigint, entry: entries[i] as bigint }))
}
