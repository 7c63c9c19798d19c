// From tallies to figures and their targets.
import { trimmed } from '../rounds.ts'
import type { Figure } from '../run.ts'
import { compared, type Result, type Tally } from './contest.ts'

export function figuresOf({ tallies, leftOut }: Result): Figure[] {
  for (const line of leftOut) process.stderr.write(`left out: ${line}\n`)
  const figures: Figure[] = []
  const of = (name: string): Tally | undefined => tallies.find(({ contestant }) => contestant.name === name)
  for (const tally of tallies) {
    const { contestant } = tally
    const direct = of(contestant.tls ? 'direct, TLS' : 'direct')
    const add = (what: string, value: number, unit: string): void =>
      void figures.push({ name: `${contestant.name}: ${what}`, value, unit, target: null })
    if (contestant.program !== null) {
      add('a request', median(tally.requestUs), 'CPU us')
      add('an event', median(tally.eventUs), 'CPU us')
      add('in memory, streams open', tally.openMb, 'MB')
      add('in memory before', tally.idleMb, 'MB')
    }
    add('requests by the clock, 32 at a time', median(tally.perSecond), '/s')
    for (const [what, pick] of [
      ['one at a time', (t: Tally) => t.aloneMs],
      ['32 at a time', (t: Tally) => t.togetherMs],
    ] as const)
      for (const p of [50, 99])
        if (direct !== undefined)
          add(
            contestant.program === null ? `p${p}, ${what}` : `p${p} later than direct, ${what}`,
            percentile(pick(tally), p) - (contestant.program === null ? 0 : percentile(pick(direct), p)),
            'ms',
          )
  }
  figures.push(...targets(of))
  return figures
}

/** A target is a lower bound, so a bound from above is written as its share. */
function targets(of: (name: string) => Tally | undefined): Figure[] {
  const figures: Figure[] = []
  for (const { suffix, ...names } of compared) {
    const ours = of(names.ours)
    const theirs = of(names.theirs)
    if (ours === undefined || theirs === undefined) continue
    const column = `proofs${suffix}`
    for (const [what, pick] of [
      ['a request', (t: Tally) => t.requestUs],
      ['an event', (t: Tally) => t.eventUs],
    ] as const) {
      const { mean, within } = ratioOf(pick(ours), pick(theirs))
      figures.push({ name: `${column}: ${what}, times the passthrough`, value: mean, unit: 'ratio', target: null })
      figures.push({ name: `${column}: ${what}, give or take (95 %)`, value: within, unit: 'ratio', target: null })
      figures.push({ name: `${column}: 1.15 over it`, value: 1.15 / mean, unit: 'ratio', target: 1 })
      const withKeys = of(names.withKeys)
      if (withKeys === undefined) continue
      const { mean: more, within: giveOrTake } = ratioOf(pick(withKeys), pick(theirs))
      figures.push({ name: `${column}, with API keys and limits: ${what}, times the passthrough`, value: more, unit: 'ratio', target: null })
      figures.push({ name: `${column}, with API keys and limits: ${what}, give or take (95 %)`, value: giveOrTake, unit: 'ratio', target: null })
    }
    figures.push({ name: `${column}: 150 MB over memory with streams open`, value: 150 / ours.openMb, unit: 'ratio', target: 1 })
    const shared = of(names.overHttp2)
    if (shared !== undefined)
      figures.push({ name: `${column}: 150 MB over memory with streams open over HTTP/2`, value: 150 / shared.openMb, unit: 'ratio', target: null })
  }
  const ours = of('controller')
  const portkey = of('Portkey')
  if (ours !== undefined && portkey !== undefined)
    figures.push({
      name: "requests in a CPU second, times Portkey's",
      value: ratioOf(portkey.requestUs, ours.requestUs).mean,
      unit: 'ratio',
      target: 8,
    })
  return figures
}

/** Of one round each, since what else the machine does differs from round to round. */
function ratioOf(a: readonly number[], b: readonly number[]): ReturnType<typeof trimmed> {
  return trimmed(a.slice(0, b.length).map((value, round) => value / (b[round] ?? Number.NaN)))
}

export function median(values: readonly number[]): number {
  return percentile(values, 50)
}

function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN
}
