import { divide, fine, mul, nano, nanoOne, one, quo } from '../numbers/fixed.ts'
import type { ScoringPolicy } from '../policy/policy.ts'
import { byText, maxPaths, type PathState } from '../state/state.ts'
import { type Judged, pathOf } from './charge.ts'
import type { Weights } from './evidence.ts'

/** What the paths of one validator say of one operator together (spec/scoring.md, "Paths"). */
export interface Heard {
  /** Controllers whose word on the operator is not taken, rising. */
  readonly leftOut: readonly string[]
  /** Whether what came by a path counts for the operator. */
  readonly takes: (path: string) => boolean
  /** Fine number: what the work through the controllers that are taken stands for, over all of them. */
  readonly scale: bigint
}

export interface Compared {
  readonly of: (operator: string) => Heard
  /** Fine number from 0 to 1: the part of all work on whose operators the path agrees with the others. */
  readonly agreement: (path: string) => bigint
  readonly after: ReadonlyMap<string, PathState>
}

/** What came by paths, nano numbers. */
interface Table {
  readonly trials: ReadonlyMap<string, bigint>
  readonly tokens: (path: string, operator: string) => bigint
  /** Tokens of an answer that counts as one in how far sums of tokens scatter; 0 where nothing passed. */
  readonly unit: bigint
}

/** Sums over the records of an epoch. */
class Sums implements Table {
  readonly trials: Map<string, bigint> = new Map()
  readonly squares: Map<string, bigint> = new Map()
  readonly work: Map<string, Map<string, bigint>> = new Map()

  addTrial(path: string, weight: bigint): void {
    add(this.trials, path, weight)
  }

  addWork(path: string, operator: string, tokens: bigint): void {
    const row = this.work.get(path) ?? new Map<string, bigint>()
    this.work.set(path, row)
    add(row, operator, tokens)
    add(this.squares, path, tokens * tokens)
  }

  tokens(path: string, operator: string): bigint {
    return this.work.get(path)?.get(operator) ?? 0n
  }

  get unit(): bigint {
    return unitOf(sumOf(this.squares.values()), sumOf([...this.work.values()].map((row) => sumOf(row.values()))))
  }
}

function add(sums: Map<string, bigint>, key: string, added: bigint): void {
  sums.set(key, (sums.get(key) ?? 0n) + added)
}

function sumOf(values: Iterable<bigint>): bigint {
  let sum = 0n
  for (const value of values) sum += value
  return sum
}

const unitOf = (squares: bigint, tokens: bigint): bigint => (tokens === 0n ? 0n : divide(squares, tokens))

/**
 * Compares what the controllers that one validator asks show of each operator (rule S19): the tokens that passed, for each request that the validator sent by
 * a path. A path that shows far more or far less than the others together is left out for that operator, as long as the others carry more than half.
 */
export function comparePaths(
  judged: readonly Judged[],
  before: ReadonlyMap<string, PathState>,
  { weights, policy, roster }: { readonly weights: Weights; readonly policy: ScoringPolicy; readonly roster: ReadonlySet<string> },
): Compared {
  const now = new Sums()
  const aged = new Sums()
  for (const { record, own, outcome } of judged) {
    const path = pathOf(record)
    if (!own || !roster.has(path)) continue
    const weight = weights.at(record.at)
    now.addTrial(path, nanoOne)
    aged.addTrial(path, weight)
    if (outcome !== 'pass' || record.worker === null) continue
    const tokens = BigInt(record.output_tokens)
    now.addWork(path, record.worker.operator, tokens * nanoOne)
    aged.addWork(path, record.worker.operator, tokens * weight)
  }
  const after = pathsAfter(aged, before, weights, roster)
  const paths = [...after.keys()]
  const lasting: Table = {
    trials: new Map([...after].map(([path, { trials }]) => [path, trials])),
    tokens: (path, operator) => after.get(path)?.work.get(operator) ?? 0n,
    unit: unitOf(
      sumOf([...after.values()].map(({ squares }) => squares)) * nanoOne,
      sumOf([...after.values()].map(({ work }) => sumOf(work.values()))),
    ),
  }
  const present: Table = { trials: now.trials, tokens: (path, operator) => now.tokens(path, operator), unit: now.unit }
  const all = total(paths, present)
  const heard = (operator: string): Heard => {
    const taken = new Set(agreeing(agreeing(paths, paths, operator, lasting, policy.z), paths, operator, present, policy.z))
    const counted = total([...taken], present)
    return {
      leftOut: paths.filter((path) => !taken.has(path)),
      // Nobody stands in a direct connection, and how often it is used says nothing about the worker.
      takes: (path) => path === '' || taken.has(path),
      scale: counted === 0n ? 0n : quo(all, counted),
    }
  }
  const known = new Map<string, Heard>()
  const of = (operator: string): Heard => {
    const found = known.get(operator) ?? heard(operator)
    known.set(operator, found)
    return found
  }
  return { of, agreement: agreementIn(after, of), after }
}

/** The counters of paths after the epoch, rising: of those with the most trials. */
function pathsAfter(
  aged: Sums,
  before: ReadonlyMap<string, PathState>,
  weights: Weights,
  roster: ReadonlySet<string>,
): ReadonlyMap<string, PathState> {
  const found = [...new Set([...before.keys(), ...aged.trials.keys()])]
    .filter((path) => roster.has(path))
    .map((path): readonly [string, PathState] => {
      const was = before.get(path)
      const operators = [...new Set([...(was?.work.keys() ?? []), ...(aged.work.get(path)?.keys() ?? [])])].filter((operator) => roster.has(operator))
      const work = operators.map((operator) => [operator, weights.grown(was?.work.get(operator) ?? 0n, aged.tokens(path, operator))] as const)
      return [
        path,
        {
          trials: weights.grown(was?.trials ?? 0n, aged.trials.get(path) ?? 0n),
          squares: nano(mul(mul(fine(was?.squares ?? 0n), weights.carry), weights.carry) + divide(aged.squares.get(path) ?? 0n, one)),
          work: new Map(work.filter(([, tokens]) => tokens !== 0n)),
        },
      ]
    })
  const most = found
    .filter(([, { trials }]) => trials !== 0n)
    .sort(([a, x], [b, y]) => (x.trials === y.trials ? (a < b ? -1 : 1) : x.trials > y.trials ? -1 : 1))
    .slice(0, maxPaths)
  return new Map(most.sort(byText(([path]) => path)))
}

const total = (paths: readonly string[], { trials }: Pick<Table, 'trials'>): bigint => sumOf(paths.map((path) => trials.get(path) ?? 0n))

/**
 * Of `from`, the paths that agree on an operator: while one is further off than chance lets it, the one furthest off goes, unless half of the trials or two paths
 * would not be left.
 */
function agreeing(from: readonly string[], all: readonly string[], operator: string, table: Table, z: bigint): readonly string[] {
  const { unit } = table
  if (unit === 0n) return from
  const half = total(all, table)
  const limit = mul(z, z)
  let left = from
  while (left.length > 2) {
    const trials = total(left, table)
    const tokens = sumOf(left.map((path) => table.tokens(path, operator)))
    let furthest: { readonly path: string; readonly off: bigint } | null = null
    for (const path of left) {
      const own = table.trials.get(path) ?? 0n
      const rest = trials - own
      if (2n * rest <= half) continue
      const shown = table.tokens(path, operator)
      const expected = divide(own * (tokens - shown), rest)
      // The variance of the difference where all paths are alike, and a little for small numbers, which are not normal.
      const variance = unit * (divide(own * tokens, rest) + mul(limit, unit))
      const off = variance === 0n ? 0n : divide((shown - expected) ** 2n * one, variance)
      if (off > limit && (furthest === null || off > furthest.off)) furthest = { path, off }
    }
    if (furthest === null) break
    const { path } = furthest
    left = left.filter((one) => one !== path)
  }
  return left
}

function agreementIn(after: ReadonlyMap<string, PathState>, of: (operator: string) => Heard): (path: string) => bigint {
  const work = new Map<string, bigint>()
  for (const { work: row } of after.values()) for (const [operator, tokens] of row) work.set(operator, (work.get(operator) ?? 0n) + tokens)
  const all = [...work.values()].reduce((sum, tokens) => sum + tokens, 0n)
  const off = new Map<string, bigint>()
  for (const [operator, tokens] of work) for (const path of of(operator).leftOut) off.set(path, (off.get(path) ?? 0n) + tokens)
  return (path) => (all === 0n ? one : quo(all - (off.get(path) ?? 0n), all))
}
