/** What one audit concluded about one worker. `inconclusive` and `unattributable` count neither for nor against it. */
export type AuditVerdict = 'pass' | 'fail' | 'inconclusive' | 'unattributable'

/** One published audit: who, what, why, and the receipt it rests on. No content and no digest of content. */
export interface AuditRecord {
  readonly probe: number
  /** Keyset digest of the worker, null where no worker could be named. */
  readonly worker: string | null
  readonly verdict: AuditVerdict
  /** Code of the failed check; null for a pass. */
  readonly reason: string | null
  /** Digest of the controller's receipt; null where there was none. */
  readonly receipt: string | null
  readonly simulated: boolean
}

export interface WorkerScore {
  readonly worker: string
  readonly audits: number
  readonly passed: number
  /** In units of 1e-9, as an integer: 0 to 1,000,000,000. */
  readonly score: number
}

const one = 1_000_000_000n

/**
 * Scores of one round: a pure function of the records. A worker's score is the lower bound of the Wilson interval (z = 1.96) of its pass rate,
 * in integers of 1e-9, rounded down, so that every machine computes the same. No evidence, no score: a worker without conclusive audits is absent.
 */
export function scoreRound(records: readonly AuditRecord[]): WorkerScore[] {
  const tally = new Map<string, { audits: number; passed: number }>()
  for (const { worker, verdict } of records) {
    if (worker === null || (verdict !== 'pass' && verdict !== 'fail')) continue
    const counts = tally.get(worker) ?? { audits: 0, passed: 0 }
    counts.audits++
    if (verdict === 'pass') counts.passed++
    tally.set(worker, counts)
  }
  return [...tally]
    .map(([worker, { audits, passed }]) => ({ worker, audits, passed, score: wilsonLowerBound(passed, audits) }))
    .sort((a, b) => (a.worker < b.worker ? -1 : 1))
}

/** (k + z²/2 − z·sqrt(k(n−k)/n + z²/4)) / (n + z²), z = 1.96, in units of 1e-9, never below 0. */
export function wilsonLowerBound(passed: number, audits: number): number {
  if (!Number.isSafeInteger(passed) || !Number.isSafeInteger(audits) || passed < 0 || audits < 1 || passed > audits)
    throw new TypeError('wilsonLowerBound: expected 0 <= passed <= audits and audits >= 1')
  const k = BigInt(passed)
  const n = BigInt(audits)
  const root = squareRoot((k * (n - k) * one * one) / n + 960_400_000n * one)
  const numerator = k * one + 1_920_800_000n - (root * 196n + 99n) / 100n
  const bound = (numerator * one) / (n * one + 3_841_600_000n)
  return Number(bound < 0n ? 0n : bound)
}

/** The integer square root, rounded up, by Newton's method. */
function squareRoot(value: bigint): bigint {
  if (value < 2n) return value
  let x = 1n << BigInt((value.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (x + value / x) >> 1n
    if (next >= x) return x * x === value ? x : x + 1n
    x = next
  }
}
