import type { ControlledEvaluateInputItem, LlamaContextSequence, Token } from 'node-llama-cpp'
import type { Evaluations } from '../progress/evaluations.ts'
import { type Candidate, rank } from '../sampling/sampler.ts'
import type { Selection } from '../sampling/selection.ts'

/** What the model says of the token after one that was evaluated. */
export interface NextToken {
  /** Raw logits, highest first. */
  readonly candidates: readonly Candidate[]
  /** Sum over the vocabulary of exp(logit - highest logit), where it was wanted. */
  readonly totalWeight: number | undefined
}

type Wanted = NonNullable<Exclude<ControlledEvaluateInputItem, Token>[1]['generateNext']>

export interface LookaheadOptions {
  /** Most tokens of one evaluation. */
  readonly batchSize: number
  /** Through which the sequence is used. */
  readonly evaluations: Evaluations
  readonly selection: Selection
  readonly topLogprobs: number | undefined
  /** Throws where the evaluation is no longer wanted. Called before and after each. */
  readonly checkAbort: () => void
  /** Told after each part of the prompt but the last. */
  readonly onProgress?: (() => void) | undefined
}

/**
 * Evaluates an answer token by token; tokens that are expected to follow ride along in the same batch, and their results wait until they are
 * really chosen. One that is not chosen, and all behind it, are forgotten. Without expectations this is plain decoding.
 * Under the canonical profile a logit has the same bits either way; see docs/replay.md.
 */
export class Lookahead {
  readonly #sequence: LlamaContextSequence
  readonly #options: LookaheadOptions
  readonly #ahead: { readonly token: number; readonly next: NextToken }[] = []
  #last = 0

  constructor(sequence: LlamaContextSequence, options: LookaheadOptions) {
    this.#sequence = sequence
    this.#options = options
  }

  /** Forgets what the sequence held and evaluates a prompt of at least one token; gives what follows it. */
  async begin(prompt: readonly number[], expect: () => readonly number[]): Promise<NextToken> {
    const { batchSize, evaluations, checkAbort, onProgress } = this.#options
    await evaluations.run(() => this.#sequence.clearHistory())
    let rest = prompt as readonly Token[]
    for (; rest.length > batchSize; rest = rest.slice(batchSize)) {
      checkAbort()
      const part = rest.slice(0, batchSize)
      await evaluations.run(() => this.#sequence.evaluateWithoutGeneratingNewTokens(part))
      onProgress?.()
    }
    return this.#evaluate(rest, expect())
  }

  /** What follows `token`, which was chosen now. `expect` is asked only where an evaluation is needed. */
  async next(token: number, expect: () => readonly number[]): Promise<NextToken> {
    const ahead = this.#ahead.shift()
    this.#last = token
    if (ahead?.token === token) return ahead.next
    if (ahead !== undefined) await this.#forget(1)
    return this.#evaluate([token as Token], expect())
  }

  /** The same as was given last, with the logits of the whole vocabulary. */
  async all(): Promise<NextToken> {
    // The last certain token stands before those that ride ahead.
    await this.#forget(1)
    const [next] = await this.#run([
      [this.#last as Token, { generateNext: { logits: true, totalLogitWeight: this.#options.topLogprobs !== undefined } }],
    ])
    return next as NextToken
  }

  /** Takes what is ahead out of the sequence, and `more` tokens before it. */
  async #forget(more: number): Promise<void> {
    const end = this.#sequence.nextTokenIndex
    const start = end - this.#ahead.length - more
    await this.#options.evaluations.run(() => this.#sequence.eraseContextTokenRanges([{ start, end }]))
    this.#ahead.length = 0
  }

  async #evaluate(certain: readonly Token[], expected: readonly number[]): Promise<NextToken> {
    // Of the last expected token nothing more is expected, and it may be the one with which the context is full.
    const drafted = expected.slice(0, Math.max(0, Math.min(this.#options.batchSize - certain.length, expected.length - 1))) as Token[]
    const last = certain.length - 1
    this.#last = certain[last] as Token
    const items: ControlledEvaluateInputItem[] = [...certain, ...drafted]
    for (let i = last; i < items.length; i++) items[i] = [items[i] as Token, { generateNext: this.#wanted(expected.slice(0, i - last + 1)) }]
    const results = await this.#run(items)
    for (const [i, token] of drafted.entries()) this.#ahead.push({ token, next: results[last + 1 + i] as NextToken })
    return results[last] as NextToken
  }

  async #run(items: ControlledEvaluateInputItem[]): Promise<NextToken[]> {
    this.#options.checkAbort()
    const output = await this.#options.evaluations.run(() => this.#sequence.controlledEvaluate(items))
    this.#options.checkAbort()
    return items.map((_, i) => ({ candidates: candidatesOf(output[i]?.next?.logits ?? new Map()), totalWeight: output[i]?.next?.totalLogitWeight }))
  }

  /**
   * The logits for the token after `expected` less its last. The greedy choice alone needs no sorting of the vocabulary: without options the engine
   * selects the highest logit, of equal ones the lowest id, as we do. (includeMax would say it, but this release of the binding returns nothing for it.)
   */
  #wanted(expected: readonly number[]): Wanted {
    const { selection, topLogprobs } = this.#options
    const { top, tokens } = selection.wanted(expected)
    const count = Math.max(top, topLogprobs ?? 0)
    const listed = tokens as readonly Token[]
    const filter = count === 1 ? { tokens: listed, includeSelected: true } : { tokens: listed, includeTop: count }
    return { logits: { filter }, totalLogitWeight: topLogprobs !== undefined }
  }
}

/** What the engine gives, ranked. */
export function candidatesOf(logits: ReadonlyMap<number, number>): readonly Candidate[] {
  const candidates: Candidate[] = []
  // Three times as fast as spreading the map.
  for (const candidate of logits) candidates.push(candidate)
  return rank(candidates)
}
