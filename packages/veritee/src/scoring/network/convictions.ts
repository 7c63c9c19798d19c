import type { ScoringPolicy } from '../policy/policy.ts'
import type { Judged } from '../rules/charge.ts'
import { byText, type ScoringState, type Standing, type Vote } from '../state/state.ts'
import { confirmedMismatches } from './confirmations.ts'

/** A verified fraud proof against a worker. */
export interface ProvenKeyset {
  readonly keyset: string
  readonly operator: string
  /** The machine's name in the network; null where it cannot be told. */
  readonly platform: string | null
}

export type Ground =
  | { readonly kind: 'proof'; readonly keyset: string }
  | {
      readonly kind: 'level1'
      readonly validator: string
      readonly index: number
      /** Validators that found the same, by rising key. */
      readonly confirmed_by: readonly string[]
    }
  | { readonly kind: 'level2'; readonly validator: string; readonly epoch: number; readonly platform: string | null }

export interface Conviction {
  readonly operator: string
  /** Those that are banned with it. */
  readonly platforms: readonly string[]
  readonly grounds: readonly Ground[]
  /** Banned through this epoch. */
  readonly until: number
}

export interface Convicted {
  readonly convictions: readonly Conviction[]
  readonly operators: ReadonlyMap<string, Standing>
  readonly platforms: ReadonlyMap<string, Standing>
  readonly votes: readonly Vote[]
  readonly keysets: ReadonlySet<string>
}

/** A validator as convictions see it: weight in this epoch, records after who is charged. */
export interface Judge {
  readonly key: string
  readonly operator: string | null
  readonly weight: bigint
  readonly judged: readonly Judged[]
}

/**
 * Who is convicted in an epoch, on which grounds, and for how long (spec/scoring.md, "Convictions"; rules S5, S17, S18). Only what enough others confirm, or
 * the accused itself has signed, convicts; never what is unattributable, and never attestation alone.
 */
export function convict(
  epoch: number,
  policy: ScoringPolicy,
  before: ScoringState,
  judges: readonly Judge[],
  { proven, votes, shared }: { readonly proven: readonly ProvenKeyset[]; readonly votes: readonly Vote[]; readonly shared: ReadonlySet<string> },
): Convicted {
  const grounds = new Map<string, { grounds: Ground[]; platforms: Set<string> }>()
  const accuse = (operator: string, platform: string | null, ground: Ground): void => {
    const found = grounds.get(operator) ?? { grounds: [], platforms: new Set() }
    grounds.set(operator, found)
    found.grounds.push(ground)
    if (platform !== null && !shared.has(platform)) found.platforms.add(platform)
  }
  const keysets = new Set(before.keysets)
  for (const { keyset, operator, platform } of [...proven].sort(byText((one) => one.keyset))) {
    if (keysets.has(keyset)) continue
    keysets.add(keyset)
    accuse(operator, platform, { kind: 'proof', keyset })
  }
  for (const { validator, index, worker, by } of confirmedMismatches(judges, policy.confirmations))
    accuse(worker.operator, worker.platform, { kind: 'level1', validator, index, confirmed_by: by })
  const standing = latest([...before.votes.filter((vote) => epoch < vote.epoch + policy.sprt.voteEpochs), ...votes])
  const weights = new Map(judges.map((one) => [one.key, one]))
  for (const [operator, against] of groupByOperator(standing)) {
    const judging = judges.filter((one) => one.weight > 0n && one.operator !== operator)
    const all = judging.reduce((sum, { weight }) => sum + weight, 0n)
    const voters = new Set(against.map(({ validator }) => validator).filter((key) => judging.some((one) => one.key === key)))
    const weight = [...voters].reduce((sum, key) => sum + (weights.get(key)?.weight ?? 0n), 0n)
    if (2n * weight <= all) continue
    for (const vote of against)
      if (voters.has(vote.validator))
        accuse(operator, vote.platform, { kind: 'level2', validator: vote.validator, epoch: vote.epoch, platform: vote.platform })
  }
  const operators = new Map(before.operators)
  const platforms = new Map(before.platforms)
  const convictions = [...grounds].sort(byText(([operator]) => operator)).map(([operator, found]): Conviction => {
    const named = [...found.platforms].sort()
    // The numbers before this epoch, also where two operators are convicted for one platform.
    const k = Math.max(before.operators.get(operator)?.convictions ?? 0, ...named.map((platform) => before.platforms.get(platform)?.convictions ?? 0))
    const until = epoch + 2 ** Math.min(k, policy.ban.maxExponent)
    ban(operators, operator, until)
    for (const platform of named) ban(platforms, platform, until)
    return { operator, platforms: named, grounds: found.grounds, until }
  })
  return { convictions, operators, platforms, votes: standing.filter(({ operator }) => !grounds.has(operator)), keysets }
}

function ban(standings: Map<string, Standing>, key: string, until: number): void {
  const before = standings.get(key)
  standings.set(key, { convictions: (before?.convictions ?? 0) + 1, until: Math.max(until, before?.until ?? 0) })
}

/** One vote for each validator, operator and platform: the latest, in that order. */
function latest(votes: readonly Vote[]): Vote[] {
  const found = new Map<string, Vote>()
  for (const vote of votes) {
    const key = voteKey(vote)
    const other = found.get(key)
    if (other === undefined || other.epoch < vote.epoch) found.set(key, vote)
  }
  return [...found.values()].sort(byText(voteKey))
}

export function voteKey({ validator, operator, platform }: Vote): string {
  return `${validator}/${operator}/${platform ?? ''}`
}

function groupByOperator(votes: readonly Vote[]): ReadonlyMap<string, readonly Vote[]> {
  const found = new Map<string, Vote[]>()
  for (const vote of votes) {
    const group = found.get(vote.operator)
    if (group === undefined) found.set(vote.operator, [vote])
    else group.push(vote)
  }
  return found
}
