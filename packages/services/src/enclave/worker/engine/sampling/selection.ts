import { type Choice, maxTopK, type Sampling } from '../engine.ts'
import { Adjuster, type Adjustments } from './adjustments.ts'
import type { TokenMask } from './constraint.ts'
import { type Candidate, chooseRanked } from './sampler.ts'

export interface SelectionOptions {
  readonly sampling: Sampling
  readonly adjustments: Adjustments
  readonly promptTokens: readonly number[]
  /** Which tokens may come; null where all may. */
  readonly mask: TokenMask | null
  /** u of a position (S23). */
  readonly draw: (position: number) => number
  /** Told of each choice; gives the token to go on with. For replays only. */
  readonly replace?: ((choice: Choice) => number) | undefined
}

/** std::sort inside the engine is not stable: ask for some more, so that our own order decides between equal logits at the edge. */
const tieMargin = 32
/** Among so many of the highest a greedy answer looks for its next token before it asks for all. */
const greedyWindow = 64

/**
 * Chooses the tokens of one answer, position by position, from raw logits: adjustments, mask, sampling. What it needs of the logits it says
 * itself, and that is enough to choose exactly as from the whole vocabulary.
 */
export class Selection {
  readonly #options: SelectionOptions
  readonly #adjuster: Adjuster
  readonly #candidates: number
  readonly #window: number
  #position = 0

  constructor(options: SelectionOptions) {
    this.#options = options
    const { sampling, adjustments, promptTokens, mask } = options
    this.#adjuster = new Adjuster(adjustments, promptTokens)
    const greedy = sampling.temperature === 0
    this.#candidates = greedy ? 1 : Math.min(sampling.topK, maxTopK)
    // Greedy ones find the same token in a narrow window, or none and then the same among all.
    this.#window = mask === null ? this.#candidates : greedy ? greedyWindow : maxTopK
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
    const wanted = this.#window + this.tokens.length
    return wanted === 1 ? 1 : wanted + tieMargin
  }

  /**
   * {@link top} and {@link tokens} for the position after the tokens in `expected` but the last, whatever is chosen there: adjustments will have touched
   * those by then. The last is listed too, so that its logit is known.
   */
  wanted(expected: readonly number[]): { readonly top: number; readonly tokens: readonly number[] } {
    if (expected.length === 0) return this
    const tokens = [...new Set([...this.tokens, ...expected])]
    const wanted = this.#window + (this.#adjuster.counts ? tokens.length : this.tokens.length)
    return { tokens, top: wanted === 1 ? 1 : wanted + tieMargin }
  }

  /**
   * Chooses from ranked raw logits and goes on to the next position. Null, and nothing has changed, where none of the tokens in the window is
   * allowed: then {@link chooseFromAll}.
   */
  choose(raw: readonly Candidate[]): number | null {
    const allowed = this.#allowed(this.#adjuster.apply(raw), this.#window, this.#candidates)
    if (allowed.length === 0 && this.#options.mask !== null) return null
    return this.#goOn(
      chooseRanked(allowed, this.#options.sampling, () => this.#options.draw(this.#position)),
      allowed,
    )
  }

  /** The highest allowed token of the whole vocabulary. Throws `TypeError` where none is. */
  chooseFromAll(raw: readonly Candidate[]): number {
    const [first] = this.#allowed(this.#adjuster.apply(raw), Number.POSITIVE_INFINITY, 1)
    if (first === undefined) throw new TypeError('selection: expected a vocabulary that can spell what the grammar demands')
    return this.#goOn(first[0], [first])
  }

  #goOn(chosen: number, candidates: readonly Candidate[]): number {
    const { replace, draw } = this.#options
    const position = this.#position
    const token = replace === undefined ? chosen : replace({ position, token: chosen, candidates, draw: () => draw(position) })
    this.accept(token)
    return token
  }

  #allowed(candidates: readonly Candidate[], window: number, most: number): readonly Candidate[] {
    const { mask } = this.#options
    if (mask === null) return candidates
    const allowed: Candidate[] = []
    let seen = 0
    for (const candidate of candidates) {
      if (allowed.length === most || seen === window) break
      seen++
      if (mask.allows(candidate[0])) allowed.push(candidate)
    }
    return allowed
  }

  /** Goes on with this token, whoever chose it. */
  accept(token: number): void {
    this.#adjuster.add(token)
    this.#options.mask?.accept(token)
    this.#position++
  }
}
