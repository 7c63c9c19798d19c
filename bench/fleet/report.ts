import type { FleetRun } from './run.ts'
import type { Strategy } from './strategies.ts'
import type { World } from './world.ts'

/** One strategy after a run. Epochs are counted from 1, the first in which it acts; medians over its operators that got there. */
export interface Row {
  readonly strategy: string
  readonly operators: number
  readonly convicted: number
  readonly epochsToConviction: number | null
  /** Operators whose share fell below half of an honest fast one's, or that were convicted. */
  readonly detected: number
  readonly epochsToDetection: number | null
  /** Mean share of an operator over all epochs, against an honest fast one's. */
  readonly share: number
  /** The same over the last fifth of the epochs. */
  readonly shareAtEnd: number
  /** In the worst epoch, mean over its operators. */
  readonly worst: number
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

function median(values: readonly number[]): number | null {
  return [...values].sort((a, b) => a - b)[(values.length - 1) >> 1] ?? null
}

/** By each validator of each operator: what it takes to tell a few failures in a thousand from chance. */
export const enoughAudits = 3000

/** Every strategy of a run, and what it was demanded to show but did not. */
export function reportOf(
  world: World,
  strategies: readonly Strategy[],
  run: FleetRun,
): { readonly rows: readonly Row[]; readonly findings: readonly string[] } {
  const { epochs, probes, workers } = world.size
  const audits = epochs * probes * workers
  const coursesOf = (strategy: Strategy): FleetRun['courses'] => run.courses.filter((_, o) => world.operators[o]?.strategy === strategy)
  const byEpoch = (strategy: Strategy): number[] =>
    Array.from({ length: epochs }, (_, e) => mean(coursesOf(strategy).map(({ shares }) => shares[e] ?? 0)))
  const honest = byEpoch(strategies[0] as Strategy)
  const findings: string[] = []
  if (run.falseConvictions > 0) findings.push(`${run.falseConvictions} convictions of honest operators`)
  const rows = strategies.map((strategy): Row => {
    const courses = coursesOf(strategy)
    const own = byEpoch(strategy)
    const late = Math.floor(epochs * 0.8)
    const convictions = courses.flatMap(({ convicted }) => convicted.slice(0, 1))
    const detections = courses.flatMap(({ shares, convicted }) => {
      const low = shares.findIndex((share, e) => share < (honest[e] as number) / 2)
      const found = Math.min(low === -1 ? epochs : low, convicted[0] ?? epochs)
      return found < epochs ? [found] : []
    })
    const first = (found: readonly number[]): number | null => {
      const epoch = median(found)
      return epoch === null ? null : epoch + 1
    }
    const row: Row = {
      strategy: strategy.name,
      operators: courses.length,
      convicted: convictions.length,
      epochsToConviction: first(convictions),
      detected: detections.length,
      epochsToDetection: first(detections),
      share: mean(own) / mean(honest),
      shareAtEnd: mean(own.slice(late)) / mean(honest.slice(late)),
      worst: Math.min(...own.map((share, e) => share / (honest[e] as number))),
    }
    findings.push(...notShown(strategy, row))
    const confirmed = courses.filter(({ grounds }) => grounds.has('level1')).length
    if (strategy.level === 1 && strategy.convicted && confirmed < courses.length)
      findings.push(`${strategy.name}: ${confirmed} of ${courses.length} convicted by a mismatch that others confirmed`)
    const { mostAtEnd } = strategy
    if (mostAtEnd !== undefined && audits >= enoughAudits && row.shareAtEnd > mostAtEnd)
      findings.push(`${strategy.name}: a share of ${row.shareAtEnd.toFixed(3)} of an honest one at the end, at most ${mostAtEnd} expected`)
    return row
  })
  return { rows, findings }
}

function notShown({ name, most, least, convicted, honest }: Strategy, row: Row): string[] {
  const found: string[] = []
  if (most !== null && row.share > most) found.push(`${name}: a share of ${row.share.toFixed(3)} of an honest one, at most ${most} expected`)
  if (least !== null && row.share < least) found.push(`${name}: a share of ${row.share.toFixed(3)} of an honest one, at least ${least} expected`)
  if (convicted && row.convicted < row.operators) found.push(`${name}: ${row.convicted} of ${row.operators} convicted`)
  if (!convicted && !honest && most !== null && row.convicted > 0) found.push(`${name}: ${row.convicted} convicted without a ground`)
  return found
}
