import { type Features, type Group, type Sighting, textOf, wordsOf } from './exchange.ts'

/**
 * A classifier: stumps, boosted on the logarithm of the likelihood (as AdaBoost's successors do), and for words a naive Bayes whose log odds are one feature more.
 * Plain, and good enough to find what a person would find in the same table.
 */
export interface Learned {
  /** Above 0: a probe. */
  score(features: Features): number
  /** The features that decide most, for people. */
  readonly by: readonly string[]
}

interface Stump {
  readonly name: string
  readonly threshold: number
  readonly below: number
  readonly above: number
}

const rounds = 120
const rate = 0.3
const cuts = 24

export function learn(examples: readonly Features[], labels: readonly boolean[]): Learned {
  const names = [...new Set(examples.flatMap((one) => [...one.keys()]))].sort()
  const columns = new Map(names.map((name) => [name, examples.map((one) => one.get(name) ?? 0)]))
  const thresholds = new Map([...columns].map(([name, values]) => [name, cutsOf(values)]))
  const scores = new Float64Array(examples.length)
  const stumps: Stump[] = []
  for (let round = 0; round < rounds; round++) {
    // The gradient of the log likelihood, and its curvature.
    const gradients = Float64Array.from(labels, (label, i) => (label ? 1 : 0) - probability(scores[i] ?? 0))
    const weights = Float64Array.from(labels, (_, i) => probability(scores[i] ?? 0) * (1 - probability(scores[i] ?? 0)))
    let best: { readonly stump: Stump; readonly gain: number } | null = null
    for (const name of names) {
      const values = columns.get(name) ?? []
      for (const threshold of thresholds.get(name) ?? []) {
        const [g, h] = [
          [0, 0],
          [1, 1],
        ] as [[number, number], [number, number]]
        for (const [i, value] of values.entries()) {
          const side = value > threshold ? 1 : 0
          g[side] += gradients[i] ?? 0
          h[side] += weights[i] ?? 0
        }
        const gain = g[0] ** 2 / h[0] + g[1] ** 2 / h[1]
        if (best === null || gain > best.gain) best = { stump: { name, threshold, below: (rate * g[0]) / h[0], above: (rate * g[1]) / h[1] }, gain }
      }
    }
    if (best === null) break
    const { stump } = best
    stumps.push(stump)
    for (const [i, value] of (columns.get(stump.name) ?? []).entries())
      scores[i] = (scores[i] ?? 0) + (value > stump.threshold ? stump.above : stump.below)
  }
  const weight = new Map<string, number>()
  for (const { name, below, above } of stumps) weight.set(name, (weight.get(name) ?? 0) + Math.abs(above - below))
  return {
    score: (features) => stumps.reduce((sum, { name, threshold, below, above }) => sum + ((features.get(name) ?? 0) > threshold ? above : below), 0),
    by: [...weight].sort(([, a], [, b]) => b - a).map(([name]) => name),
  }
}

const probability = (score: number): number => 1 / (1 + Math.exp(-score))

function cutsOf(values: readonly number[]): readonly number[] {
  const sorted = [...new Set(values)].sort((a, b) => a - b)
  const middles = sorted.slice(1).map((value, i) => (value + (sorted[i] ?? value)) / 2)
  return middles.length <= cuts ? middles : Array.from({ length: cuts }, (_, i) => middles[Math.floor(((i + 0.5) * middles.length) / cuts)] ?? 0)
}

/** Log odds of a text by its words and pairs of words. */
export function learnWords(texts: readonly string[], labels: readonly boolean[]): (text: string) => number {
  const counts = new Map<string, [number, number]>()
  const totals: [number, number] = [0, 0]
  for (const [i, text] of texts.entries()) {
    const side = labels[i] === true ? 1 : 0
    for (const token of new Set(tokensOf(text))) {
      const count = counts.get(token) ?? [0, 0]
      count[side]++
      counts.set(token, count)
    }
    totals[side]++
  }
  return (text) => {
    let odds = 0
    for (const token of new Set(tokensOf(text))) {
      const [no = 0, yes = 0] = counts.get(token) ?? []
      odds += Math.log((yes + 0.5) / (totals[1] + 1)) - Math.log((no + 0.5) / (totals[0] + 1))
    }
    return odds
  }
}

function tokensOf(text: string): readonly string[] {
  const words = wordsOf(text)
  return [...words, ...words.slice(1).map((word, i) => `${words[i]} ${word}`)]
}

export interface Told {
  readonly questions: number
  readonly right: number
  readonly accuracy: number
  /** One-sided, 95 %, as if questions were independent. */
  readonly upper: number
  readonly by: readonly string[]
}

/**
 * Learns from the accounts of one half and judges the questions of the other, where as many are probes as are not: no account is in both, or it would be known by its
 * name. `words` adds the texts themselves.
 */
export function tell(
  sightings: readonly Sighting[],
  features: readonly Features[],
  {
    only,
    words,
    upperBound,
  }: { readonly only: readonly Group[]; readonly words: boolean; readonly upperBound: (wrong: number, count: number) => number },
): Told {
  const accounts = new Map<boolean, string[]>([
    [true, []],
    [false, []],
  ])
  for (const { account, isProbe } of sightings) {
    const known = accounts.get(isProbe) ?? []
    if (!known.includes(account)) known.push(account)
  }
  const training = new Set([...accounts.values()].flatMap((list) => list.toSorted().filter((_, i) => i % 2 === 0)))
  const chosen = features.map((one) => new Map([...one].filter(([name]) => only.some((group) => name.startsWith(`${group}: `)))))
  const half = (isTraining: boolean): number[] => balanced(sightings, (one) => training.has(one.account) === isTraining)
  const [fit, judged] = [half(true), half(false)]
  if (words) addWords(sightings, chosen, fit, training)
  const at = <T>(list: readonly T[], places: readonly number[]): T[] => places.map((i) => list[i] as T)
  const learned = learn(
    at(chosen, fit),
    at(sightings, fit).map(({ isProbe }) => isProbe),
  )
  const right = judged.filter((i) => learned.score(chosen[i] as Features) > 0 === sightings[i]?.isProbe).length
  return { questions: judged.length, right, accuracy: right / judged.length, upper: upperBound(right, judged.length), by: learned.by.slice(0, 4) }
}

/** Of each text the odds by the words of others: those of the training accounts by the other half of these. */
function addWords(
  sightings: readonly Sighting[],
  chosen: readonly Map<string, number>[],
  fit: readonly number[],
  training: ReadonlySet<string>,
): void {
  const names = [...training].sort()
  const first = new Set(names.filter((_, i) => Math.floor(i / 2) % 2 === 0))
  const by = (want: (account: string) => boolean) => {
    const places = fit.filter((i) => want(sightings[i]?.account ?? ''))
    return learnWords(
      places.map((i) => textOf(sightings[i] as Sighting)),
      places.map((i) => sightings[i]?.isProbe === true),
    )
  }
  const [all, ofFirst, ofSecond] = [by(() => true), by((name) => first.has(name)), by((name) => !first.has(name))]
  for (const [i, one] of sightings.entries()) {
    const judge = !training.has(one.account) ? all : first.has(one.account) ? ofSecond : ofFirst
    chosen[i]?.set('text: odds of the words', judge(textOf(one)))
  }
}

/** As many of each kind, the first ones of the more frequent one. */
function balanced(sightings: readonly Sighting[], want: (one: Sighting) => boolean): number[] {
  const of = (isProbe: boolean): number[] => sightings.flatMap((one, i) => (one.isProbe === isProbe && want(one) ? [i] : []))
  const [probes, others] = [of(true), of(false)]
  const count = Math.min(probes.length, others.length)
  const spread = (list: readonly number[]): number[] => Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)] as number)
  return [...spread(probes), ...spread(others)]
}
