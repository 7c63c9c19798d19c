import { fail } from 'veritee/errors'
import type { EngineFacts } from 'veritee/receipt'
import { type Calibration, countNear, decimalUp } from './calibration.ts'
import { type ExchangeRecord, readClaim, readExchange } from './claim.ts'
import { checkModel, type ReplayModel } from './model.ts'
import { Ended } from './report.ts'
import { rerun } from './rerun.ts'

/** Of a thousand honest tokens one may be farther than the margin. */
const quantile = 0.999
const minShare = '0.9500'
const minTokens = 32
/** For each kind of answer; fewer say nothing about one in a thousand. */
const leastTokens = 1000
/** A random number is anywhere in [0, 1): a margin of half of it separates nothing. */
const widest = 0.5

interface Measured {
  readonly greedy: boolean
  readonly margins: readonly number[]
  readonly engine: EngineFacts
}

/**
 * Measures how far honest answers of one engine are from their replay by another. The records must be of workers whose honesty is not in question, all of
 * one engine; every second answer serves to find the margins, the others, which had no part in that, to count how many would fail.
 * Records that cannot be replayed (unknown tokens, failed answers) are left out and counted.
 *
 * Throws `calibration_insufficient`, `receipt_malformed`, `engine_failed`.
 */
export async function calibrate(
  records: readonly ExchangeRecord[],
  model: ReplayModel,
  created: number,
): Promise<{ readonly calibration: Calibration; readonly leftOut: number }> {
  const measured: Measured[] = []
  for (const record of records) {
    const one = await measure(record, model)
    if (one !== null) measured.push(one)
  }
  const [first] = measured
  if (first === undefined) throw fail('calibration_insufficient', 'no record could be replayed')
  if (measured.some(({ engine }) => engine.build !== first.engine.build || engine.version !== first.engine.version))
    throw fail('calibration_insufficient', 'expected answers of one engine, found several')
  const fit = measured.filter((_, i) => i % 2 === 0)
  const margin = { greedy: decimalUp(quantileOf(fit, true)), sampled: decimalUp(quantileOf(fit, false)) }
  if (Number(margin.sampled) > widest) throw fail('calibration_insufficient', `the engines differ too much: a margin of ${margin.sampled}`)
  const held = measured.filter(({ margins }, i) => i % 2 === 1 && margins.length >= minTokens)
  const failed = held.filter(({ greedy, margins }) => countNear(margins, greedy, { margin }) < Number(minShare) * margins.length).length
  const calibration: Calibration = {
    version: 'veritee.calibration.v1',
    model: { sha256: `sha256:${model.engine.model.sha256}`, size: model.engine.model.size },
    engines: { there: first.engine, here: model.facts },
    margin,
    min_share: minShare,
    min_tokens: minTokens,
    measured: {
      answers: held.length,
      tokens: held.reduce((sum, { margins }) => sum + margins.length, 0),
      failed,
      p0: decimalUp(held.length === 0 ? 1 : failed / held.length),
      p0_upper: decimalUp(upperBound(failed, held.length)),
    },
    created,
  }
  return { calibration, leftOut: records.length - measured.length }
}

async function measure(record: ExchangeRecord, model: ReplayModel): Promise<Measured | null> {
  try {
    const claim = readClaim(await readExchange(record, []))
    checkModel(claim, model, [])
    const reruns = await rerun(claim, model, [])
    if (reruns.some(({ known }) => known === null)) return null
    const margins = reruns.flatMap((one) => one.margins)
    return { greedy: claim.asked.request.sampling.temperature === 0, margins, engine: claim.inference.engine }
  } catch (error) {
    if (error instanceof Ended) return null
    throw error
  }
}

function quantileOf(answers: readonly Measured[], greedy: boolean): number {
  const all = answers.filter((answer) => answer.greedy === greedy).flatMap(({ margins }) => margins)
  if (all.length < leastTokens)
    throw fail(
      'calibration_insufficient',
      `expected at least ${2 * leastTokens} ${greedy ? 'greedy' : 'sampled'} tokens, found some ${2 * all.length}`,
    )
  return all.toSorted((a, b) => a - b)[Math.ceil(quantile * all.length) - 1] ?? Number.POSITIVE_INFINITY
}

/** One-sided 95 % upper bound of a rate (Clopper and Pearson): the rate at which so few failures come in one of twenty trials. */
export function upperBound(failed: number, count: number): number {
  if (failed >= count) return 1
  let low = 0
  let high = 1
  for (let i = 0; i < 60; i++) {
    const rate = (low + high) / 2
    if (probabilityOfAtMost(failed, count, rate) > 0.05) low = rate
    else high = rate
  }
  return high
}

function probabilityOfAtMost(most: number, count: number, rate: number): number {
  // Terms by their logarithms: (1 - rate)^count alone may be too small for a number.
  let log = count * Math.log1p(-rate)
  let sum = Math.exp(log)
  for (let i = 1; i <= most; i++) {
    log += Math.log((count - i + 1) / i) + Math.log(rate) - Math.log1p(-rate)
    sum += Math.exp(log)
  }
  return sum
}
