import type { WorkerId } from '../audit/record.ts'
import { divide, max, min, mul, nano, nanoOne, one, quo } from '../numbers/fixed.ts'
import { divideShares } from '../numbers/shares.ts'
import type { ScoringPolicy } from '../policy/policy.ts'
import type { ValidatorScores } from '../rules/validator.ts'
import { byText, workerKey } from '../state/state.ts'

/** A validator's scores with its weight in this epoch. */
export interface Voter {
  readonly operator: string | null
  readonly weight: bigint
  readonly scores: ValidatorScores
}

/** What comes out of all validators. Shares are nano numbers of the whole; weights are of 65,535. */
export interface NetworkScores {
  readonly operators: readonly { readonly operator: string; readonly share: bigint }[]
  readonly workers: readonly { readonly id: WorkerId; readonly share: bigint; readonly weight: number }[]
  readonly unassigned: { readonly share: bigint; readonly weight: number }
  /** Nano numbers from 0 to 1; they share nothing. */
  readonly controllers: readonly { readonly operator: string; readonly score: bigint }[]
}

export const maxWeight = 65_535n

/** Combines the vectors of all validators (spec/scoring.md, "Network"): clipped weighted medians of operators' shares, the cap, then the workers of each. */
export function combine(voters: readonly Voter[], policy: ScoringPolicy): NetworkScores {
  const rows = voters
    .map((voter) => ({ ...voter, sum: voter.scores.operators.reduce((sum, { entry }) => sum + entry, 0n) }))
    .filter(({ weight, sum }) => weight > 0n && sum > 0n)
    .map((voter) => ({ ...voter, entries: new Map(voter.scores.operators.map(({ operator, entry }) => [operator, entry])) }))
  const names = [...new Set(rows.flatMap(({ entries }) => [...entries.keys()]))].sort()
  const combined = names.map((operator) =>
    clipped(
      rows.filter((row) => row.operator !== operator).map(({ weight, sum, entries }) => ({ weight, value: quo(entries.get(operator) ?? 0n, sum) })),
      policy.clip,
    ),
  )
  const shares = capped(combined, policy.cap)
  const workers: { id: WorkerId; share: bigint }[] = []
  for (const [i, operator] of names.entries()) {
    const sums = new Map<string, { id: WorkerId; sum: bigint }>()
    for (const row of rows) {
      const whole = row.entries.get(operator) ?? 0n
      if (row.operator === operator || whole === 0n) continue
      for (const { id, entry } of row.scores.workers) {
        if (id.operator !== operator) continue
        const key = workerKey(id)
        const found = sums.get(key) ?? { id, sum: 0n }
        found.sum += row.weight * quo(entry, whole)
        sums.set(key, found)
      }
    }
    const ordered = [...sums].sort(byText(([key]) => key)).map(([, found]) => found)
    const divided = divideShares(
      shares[i] as bigint,
      ordered.map(({ sum }) => sum),
    )
    for (const [at, share] of divided.entries()) if (share > 0n) workers.push({ id: (ordered[at] as { id: WorkerId }).id, share })
  }
  const unassigned = nanoOne - workers.reduce((sum, { share }) => sum + share, 0n)
  const weights = divideShares(maxWeight, [...workers.map(({ share }) => share), unassigned])
  return {
    operators: names.map((operator, i) => ({ operator, share: shares[i] as bigint })).filter(({ share }) => share > 0n),
    workers: workers.map((worker, i) => ({ ...worker, weight: Number(weights[i]) })),
    unassigned: { share: unassigned, weight: Number(weights[workers.length]) },
    controllers: combineControllers(voters, policy),
  }
}

/** The weighted mean of values, each brought to between the smallest and the largest that validators of weight `clip` support. */
function clipped(values: readonly { readonly weight: bigint; readonly value: bigint }[], clip: bigint): bigint {
  const total = values.reduce((sum, { weight }) => sum + weight, 0n)
  if (total === 0n) return 0n
  const rising = [...values].sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0))
  const low = supported(rising, mul(clip, total * one))
  const high = supported(rising.toReversed(), mul(clip, total * one))
  return divide(
    values.reduce((sum, { weight, value }) => sum + weight * max(low, min(value, high)), 0n),
    total,
  )
}

/** The first of sorted values at which those up to it have the weight that is needed. */
function supported(sorted: readonly { readonly weight: bigint; readonly value: bigint }[], needed: bigint): bigint {
  let support = 0n
  for (const { weight, value } of sorted) {
    support += weight
    if (support * one >= needed) return value
  }
  return 0n
}

/** Shares of the whole, none above the cap: what does not fit goes to nobody. */
function capped(combined: readonly bigint[], policyCap: bigint): bigint[] {
  const sum = combined.reduce((total, value) => total + value, 0n)
  const scored = combined.filter((value) => value > 0n).length
  if (scored === 0) return combined.map(() => 0n)
  const cap = max(policyCap, divide(one, BigInt(scored)))
  const shares = combined.map((value) => nano(min(quo(value, sum), cap)))
  // Rounding up many of them may exceed the whole by a few billionths.
  let excess = shares.reduce((total, share) => total + share, 0n) - nanoOne
  for (let i = shares.length - 1; i >= 0 && excess > 0n; i--)
    if ((shares[i] as bigint) > 0n) {
      shares[i] = (shares[i] as bigint) - 1n
      excess -= 1n
    }
  return shares
}

function combineControllers(voters: readonly Voter[], { clip }: ScoringPolicy): NetworkScores['controllers'] {
  const counting = voters.filter(({ weight }) => weight > 0n)
  const names = [...new Set(counting.flatMap(({ scores }) => scores.controllers.map(({ operator }) => operator)))].sort()
  return names
    .map((operator) => {
      const values = counting.flatMap((voter) => {
        const found = voter.operator === operator ? undefined : voter.scores.controllers.find((one) => one.operator === operator)
        return found === undefined ? [] : [{ weight: voter.weight, value: found.score }]
      })
      return { operator, score: clipped(values, clip) }
    })
    .filter(({ score }) => score > 0n)
}
