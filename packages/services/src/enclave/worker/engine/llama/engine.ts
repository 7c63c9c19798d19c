import type { Llama, LlamaContext, LlamaContextSequence } from 'node-llama-cpp'
import { fail, VeriteeError } from 'veritee/errors'
import { checkGeneration } from '../admit/generation-check.ts'
import { Slots, type Ticket } from '../admit/slots.ts'
import { releaseUnstarted } from '../admit/unstarted.ts'
import type { Embedding, Engine, EngineFacts, EngineLoad, GeneratedToken, Generation, ModelFacts, Vocabulary } from '../engine.ts'
import type { Evaluations } from '../progress/evaluations.ts'
import { noAdjustments } from '../sampling/adjustments.ts'
import { describe } from '../sampling/logprobs.ts'
import { uniform } from '../sampling/sampler.ts'
import { Selection } from '../sampling/selection.ts'
import { Embedder } from './embedder.ts'
import { Lookahead } from './lookahead.ts'

/** A model that llama.cpp has loaded, and what is known of it. */
export interface LoadedLlama {
  readonly llama: Llama
  readonly context: LlamaContext
  readonly model: ModelFacts
  readonly vocabulary: Vocabulary
  readonly facts: EngineFacts
  readonly maxQueue: number
  /** Most tokens of one evaluation. */
  readonly batchSize: number
  readonly evaluations: Evaluations
}

/** llama.cpp in this process. */
export class LlamaEngine implements Engine {
  readonly facts: EngineFacts
  readonly model: ModelFacts
  readonly vocabulary: Vocabulary
  readonly #llama: Llama
  readonly #sequences: readonly LlamaContextSequence[]
  readonly #slots: Slots
  readonly #embedder: Embedder
  readonly #batchSize: number
  readonly #evaluations: Evaluations
  readonly #closing = new AbortController()

  constructor({ llama, context, model, vocabulary, facts, maxQueue, batchSize, evaluations }: LoadedLlama) {
    this.#llama = llama
    this.#batchSize = batchSize
    this.#evaluations = evaluations
    this.facts = facts
    this.model = model
    this.vocabulary = vocabulary
    // generate() refuses what does not fit, so the engine must never come to the point of forgetting the beginning of a prompt
    const contextShift = {
      strategy: (): never => {
        throw fail('context_overflow', 'the context is full')
      },
    }
    this.#sequences = Array.from({ length: context.totalSequences }, () => context.getSequence({ contextShift }))
    this.#slots = new Slots(context.totalSequences, maxQueue)
    this.#embedder = new Embedder(context.model, { contextSize: facts.contextSize, batchSize, threads: facts.threads, maxQueue, evaluations })
  }

  get ready(): boolean {
    return !this.#closing.signal.aborted && this.#evaluations.getsOn
  }

  get load(): EngineLoad {
    return { running: this.#slots.running, waiting: this.#slots.waiting }
  }

  generate(generation: Generation): AsyncGenerator<GeneratedToken, void, void> {
    checkGeneration(generation, { vocabularySize: this.vocabulary.size, contextSize: this.facts.contextSize })
    const ticket = this.#slots.enter(this.#signals(generation.signal))
    return releaseUnstarted(this.#run(generation, ticket), ticket.release)
  }

  async *#run(generation: Generation, ticket: Ticket): AsyncGenerator<GeneratedToken, void, void> {
    const { sampling, adjustments = noAdjustments, constraint, promptTokens, maxTokens, stopTokens, topLogprobs, guide, choice = 0 } = generation
    const checkAbort = (): void => {
      generation.signal?.throwIfAborted()
      this.#closing.signal.throwIfAborted()
    }
    try {
      const sequence = this.#sequence(await ticket.begin())
      const draw = uniform(generation.seed)
      const selection = new Selection({
        sampling,
        adjustments,
        promptTokens,
        mask: constraint?.start() ?? null,
        draw: (position) => draw(choice, position),
        replace: guide?.replace?.bind(guide),
      })
      const lookahead = new Lookahead(sequence, {
        batchSize: this.#batchSize,
        evaluations: this.#evaluations,
        selection,
        topLogprobs,
        checkAbort,
        onProgress: generation.onProgress,
      })
      const tokens: number[] = []
      const expect = (): readonly number[] => guide?.expect(tokens).slice(0, maxTokens - tokens.length) ?? []
      let next = await lookahead.begin(promptTokens, expect)
      for (let position = 0; ; position++) {
        let token = selection.choose(next.candidates)
        if (token === null) {
          // Nothing that may come is among the highest: the same position again, with all logits.
          next = await lookahead.all()
          token = selection.chooseFromAll(next.candidates)
        }
        yield describe(token, next.candidates, next.totalWeight, topLogprobs)
        if (position + 1 === maxTokens || stopTokens?.has(token) || this.vocabulary.isEndOfGeneration(token)) return
        if (guide !== undefined) tokens.push(token)
        next = await lookahead.next(token, expect)
      }
    } catch (cause) {
      checkAbort()
      throw cause instanceof VeriteeError ? cause : fail('engine_failed', 'an evaluation failed', cause)
    } finally {
      ticket.release()
    }
  }

  #sequence(slot: number): LlamaContextSequence {
    const sequence = this.#sequences[slot]
    if (sequence === undefined) throw new TypeError(`engine: no sequence ${slot}`)
    return sequence
  }

  embed(tokens: readonly number[], signal?: AbortSignal): Promise<Embedding> {
    return this.#embedder.embed(tokens, this.#signals(signal))
  }

  /** What ends a request before it has its turn. Throws `engine_unavailable` where none can have one. */
  #signals(own: AbortSignal | undefined): AbortSignal[] {
    const closing = this.#closing.signal
    if (closing.aborted) throw fail('engine_unavailable', 'the engine is shutting down')
    const stalled = this.#evaluations.signal
    if (stalled.aborted) throw fail('engine_unavailable', 'the engine hangs in an evaluation; retry later')
    return own ? [own, closing, stalled] : [closing, stalled]
  }

  async dispose(): Promise<void> {
    if (!this.#closing.signal.aborted) this.#closing.abort(fail('engine_unavailable', 'the engine is shutting down'))
    // An evaluation under way ends first, in the binding; a reader who never asks for its next token holds nothing up.
    const disposed = this.#llama.dispose()
    if (this.#evaluations.getsOn) return disposed
    // One that hangs is not waited for: the process is to end.
    disposed.catch(() => undefined)
  }
}
