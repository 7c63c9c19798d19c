import type { WorkerId } from '../audit/record.ts'

/** Successes and trials, weighted by age; nano numbers. */
export interface Counter {
  readonly successes: bigint
  readonly trials: bigint
}

export interface OperatorState {
  readonly quality: Counter
  readonly availability: Counter
  /** Nano. */
  readonly score: bigint
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
  readonly controllers: ReadonlyMap<string, OperatorState>
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

export const emptyValidator: ValidatorState = { operators: new Map(), workers: new Map(), controllers: new Map(), ratios: new Map() }
export const emptyCounter: Counter = { successes: 0n, trials: 0n }

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
