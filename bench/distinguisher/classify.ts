import { upperBound } from '../../packages/services/src/replay/calibrate.ts'
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
  const columns = names.map((name) => columnOf(name, examples))
  const scores = new Float64Array(examples.length)
  const gradients = new Float64Array(examples.length)
  const weights = new Float64Array(examples.length)
  const stumps: Stump[] = []
  for (let round = 0; round < rounds; round++) {
    // The gradient of the log likelihood, and its curvature.
    for (const [i, label] of labels.entries()) {
      const chance = probability(scores[i] ?? 0)
      gradients[i] = (label ? 1 : 0) - chance
      weights[i] = chance * (1 - chance)
    }
    let best: { readonly stump: Stump; readonly column: Column; readonly bin: number; readonly gain: number } | null = null
    for (const column of columns) {
      const found = bestCut(column, gradients, weights)
      if (found !== null && (best === null || found.gain > best.gain)) best = { ...found, column }
    }
    if (best === null) break
    const { stump, column, bin } = best
    stumps.push(stump)
    for (const [i, own] of column.bins.entries()) scores[i] = (scores[i] ?? 0) + (own > bin ? stump.above : stump.below)
  }
  const weight = new Map<string, number>()
  for (const { name, below, above } of stumps) weight.set(name, (weight.get(name) ?? 0) + Math.abs(above - below))
  return {
    score: (features) => stumps.reduce((sum, { name, threshold, below, above }) => sum + ((features.get(name) ?? 0) > threshold ? above : below), 0),
    by: [...weight].sort(([, a], [, b]) => b - a).map(([name]) => name),
  }
}

/** One feature of all examples: between which thresholds each lies. */
interface Column {
  readonly name: string
  readonly thresholds: readonly number[]
  readonly bins: Uint8Array
}

function columnOf(name: string, examples: readonly Features[]): Column {
  const values = examples.map((one) => one.get(name) ?? 0)
  const thresholds = cutsOf(values)
  return { name, thresholds, bins: Uint8Array.from(values, (value) => thresholds.filter((threshold) => value > threshold).length) }
}

function bestCut(
  { name, thresholds, bins }: Column,
  gradients: Float64Array,
  weights: Float64Array,
): { readonly stump: Stump; readonly bin: number; readonly gain: number } | null {
  const g = new Float64Array(thresholds.length + 1)
  const h = new Float64Array(thresholds.length + 1)
  for (const [i, bin] of bins.entries()) {
    g[bin] = (g[bin] ?? 0) + (gradients[i] ?? 0)
    h[bin] = (h[bin] ?? 0) + (weights[i] ?? 0)
  }
  const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0)
  const [allG, allH] = [sum(g), sum(h)]
  let [belowG, belowH] = [0, 0]
  let best: { readonly stump: Stump; readonly bin: number; readonly gain: number } | null = null
  for (const [bin, threshold] of thresholds.entries()) {
    belowG += g[bin] ?? 0
    belowH += h[bin] ?? 0
    const [below, above] = [belowG / (1 + belowH), (allG - belowG) / (1 + allH - belowH)]
    const gain = below * belowG + above * (allG - belowG)
    if (best === null || gain > best.gain) best = { stump: { name, threshold, below: rate * below, above: rate * above }, bin, gain }
  }
  return best
}

const probability = (score: number): number => 1 / (1 + Math.exp(-score))

function cutsOf(values: readonly number[]): readonly number[] {
  const sorted = [...new Set(values)].sort((a, b) => a - b)
  const middles = sorted.slice(1).map((value, i) => (value + (sorted[i] ?? value)) / 2)
  return middles.length <= cuts ? middles : Array.from({ length: cuts }, (_, i) => middles[Math.floor(((i + 0.5) * middles.length) / cuts)] ?? 0)
}

/** What is known of a text by the words of others. */
interface ByWords {
  /** Log odds by its words and pairs of words. */
  readonly odds: number
  /** The parts of its words and pairs, and of its triples, that nobody wrote before. */
  readonly unknown: number
  readonly unknownTriples: number
  /** Bits a word under a model of pairs of words in the texts of users. */
  readonly surprise: number
}

export function learnWords(texts: readonly string[], labels: readonly boolean[]): (text: string) => ByWords {
  const counts = new Map<string, [number, number]>()
  const totals: [number, number] = [0, 0]
  const triples = new Set<string>()
  const pairs = new Map<string, number>()
  const firsts = new Map<string, number>()
  for (const [i, text] of texts.entries()) {
    const isProbe = labels[i] === true
    const side = isProbe ? 1 : 0
    for (const token of new Set(tokensOf(text))) {
      const count = counts.get(token) ?? [0, 0]
      count[side]++
      counts.set(token, count)
    }
    totals[side]++
    if (isProbe) continue
    for (const triple of triplesOf(text)) triples.add(triple)
    for (const [first, second] of pairsOf(text)) {
      pairs.set(`${first} ${second}`, (pairs.get(`${first} ${second}`) ?? 0) + 1)
      firsts.set(first, (firsts.get(first) ?? 0) + 1)
    }
  }
  return (text) => {
    const tokens = new Set(tokensOf(text))
    let [odds, unknown] = [0, 0]
    for (const token of tokens) {
      const count = counts.get(token)
      if (count === undefined) unknown++
      const [no, yes] = count ?? [0, 0]
      odds += Math.log((yes + 0.5) / (totals[1] + 1)) - Math.log((no + 0.5) / (totals[0] + 1))
    }
    const three = triplesOf(text)
    const two = pairsOf(text)
    const bits = two.map(([first, second]) => -Math.log2(((pairs.get(`${first} ${second}`) ?? 0) + 0.1) / ((firsts.get(first) ?? 0) + 100)))
    return {
      odds,
      unknown: unknown / Math.max(1, tokens.size),
      unknownTriples: three.filter((triple) => !triples.has(triple)).length / Math.max(1, three.length),
      surprise: bits.reduce((sum, value) => sum + value, 0) / Math.max(1, bits.length),
    }
  }
}

function tokensOf(text: string): readonly string[] {
  const words = wordsOf(text)
  return [...words, ...words.slice(1).map((word, i) => `${words[i]} ${word}`)]
}

function triplesOf(text: string): readonly string[] {
  const words = wordsOf(text)
  return words.slice(2).map((word, i) => `${words[i]} ${words[i + 1]} ${word}`)
}

/** Each word with the one before it, and the last with what ends a text. */
function pairsOf(text: string): readonly (readonly [string, string])[] {
  const words = ['', ...wordsOf(text), '']
  return words.slice(1).map((word, i) => [words[i] ?? '', word])
}

export interface Told {
  readonly questions: number
  readonly right: number
  readonly accuracy: number
  /** One-sided, 95 %, over accounts: the questions of one account are alike, and say less than as many of different ones. */
  readonly upper: number
  /** Accounts whose questions were judged. */
  readonly accounts: number
  readonly by: readonly string[]
}

/**
 * Learns from the accounts of one half and judges the questions of the other, where as many are probes as are not: no account is in both, or it would be known by its
 * name. `words` adds the texts themselves.
 */
export function tell(
  sightings: readonly Sighting[],
  features: readonly Features[],
  { only, words }: { readonly only: readonly Group[]; readonly words: boolean },
): Answers {
  const accounts = new Map<boolean, string[]>([
    [true, []],
    [false, []],
  ])
  for (const { account, isProbe, isHistory } of sightings) {
    if (isHistory) continue
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
  const isRight = (i: number): boolean => learned.score(chosen[i] as Features) > 0 === sightings[i]?.isProbe
  const told = judged.map((i) => ({ account: sightings[i]?.account ?? '', isRight: isRight(i) }))
  return { told, by: learned.by.slice(0, 4) }
}

/** Of each question that was judged, whose it was and whether rightly; and by what. */
export interface Answers {
  readonly told: readonly { readonly account: string; readonly isRight: boolean }[]
  readonly by: readonly string[]
}

/** Accuracy, and its bound: the variance of a ratio of sums over accounts, for a normal distribution, and never below that of independent questions. */
export function boundOf(told: readonly { readonly account: string; readonly isRight: boolean }[]): Omit<Told, 'by'> {
  const right = told.filter((one) => one.isRight).length
  const accuracy = right / told.length
  const sums = new Map<string, { right: number; count: number }>()
  for (const { account, isRight } of told) {
    const sum = sums.get(account) ?? { right: 0, count: 0 }
    sum.right += isRight ? 1 : 0
    sum.count++
    sums.set(account, sum)
  }
  const squares = [...sums.values()].reduce((sum, one) => sum + (one.right - accuracy * one.count) ** 2, 0)
  const over = 1.645 * (Math.sqrt((squares * sums.size) / Math.max(1, sums.size - 1)) / told.length)
  return {
    questions: told.length,
    right,
    accuracy,
    upper: Math.min(1, Math.max(accuracy + over, upperBound(right, told.length))),
    accounts: sums.size,
  }
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
    const { odds, unknown, unknownTriples, surprise } = judge(textOf(one))
    chosen[i]?.set('text: odds of the words', odds)
    chosen[i]?.set('text: words nobody wrote before', unknown)
    chosen[i]?.set('text: triples of words no user wrote before', unknownTriples)
    chosen[i]?.set('text: bits a word among users', surprise)
  }
}

/** As many of each kind, the first ones of the more frequent one. */
function balanced(sightings: readonly Sighting[], want: (one: Sighting) => boolean): number[] {
  const of = (isProbe: boolean): number[] => sightings.flatMap((one, i) => (one.isProbe === isProbe && !one.isHistory && want(one) ? [i] : []))
  const [probes, others] = [of(true), of(false)]
  const count = Math.min(probes.length, others.length)
  const spread = (list: readonly number[]): number[] => Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)] as number)
  return [...spread(probes), ...spread(others)]
}
