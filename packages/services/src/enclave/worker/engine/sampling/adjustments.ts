import { type Candidate, compareCandidates } from './sampler.ts'

/** What a request asks to be done to raw logits before sampling. Each is a pure function of the tokens so far, so a replay repeats it. */
export interface Adjustments {
  /** Taken off once for every time that the token is among the completion tokens, -2 to 2. */
  readonly frequencyPenalty: number
  /** Taken off once where it is among them, -2 to 2. */
  readonly presencePenalty: number
  /** Divides positive logits, multiplies others, of tokens in prompt or completion; 0.1 to 10, 1 does nothing. */
  readonly repetitionPenalty: number
  /** Added last, by token, -100 to 100. */
  readonly logitBias: ReadonlyMap<number, number>
}

export const noAdjustments: Adjustments = { frequencyPenalty: 0, presencePenalty: 0, repetitionPenalty: 1, logitBias: new Map() }

/** The most entries of `logitBias`: as many as a list in a receipt holds. */
export const maxLogitBias = 256

/** Throws `TypeError` unless every parameter is in its range. */
export function checkAdjustments({ frequencyPenalty, presencePenalty, repetitionPenalty, logitBias }: Adjustments, vocabularySize: number): void {
  for (const penalty of [frequencyPenalty, presencePenalty])
    if (!(penalty >= -2 && penalty <= 2)) throw new TypeError('adjustments: a penalty must be from -2 to 2')
  if (!(repetitionPenalty >= 0.1 && repetitionPenalty <= 10)) throw new TypeError('adjustments: repetitionPenalty must be from 0.1 to 10')
  if (logitBias.size > maxLogitBias) throw new TypeError(`adjustments: logitBias may have ${maxLogitBias} entries`)
  for (const [token, bias] of logitBias) {
    if (!(Number.isInteger(token) && token >= 0 && token < vocabularySize)) throw new TypeError('adjustments: logitBias names no token')
    if (!(bias >= -100 && bias <= 100)) throw new TypeError('adjustments: a bias must be from -100 to 100')
  }
}

/**
 * Adjusts logits as one answer grows. In this order, in doubles: repetition penalty, frequency penalty, presence penalty, bias
 * (spec/receipt-events.md, section "Sampling"). Tokens outside {@link Adjuster.touched} keep their raw logit.
 */
export class Adjuster {
  readonly #adjustments: Adjustments
  readonly #counts = new Map<number, number>()
  readonly #prompt: ReadonlySet<number>
  readonly #touched: Set<number>
  #list: readonly number[] | null = null

  constructor(adjustments: Adjustments, promptTokens: readonly number[]) {
    this.#adjustments = adjustments
    this.#prompt = new Set(adjustments.repetitionPenalty === 1 ? [] : promptTokens)
    this.#touched = new Set([...this.#prompt, ...adjustments.logitBias.keys()])
  }

  /** The tokens whose logit may differ from the raw one at this position. */
  get touched(): readonly number[] {
    this.#list ??= [...this.#touched]
    return this.#list
  }

  /** Whether the tokens of the completion change anything. */
  get counts(): boolean {
    const { frequencyPenalty, presencePenalty, repetitionPenalty } = this.#adjustments
    return frequencyPenalty !== 0 || presencePenalty !== 0 || repetitionPenalty !== 1
  }

  /** Tells of a token of the completion. */
  add(token: number): void {
    if (!this.counts) return
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1)
    if (this.#touched.has(token)) return
    this.#touched.add(token)
    this.#list = null
  }

  /** Ranked raw logits, adjusted and ranked again. Those that are not touched keep their order, so only the others are sorted. */
  apply(ranked: readonly Candidate[]): readonly Candidate[] {
    if (this.#touched.size === 0) return ranked
    const changed: Candidate[] = []
    const kept: Candidate[] = []
    for (const candidate of ranked) {
      if (this.#touched.has(candidate[0])) changed.push([candidate[0], this.#adjusted(candidate)])
      else kept.push(candidate)
    }
    return mergeRanked(kept, changed.sort(compareCandidates))
  }

  #adjusted([token, raw]: Candidate): number {
    const { frequencyPenalty, presencePenalty, repetitionPenalty, logitBias } = this.#adjustments
    const count = this.#counts.get(token) ?? 0
    let logit = raw
    if (count > 0 || this.#prompt.has(token)) logit = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty
    logit -= frequencyPenalty * count
    if (count > 0) logit -= presencePenalty
    return logit + (logitBias.get(token) ?? 0)
  }
}

function mergeRanked(a: readonly Candidate[], b: readonly Candidate[]): Candidate[] {
  const merged: Candidate[] = []
  let at = 0
  for (const candidate of a) {
    for (let other = b[at]; other !== undefined && compareCandidates(other, candidate) < 0; other = b[at]) {
      merged.push(other)
      at++
    }
    merged.push(candidate)
  }
  for (; at < b.length; at++) merged.push(b[at] as Candidate)
  return merged
}
