import { Adjuster, type Adjustments } from './adjustments.ts'
import { maxTopK, type Sampling } from './engine.ts'
import { type Candidate, choose, rank } from './sampler.ts'

export interface SelectionOptions {
  readonly sampling: Sampling
  readonly adjustments: Adjustments
  readonly promptTokens: readonly number[]
  /** u of a position (S23). */
  readonly draw: (position: number) => number
}

/** std::sort inside the engine is not stable: ask for some more, so that our own order decides between equal logits at the edge. */
const tieMargin = 32

/**
 * Chooses the tokens of one answer, position by position, from raw logits: adjustments, then sampling. What it needs of the logits it says
 * itself, and that is enough to choose exactly as from the whole vocabulary.
 */
export class Selection {
  readonly #options: SelectionOptions
  readonly #adjuster: Adjuster
  readonly #candidates: number
  #position = 0

  constructor(options: SelectionOptions) {
    this.#options = options
    const { sampling, adjustments, promptTokens } = options
    this.#adjuster = new Adjuster(adjustments, promptTokens)
    this.#candidates = sampling.temperature === 0 ? 1 : Math.min(sampling.topK, maxTopK)
  }

  /** Tokens whose logit {@link choose} must be given at this position, beside the highest ones. */
  get tokens(): readonly number[] {
    return this.#adjuster.touched
  }

  /**
   * How many of the highest raw logits it must be given. An adjustment may take each touched token out of the candidates, hence that many more.
   * 1 asks for the highest alone, the lowest id among equals.
   */
  get top(): number {
    const wanted = this.#candidates + this.tokens.length
    return wanted === 1 ? 1 : wanted + tieMargin
  }

  /** `raw` is ranked. Goes on to the next position. */
  choose(raw: readonly Candidate[]): number {
    const adjusted = this.tokens.length === 0 ? raw : rank(raw.map((candidate) => this.#adjuster.apply(candidate)))
    const token = choose(adjusted, this.#options.sampling, () => this.#options.draw(this.#position))
    this.accept(token)
    return token
  }

  /** Goes on with this token, whoever chose it. */
  accept(token: number): void {
    this.#adjuster.add(token)
    this.#position++
  }
}
