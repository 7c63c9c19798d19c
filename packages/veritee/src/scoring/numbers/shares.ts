/**
 * Divides n over parties by largest remainder (spec/scoring.md, "Numbers"): each gets n * w / W rounded down, what is left goes one by one to the largest
 * remainders, of equal ones to the earlier party. The sum is n; all are 0 where no weight is above 0. Throws `RangeError` for a weight below 0.
 */
export function divideShares(n: bigint, weights: readonly bigint[]): bigint[] {
  let total = 0n
  for (const weight of weights) {
    if (weight < 0n) throw new RangeError('divideShares: expected weights from zero')
    total += weight
  }
  if (total === 0n) return weights.map(() => 0n)
  const shares = weights.map((weight) => (n * weight) / total)
  let left = n
  for (const share of shares) left -= share
  const byRemainder = weights
    .map((weight, index) => ({ index, rest: (n * weight) % total }))
    .sort((a, b) => (a.rest === b.rest ? a.index - b.index : a.rest > b.rest ? -1 : 1))
  for (let i = 0; BigInt(i) < left; i++) {
    const { index } = byRemainder[i] as { index: number }
    shares[index] = (shares[index] as bigint) + 1n
  }
  return shares
}

/** Lower median: the element (n - 1) // 2 in rising order; null without any. */
export function lowerMedian(values: readonly bigint[]): bigint | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  return sorted[(sorted.length - 1) >> 1] as bigint
}
