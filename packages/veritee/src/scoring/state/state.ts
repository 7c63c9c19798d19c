import type { WorkerId } from '../audit/record.ts'

/** Successes and trials, weighted by age; nano numbers. */
export interface Counter {
  readonly successes: bigint
  readonly trials: bigint
}

export interface PartyState {
  readonly quality: Counter
  readonly availability: Counter
  /** Nano. */
  readonly score: bigint
}

/** Replays at level 2 that failed, and how many failures calibrations allow for as many, weighted by age; nano numbers. */
export interface Mismatches {
  readonly failures: bigint
  readonly allowed: bigint
}

export interface OperatorState extends PartyState {
  readonly mismatches: Mismatches
}

/** More paths than a validator needs; whoever writes records must not make comparing them take for ever. */
export const maxPaths = 64

/** What came through the controllers of one operator, weighted by age; nano numbers. */
export interface PathState {
  /** Requests of the validator. */
  readonly trials: bigint
  /** Sum of the squares of the tokens of each answer that passed: how far sums of them scatter. */
  readonly squares: bigint
  /** Tokens that passed, by operator. */
  readonly work: ReadonlyMap<string, bigint>
}

export interface WorkerState {
  readonly id: WorkerId
  readonly quality: Counter
  readonly availability: Counter
  /** Of its operator's score, nano. */
  readonly part: bigint
}

/** What one validator's records have led to so far. */
export interface ValidatorState {
  readonly operators: ReadonlyMap<string, OperatorState>
  /** By {@link workerKey}. */
  readonly workers: ReadonlyMap<string, WorkerState>
  readonly controllers: ReadonlyMap<string, PartyState>
  /** By operator of the first controller. */
  readonly paths: ReadonlyMap<string, PathState>
  /** Logarithms of likelihood ratios, nano, by {@link ratioKey}; those of 0 are absent. */
  readonly ratios: ReadonlyMap<string, bigint>
}

export interface Standing {
  readonly convictions: number
  /** Banned through this epoch. */
  readonly until: number
}

export interface Vote {
  readonly validator: string
  readonly operator: string
  readonly platform: string | null
  readonly epoch: number
}

/** What an epoch hands to the next. Normative: spec/scoring.md, "State". */
export interface ScoringState {
  /** The last epoch that is in it; null before the first. */
  readonly epoch: number | null
  readonly validators: ReadonlyMap<string, ValidatorState>
  readonly operators: ReadonlyMap<string, Standing>
  readonly platforms: ReadonlyMap<string, Standing>
  readonly votes: readonly Vote[]
  /** Platform to operator. */
  readonly holders: ReadonlyMap<string, string>
  /** Validator to the last epoch in which it has no weight. */
  readonly disqualified: ReadonlyMap<string, number>
  /** Keysets that a proof convicted. */
  readonly keysets: ReadonlySet<string>
}

export const emptyState: ScoringState = {
  epoch: null,
  validators: new Map(),
  operators: new Map(),
  platforms: new Map(),
  votes: [],
  holders: new Map(),
  disqualified: new Map(),
  keysets: new Set(),
}

export const emptyValidator: ValidatorState = {
  operators: new Map(),
  workers: new Map(),
  controllers: new Map(),
  paths: new Map(),
  ratios: new Map(),
}
export const emptyCounter: Counter = { successes: 0n, trials: 0n }
export const noMismatches: Mismatches = { failures: 0n, allowed: 0n }

/** A text for each worker, whose order is that of operator, platform and slot. */
export function workerKey({ operator, platform, slot }: WorkerId): string {
  return `${operator}/${platform}/${String(slot).padStart(5, '0')}`
}

/** A text for the ratio of an operator (`worker` null) or worker, for a model. */
export function ratioKey(operator: string, worker: WorkerId | null, model: string): string {
  return worker === null ? `${operator}//${model}` : `${workerKey(worker)}/${model}`
}

export function byText<T>(key: (item: T) => string): (a: T, b: T) => number {
  return (a, b) => {
    const left = key(a)
    const right = key(b)
    return left < right ? -1 : left > right ? 1 : 0
  }
}
