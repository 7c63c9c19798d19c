import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { fail, VeriteeError } from 'veritee/errors'
import { checkGeneration } from '../enclave/worker/engine/admit/generation-check.ts'
import { Slots, type Ticket } from '../enclave/worker/engine/admit/slots.ts'
import { releaseUnstarted } from '../enclave/worker/engine/admit/unstarted.ts'
import type {
  Embedding,
  Engine,
  EngineFacts,
  EngineLoad,
  GeneratedToken,
  Generation,
  ModelFacts,
  Vocabulary,
} from '../enclave/worker/engine/engine.ts'
import { type CheckedSettings, checkSettings, type LlamaEngineOptions, openWeights } from '../enclave/worker/engine/llama/llama.ts'
import { vocabularyOf } from '../enclave/worker/engine/vocabulary/vocabulary.ts'
import type { LoadedWeights } from '../enclave/worker/engine/weights/index.ts'
import type { Ready } from './ready.ts'
import { type EngineProcess, type StartOptions, startProcess } from './start.ts'

export interface EngineProcessOptions extends LlamaEngineOptions {
  /** First pause before a start that follows a failure; doubled each time, up to {@link longestPauseMs}. Default 250. */
  readonly pauseMs?: number
  /** The process is killed and started again when it gets on with something for so long no more, in milliseconds. Default {@link defaultStallMs}. */
  readonly stallMs?: number
  /** The program of the process; another one in tests. */
  readonly program?: URL
}

const longestPauseMs = 30_000
/** Longer than one evaluation of a large model on a busy machine, and than the vector of the longest text. */
const defaultStallMs = 120_000
/** A process that lived for so long failed by itself, and not because it cannot run. */
const settledMs = 60_000

/**
 * An engine in a process of its own, for use outside an enclave: a crash of native code ends what runs there, and not the worker. Same settings, tokens and
 * facts as `openLlamaEngine`; the facts are those of the process that evaluates, in its own words: between two processes of one machine they are no proof.
 *
 * The worker opens, decrypts and hashes the weights, and hands them over as a descriptor. It keeps that descriptor, so both processes hold the plain
 * weights; prompts and answers pass through both. When the process ends, its requests throw `engine_failed` (`engine_stalled`
 * where it hung and was killed), new ones `engine_unavailable`, and it is
 * started again, with growing pauses, with the same bytes: they are hashed again, and other ones are refused for good. A process with other facts, of an engine that was exchanged meanwhile, is not used.
 *
 * Throws what `openLlamaEngine` throws, `engine_failed` where the process ends while it loads, `engine_stalled` where it hangs.
 */
export async function openEngineProcess(options: EngineProcessOptions): Promise<Engine & { readonly pid: number | null }> {
  const settings = checkSettings(options)
  if (!(stallMsOf(options) > 0)) throw new TypeError('engine: stallMs must be above 0')
  const weights = await openWeights(options)
  try {
    return new SupervisedEngine(
      weights,
      settings,
      await startProcess(weights, settings, { ...startOptions(options), signal: options.signal }),
      options,
    )
  } catch (error) {
    await weights.dispose()
    throw error
  }
}

class SupervisedEngine implements Engine {
  readonly facts: EngineFacts
  readonly model: ModelFacts
  readonly vocabulary: Vocabulary
  readonly #weights: LoadedWeights
  readonly #settings: CheckedSettings
  readonly #options: EngineProcessOptions
  readonly #closing = new AbortController()
  #process: EngineProcess | null = null
  #slots: Slots
  #embeddingSlots: Slots
  #restarting: Promise<void> = Promise.resolve()

  constructor(weights: LoadedWeights, settings: CheckedSettings, first: EngineProcess, options: EngineProcessOptions) {
    this.#weights = weights
    this.#settings = settings
    this.#options = options
    const { facts, architecture, trainContextSize, embeddingSize, chatTemplate, table } = first.ready
    this.facts = facts
    const { files, loading, sealed } = weights
    const [only] = files
    if (only === undefined) throw new TypeError('engine: weights without a file')
    const { sha256, size } = only
    this.model = { files, sha256, size, format: 'gguf', sealed, loading, architecture, trainContextSize, embeddingSize, chatTemplate }
    this.vocabulary = vocabularyOf(table, (text) => this.#running().encode(text))
    ;[this.#slots, this.#embeddingSlots] = this.#adopt(first)
  }

  get ready(): boolean {
    return this.#process !== null
  }

  get load(): EngineLoad {
    return { running: this.#slots.running, waiting: this.#slots.waiting }
  }

  /** Of the process that runs now. */
  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  generate(generation: Generation): AsyncGenerator<GeneratedToken, void, void> {
    checkGeneration(generation, { vocabularySize: this.vocabulary.size, contextSize: this.facts.contextSize })
    const current = this.#running()
    const { signal } = generation
    const ticket = this.#slots.enter(signal ? [signal, current.ended] : [current.ended])
    return releaseUnstarted(run(current, generation, ticket), ticket.release)
  }

  async embed(tokens: readonly number[], signal?: AbortSignal): Promise<Embedding> {
    const { size } = this.vocabulary
    if (tokens.length === 0 || tokens.some((token) => !Number.isInteger(token) || token < 0 || token >= size))
      throw new TypeError('embed: expected tokens of the vocabulary')
    const current = this.#running()
    const ticket = this.#embeddingSlots.enter(signal ? [signal, current.ended] : [current.ended])
    try {
      await ticket.begin()
      const embedding = await current.embed(tokens)
      signal?.throwIfAborted()
      return embedding
    } catch (cause) {
      signal?.throwIfAborted()
      throw cause
    } finally {
      ticket.release()
    }
  }

  async dispose(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort(fail('engine_unavailable', 'the engine is shutting down'))
    await this.#process?.end(this.#closing.signal.reason)
    await this.#restarting
    await this.#weights.dispose()
  }

  #running(): EngineProcess {
    this.#closing.signal.throwIfAborted()
    if (this.#process === null) throw fail('engine_unavailable', 'the engine process ended and is started again; retry later')
    return this.#process
  }

  #adopt(next: EngineProcess): [Slots, Slots] {
    const started = performance.now()
    this.#process = next
    const { sequences, maxQueue } = this.#settings
    this.#slots = new Slots(sequences, maxQueue)
    // Vectors are made one after the other, beside the answers.
    this.#embeddingSlots = new Slots(1, maxQueue)
    next.ended.addEventListener('abort', () => {
      this.#process = null
      if (!this.#closing.signal.aborted) this.#restarting = this.#restart(next.ended.reason, performance.now() - started)
    })
    return [this.#slots, this.#embeddingSlots]
  }

  #tell(ready: boolean, reason: unknown): void {
    // Coded messages hold nothing of a request; others are not passed on.
    this.#options.onChange?.({ ready, reason: reason instanceof VeriteeError ? reason.message : 'the engine process could not be started' })
  }

  async #restart(reason: unknown, livedMs: number): Promise<void> {
    this.#tell(false, reason)
    const { pauseMs = 250 } = this.#options
    const { signal } = this.#closing
    let pause = livedMs >= settledMs ? 0 : pauseMs
    while (!signal.aborted) {
      try {
        await sleep(pause, undefined, { signal })
        await this.#weights.recheck()
        const next = await startProcess(this.#weights, this.#settings, { ...startOptions(this.#options), signal })
        if (!sameAnswer(next.ready, this)) {
          const refused = fail('engine_unavailable', 'the engine on this machine is another one than the worker started with; restart the worker')
          await next.end(refused)
          throw refused
        }
        this.#adopt(next)
        this.#options.onChange?.({ ready: true, reason: 'the engine process runs again' })
        return
      } catch (error) {
        if (signal.aborted) return
        this.#tell(false, error)
        // Other bytes, or another engine, than the descriptor and the receipts of this worker name: waiting does not help.
        if (error instanceof VeriteeError && error.kind === 'untrusted') return
        pause = Math.min(longestPauseMs, Math.max(pauseMs, pause * 2))
      }
    }
  }
}

function stallMsOf({ stallMs = defaultStallMs }: EngineProcessOptions): number {
  return stallMs
}

function startOptions(options: EngineProcessOptions): StartOptions {
  return { stallMs: stallMsOf(options), program: options.program }
}

/** Descriptor and receipts name these facts, and the vocabulary was read once. */
function sameAnswer({ facts, architecture, chatTemplate }: Ready, engine: Pick<Engine, 'facts' | 'model'>): boolean {
  return isDeepStrictEqual([facts, architecture, chatTemplate], [engine.facts, engine.model.architecture, engine.model.chatTemplate])
}

async function* run(current: EngineProcess, generation: Generation, ticket: Ticket): AsyncGenerator<GeneratedToken, void, void> {
  try {
    await ticket.begin()
    yield* current.generate(generation)
  } catch (cause) {
    generation.signal?.throwIfAborted()
    throw cause
  } finally {
    ticket.release()
  }
}
