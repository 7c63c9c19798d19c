import { VeriteeError } from 'veritee/errors'
import type { Corpus } from './corpus.ts'
import { cpuMs } from './cpu-time.ts'
import { Random } from './random.ts'
import { type Target, type Trial, targets } from './targets.ts'

/** What happened to the inputs of one target. */
export interface TargetResult {
  inputs: number
  bytes: number
  longest: number
  accepted: number
  /** By error code. */
  readonly refused: Record<string, number>
  /** The longest CPU time for one input, in milliseconds, measured once: the collector may have run meanwhile. */
  slowestMs: number
}

/** One input that should not have done what it did; `iteration` repeats it under the same seed and corpus. */
export interface Finding {
  readonly iteration: number
  readonly target: string
  readonly what: string
  /** Base64 of at most the first 4 KiB. */
  readonly input: string
  readonly bytes: number
}

export interface SoakResult {
  readonly seed: number
  readonly corpus: string
  readonly realSeeds: number
  readonly iterations: number
  readonly targets: Readonly<Record<string, TargetResult>>
  readonly findings: readonly Finding[]
}

export interface SoakOptions {
  readonly corpus: Corpus
  readonly seed: number
  readonly iterations: number
  /** The first iteration; 0 where not given. */
  readonly from?: number
  /** Called before each input with its number: a watcher in another thread can tell which one hangs. */
  readonly progress?: (iteration: number, target: string) => void
}

const maxFindings = 50

/**
 * Feeds changed seeds to every target. Each iteration depends on (seed, its number) alone, so any one of them can be repeated.
 *
 * A finding is: anything thrown that is not a `VeriteeError`; changed evidence that is accepted and says something else; an input that takes more
 * than its target's budget in the best of five runs. It does not detect an input that never returns; the caller watches `progress` for that.
 */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const { corpus, seed, iterations, from = 0, progress } = options
  const all = targets(corpus)
  const total = all.reduce((sum, { share }) => sum + share, 0)
  const results: Record<string, TargetResult> = {}
  for (const { name } of all) results[name] = { inputs: 0, bytes: 0, longest: 0, accepted: 0, refused: {}, slowestMs: 0 }
  const findings: Finding[] = []

  for (let iteration = from; iteration < from + iterations; iteration++) {
    const random = new Random(seed, iteration)
    const target = choose(all, (random.next() / 0x1_0000_0000) * total)
    progress?.(iteration, target.name)
    const trial = target.make(random)
    const result = results[target.name] as TargetResult
    result.inputs++
    result.bytes += trial.input.length
    result.longest = Math.max(result.longest, trial.input.length)
    const start = cpuMs()
    const outcome = attempt(trial)
    const what = outcome instanceof Promise ? await outcome : outcome
    const ms = cpuMs() - start
    result.slowestMs = Math.max(result.slowestMs, ms)
    if (what.code === null) result.accepted++
    else result.refused[what.code] = (result.refused[what.code] ?? 0) + 1
    const slow = ms > budgetMs(target, trial.input.length) ? await tooSlow(target, trial) : null
    for (const found of [what.defect, slow])
      if (found !== null && findings.length < maxFindings)
        findings.push({
          iteration,
          target: target.name,
          what: found,
          input: Buffer.from(trial.input.subarray(0, 4096)).toString('base64'),
          bytes: trial.input.length,
        })
  }
  return { seed, corpus: corpus.digest, realSeeds: corpus.real, iterations, targets: results, findings }
}

interface Outcome {
  /** Null: accepted. */
  readonly code: string | null
  readonly defect: string | null
}

function attempt(trial: Trial): Outcome | Promise<Outcome> {
  try {
    const running = trial.run()
    if (running === undefined) return { code: null, defect: null }
    return running.then((defect) => ({ code: null, defect: defect ?? null }), refusal)
  } catch (error) {
    return refusal(error)
  }
}

function refusal(error: unknown): Outcome {
  if (error instanceof VeriteeError) return { code: error.code, defect: null }
  const text = error instanceof Error ? `${error.name}: ${error.message} ${error.stack?.split('\n')[1]?.trim() ?? ''}` : String(error)
  return { code: 'NOT A VERITEE ERROR', defect: text.slice(0, 400) }
}

function choose(all: readonly Target[], point: number): Target {
  let left = point
  for (const target of all) {
    left -= target.share
    if (left < 0) return target
  }
  return all[0] as Target
}

function budgetMs({ budget }: Target, length: number): number {
  return budget.base / 1e3 + (length * budget.perByte) / 1e6
}

/** The best of five, so that a garbage collection is not taken for a slow parser. */
async function tooSlow(target: Target, trial: Trial): Promise<string | null> {
  let best = Number.POSITIVE_INFINITY
  for (let i = 0; i < 5; i++) {
    const start = cpuMs()
    await attempt(trial)
    best = Math.min(best, cpuMs() - start)
  }
  const allowed = budgetMs(target, trial.input.length)
  return best > allowed ? `took ${best.toFixed(1)} ms, allowed ${allowed.toFixed(1)} ms for ${trial.input.length} bytes` : null
}
