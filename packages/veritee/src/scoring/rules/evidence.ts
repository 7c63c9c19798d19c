import { divide, fine, max, min, mul, nano, one } from '../numbers/fixed.ts'
import { half } from '../numbers/real.ts'
import type { PolicyModel, ScoringPolicy } from '../policy/policy.ts'
import type { Counter } from '../state/state.ts'
import { type Judged, pathOf } from './charge.ts'
import { mismatchOf } from './mismatches.ts'
import type { Heard } from './paths.ts'

/** Latency and speed of the answers that came by one path, fine numbers from 0 to 1. */
export interface PathTimings {
  readonly latency: bigint[]
  readonly speed: bigint[]
}

/** How much a trial at a time counts at the end of the epoch. Remembers: many records share a second. */
export class Weights {
  readonly #known = new Map<number, bigint>()
  readonly #closes: number
  readonly #halfLife: number
  /** Of what was there before the epoch. */
  readonly carry: bigint

  /** `epochs`: from the one that the state is after to this one; more than one where some were left out. */
  constructor({ epoch, halfLife }: ScoringPolicy, closes: number, epochs: number) {
    this.#closes = closes
    this.#halfLife = halfLife
    this.carry = half(epochs * epoch.length, halfLife)
  }

  at(seconds: number): bigint {
    const known = this.#known.get(seconds)
    if (known !== undefined) return known
    const weight = half(this.#closes - seconds, this.#halfLife)
    this.#known.set(seconds, weight)
    return weight
  }

  /** A counter after the epoch: what was before, aged, and the trials of the epoch. */
  after(before: Counter, { successes, trials }: { readonly successes: bigint; readonly trials: bigint }): Counter {
    return { successes: this.grown(before.successes, successes), trials: this.grown(before.trials, trials) }
  }

  /** A nano number, aged, and what the epoch adds to it (fine). */
  grown(before: bigint, added: bigint): bigint {
    return nano(mul(fine(before), this.carry) + added)
  }
}

/** What the records of one epoch say of one worker, or of one operator as a whole (spec/scoring.md, "Trials" and "Factors"). */
export class Evidence {
  readonly quality = { successes: 0n, trials: 0n }
  readonly availability = { successes: 0n, trials: 0n }
  readonly paths = new Map<string, PathTimings>()
  readonly mismatches = { failures: 0n, allowed: 0n }
  /** Output tokens of the validator's own requests that passed, by paths that are taken. */
  work = 0n
  /** Those of them that came through controllers. */
  relayed = 0n
  inconclusive = 0
  judged = 0
  #last: { readonly at: number; readonly index: number; readonly pause: boolean } | null = null

  add(judged: Judged, age: bigint, model: PolicyModel | undefined, heard: Heard): void {
    const { record, own, outcome, class: faultClass, charged } = judged
    if (record.kind === 'confirmation') return
    if (outcome === 'fault' && charged !== 'worker') return
    this.#compare(judged, age, model)
    if (outcome !== 'inconclusive') this.#note(record.at, record.index, faultClass === 'pause')
    if (outcome === 'pass' && own) this.#time(record, model)
    const path = own ? pathOf(record) : ''
    const taken = heard.takes(path)
    // A fault that is the worker's stays one, whoever carried it.
    if (!taken && outcome !== 'fault') return
    const weight = path !== '' && taken && heard.scale !== one ? mul(age, heard.scale) : age
    this.judged++
    if (outcome === 'inconclusive') this.inconclusive++
    if (outcome === 'pass' && own) {
      this.work += BigInt(record.output_tokens)
      if (path !== '') this.relayed += BigInt(record.output_tokens)
    }
    if ((outcome === 'pass' && own) || faultClass === 'honesty') count(this.quality, weight, outcome === 'pass')
    if (own) count(this.availability, weight, faultClass !== 'availability')
  }

  /** Its last record that is a pass, or a fault it is charged with, is of evidence that is not accepted. */
  get paused(): boolean {
    return this.#last?.pause ?? false
  }

  #note(at: number, index: number, pause: boolean): void {
    const last = this.#last
    if (last === null || at > last.at || (at === last.at && index > last.index)) this.#last = { at, index, pause }
  }

  #compare(judged: Judged, weight: bigint, model: PolicyModel | undefined): void {
    const found = mismatchOf(judged, model)
    if (found === null) return
    this.mismatches.allowed += mul(weight, found.allowed)
    if (found.failed) this.mismatches.failures += weight
  }

  #time(record: Judged['record'], model: PolicyModel | undefined): void {
    const { timings, output_tokens: tokens } = record
    if (timings === null || model === undefined) return
    const { worker, validator } = timings
    // The larger of the two: what a worker signs can only make it slower.
    const first = max(1n, BigInt(Math.max(validator.first_ms, worker?.first_ms ?? 0)))
    const total = max(1n, BigInt(Math.max(validator.total_ms, worker?.total_ms ?? 0)))
    const key = pathOf(record)
    const path = this.paths.get(key) ?? { latency: [], speed: [] }
    this.paths.set(key, path)
    path.latency.push(min(one, divide(model.firstMs * one, first)))
    path.speed.push(min(one, divide(BigInt(tokens) * 1000n * one * one, total * model.tokensPerSecond)))
  }
}

function count(counter: { successes: bigint; trials: bigint }, weight: bigint, success: boolean): void {
  counter.trials += weight
  if (success) counter.successes += weight
}
