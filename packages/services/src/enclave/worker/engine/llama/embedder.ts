import type { LlamaEmbeddingContext, LlamaModel, Token } from 'node-llama-cpp'
import { fail, VeriteeError } from 'veritee/errors'
import { Slots } from '../admit/slots.ts'
import type { Embedding } from '../engine.ts'
import type { Evaluations } from '../progress/evaluations.ts'

export interface EmbedderOptions {
  readonly contextSize: number
  readonly batchSize: number
  readonly threads: number
  readonly maxQueue: number
  readonly evaluations: Evaluations
}

/** Makes vectors of texts, one after the other. Its context takes memory from the first text on. */
export class Embedder {
  readonly #model: LlamaModel
  readonly #options: EmbedderOptions
  readonly #slots: Slots
  #context: Promise<LlamaEmbeddingContext> | null = null

  constructor(model: LlamaModel, options: EmbedderOptions) {
    this.#model = model
    this.#options = options
    this.#slots = new Slots(1, options.maxQueue)
  }

  /** As `Engine.embed`. */
  async embed(tokens: readonly number[], signals: readonly AbortSignal[]): Promise<Embedding> {
    const size = this.#model.fileInfo.metadata.tokenizer.ggml.tokens.length
    if (tokens.length === 0 || tokens.some((token) => !Number.isInteger(token) || token < 0 || token >= size))
      throw new TypeError('embed: expected tokens of the vocabulary')
    const evaluated = this.#framed(tokens)
    const { contextSize, evaluations } = this.#options
    // The binding takes one token less than the context holds.
    if (evaluated.length >= contextSize) throw fail('context_overflow', `expected less than ${contextSize} tokens, found ${evaluated.length}`)
    const ticket = this.#slots.enter(signals)
    try {
      await ticket.begin()
      const context = await this.#open()
      const { vector } = await evaluations.run(() => context.getEmbeddingFor(evaluated as Token[]))
      for (const signal of signals) signal.throwIfAborted()
      return { vector: unit(vector), tokens: evaluated }
    } catch (cause) {
      for (const signal of signals) signal.throwIfAborted()
      throw cause instanceof VeriteeError ? cause : fail('engine_failed', 'an embedding failed', cause)
    } finally {
      ticket.release()
    }
  }

  /** With the tokens that the file asks for at the ends, where they are not there: the binding adds the same, and the receipt has to name them. */
  #framed(tokens: readonly number[]): number[] {
    const { bos, eos, shouldPrependBosToken, shouldAppendEosToken } = this.#model.tokens
    const before = shouldPrependBosToken && bos !== null && tokens[0] !== bos ? [bos] : []
    const after = shouldAppendEosToken && eos !== null && tokens.at(-1) !== eos ? [eos] : []
    return [...before, ...tokens, ...after]
  }

  #open(): Promise<LlamaEmbeddingContext> {
    const { contextSize, batchSize, threads } = this.#options
    this.#context ??= this.#model.createEmbeddingContext({ contextSize, batchSize, threads }).catch((cause: unknown) => {
      this.#context = null
      throw fail('engine_unavailable', `an embedding context of ${contextSize} tokens cannot be created`, cause)
    })
    return this.#context
  }
}

function unit(vector: readonly number[]): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
  if (!(length > 0 && Number.isFinite(length))) throw fail('engine_failed', 'expected a vector of finite length; the model or the engine is broken')
  return Float32Array.from(vector, (value) => value / length)
}
