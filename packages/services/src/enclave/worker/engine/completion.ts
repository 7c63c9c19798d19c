import { randomBytes } from 'node:crypto'
import { fromUtf8, toHex } from 'veritee/bytes'
import type { ChatTemplate } from './chat.ts'
import type { Engine, GeneratedToken, TokenLogprob, Vocabulary } from './engine.ts'
import type { ChatRequest } from './request.ts'
import { RequestError } from './request-error.ts'
import { seedBytes } from './sampler.ts'
import { TextStream } from './text-stream.ts'
import { releaseUnstarted } from './unstarted.ts'

export interface CompletionOptions {
  readonly engine: Engine
  readonly template: ChatTemplate
  /** Complete: without a client's seed one is drawn now, so nothing about the request can depend on it (S23). */
  readonly request: ChatRequest
  readonly signal?: AbortSignal
  /** Source of a seed. Default the CSPRNG of Node. */
  readonly random?: (length: number) => Uint8Array
}

/** One running answer. Iterate it once; `result` settles when the iteration ends, in whatever way, and never rejects. */
export interface Completion extends AsyncIterable<CompletionDelta> {
  readonly promptTokens: readonly number[]
  readonly parameters: EffectiveParameters
  readonly result: Promise<CompletionResult>
}

/** A piece of the answer that will not be taken back: whole characters only, and no part of a stop string. */
export interface CompletionDelta {
  /** Empty only when `logprobs` holds tokens without text. */
  readonly text: string
  /** Present when the request asked for them, one per token whose text begins in this piece. */
  readonly logprobs?: readonly CompletionLogprob[]
}

export interface CompletionLogprob {
  readonly token: string
  readonly bytes: readonly number[]
  readonly logprob: number
  readonly topLogprobs: readonly { readonly token: string; readonly bytes: readonly number[]; readonly logprob: number }[]
}

/** What was used, after defaults. Decimals are strings because aci/1 documents hold integers only. */
export interface EffectiveParameters {
  readonly temperature: string
  readonly top_p: string
  readonly min_p: string
  readonly top_k: number
  readonly max_tokens: number
  readonly stop: readonly string[]
  /** Hex of the seed bytes: 8 for a client's seed, 16 for one drawn here. */
  readonly seed: string
  readonly seed_source: 'client' | 'enclave'
}

export interface CompletionResult {
  /** `aborted`: by the signal, or by a reader who stopped early. */
  readonly outcome: 'complete' | 'length' | 'aborted' | 'error'
  /** null when aborted or failed. */
  readonly finishReason: 'stop' | 'length' | null
  /** All text that was yielded. */
  readonly text: string
  /** `completionTokens` counts what was sampled, a final end-of-generation token included. */
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number; readonly totalTokens: number }
  /** Every token that was sampled, in order. After an abort it may hold some whose text was not yielded. */
  readonly completionTokens: readonly number[]
  /** The failure when `outcome` is `error`. */
  readonly error?: unknown
}

/** No vocabulary in use has tokens longer than this on average, so more text cannot fit and need not be tokenized to know it. */
const maxCharactersPerToken = 64

/**
 * Starts an answer. In order: the length of the text, the template, the room in the context, the seed, a place in the queue of the engine.
 * Throws {@link RequestError} (`context_length_exceeded` when it does not fit) and `engine_busy`, `engine_unavailable`; everything later is
 * told by `result`. The caller must iterate the completion or abort the signal: either gives the place back.
 */
export function startCompletion({ engine, template, request, signal, random = randomBytes }: CompletionOptions): Completion {
  const { contextSize } = engine.facts
  const characters = request.messages.reduce((sum, { content }) => sum + content.length, 0)
  if (characters > contextSize * maxCharactersPerToken) throw tooLong(contextSize, 'the messages are longer', 'messages')
  const promptTokens = template.render(request.messages)
  const room = contextSize - promptTokens.length
  if (room < 1) throw tooLong(contextSize, `the messages take ${promptTokens.length}`, 'messages')
  if (request.maxTokens !== null && request.maxTokens > room)
    throw tooLong(contextSize, `the messages take ${promptTokens.length} and max_tokens asks for ${request.maxTokens}`, 'max_tokens')

  const maxTokens = request.maxTokens ?? room
  const seed = request.seed === null ? new Uint8Array(random(16)) : seedBytes(request.seed)
  const tokens = engine.generate({
    promptTokens,
    maxTokens,
    sampling: request.sampling,
    seed,
    topLogprobs: request.topLogprobs,
    ...(signal && { signal }),
  })
  const { promise: result, resolve } = Promise.withResolvers<CompletionResult>()
  const progress: Progress = { outcome: 'aborted', text: '', completionTokens: [] }
  const settle = (): void => resolve(summarize(progress, promptTokens.length))
  const deltas = releaseUnstarted(follow(tokens, { vocabulary: engine.vocabulary, request, maxTokens, progress, settle, signal }), () => {
    // Ends a generator that never began, so nothing of it can fail.
    void tokens.return()
    settle()
  })
  return {
    promptTokens,
    parameters: {
      temperature: decimal(request.sampling.temperature),
      top_p: decimal(request.sampling.topP),
      min_p: decimal(request.sampling.minP),
      top_k: request.sampling.topK,
      max_tokens: maxTokens,
      stop: request.stop,
      seed: toHex(seed),
      seed_source: request.seed === null ? 'enclave' : 'client',
    },
    result,
    [Symbol.asyncIterator]: () => deltas,
  }
}

/** Reads a completion to its end, for answers that are not streamed. */
export async function runToEnd(completion: Completion): Promise<CompletionResult & { readonly logprobs: readonly CompletionLogprob[] }> {
  const logprobs: CompletionLogprob[] = []
  for await (const delta of completion) logprobs.push(...(delta.logprobs ?? []))
  return { ...(await completion.result), logprobs }
}

/** What an answer has come to; filled in as it grows. */
interface Progress {
  outcome: CompletionResult['outcome']
  text: string
  readonly completionTokens: number[]
  error?: unknown
}

interface Following {
  readonly vocabulary: Vocabulary
  readonly request: ChatRequest
  readonly maxTokens: number
  readonly progress: Progress
  readonly settle: () => void
  readonly signal: AbortSignal | undefined
}

async function* follow(
  tokens: AsyncGenerator<GeneratedToken, void, void>,
  { vocabulary, request, maxTokens, progress, settle, signal }: Following,
): AsyncGenerator<CompletionDelta, void, void> {
  const stream = new TextStream(request.stop)
  const pending: { readonly start: number; readonly logprob: CompletionLogprob }[] = []
  const delta = (released: string): CompletionDelta | null => {
    progress.text += released
    if (!request.logprobs) return released === '' ? null : { text: released }
    const logprobs: CompletionLogprob[] = []
    for (let [next] = pending; next !== undefined && next.start < progress.text.length; [next] = pending) {
      logprobs.push(next.logprob)
      pending.shift()
    }
    return released === '' && logprobs.length === 0 ? null : { text: released, logprobs }
  }
  try {
    let stopped = false
    for await (const generated of tokens) {
      progress.completionTokens.push(generated.token)
      const start = stream.position
      const released = stream.add(vocabulary.bytes(generated.token))
      stopped = released.stopped || vocabulary.isEndOfGeneration(generated.token)
      if (request.logprobs) pending.push({ start, logprob: describe(generated, vocabulary) })
      const piece = delta(released.text)
      if (piece !== null) yield piece
      if (released.stopped) break
      if (stopped || progress.completionTokens.length === maxTokens) {
        const rest = delta(stream.end())
        if (rest !== null) yield rest
      }
    }
    progress.outcome = stopped ? 'complete' : 'length'
  } catch (cause) {
    // An abort is an outcome; the reader sees the iteration end, and why in the result.
    if (signal?.aborted !== true) {
      progress.outcome = 'error'
      progress.error = cause
    }
  } finally {
    settle()
  }
}

function summarize({ outcome, text, completionTokens, error }: Progress, promptTokens: number): CompletionResult {
  return {
    outcome,
    finishReason: outcome === 'complete' ? 'stop' : outcome === 'length' ? 'length' : null,
    text,
    usage: { promptTokens, completionTokens: completionTokens.length, totalTokens: promptTokens + completionTokens.length },
    completionTokens,
    ...(outcome === 'error' && { error }),
  }
}

function describe(generated: GeneratedToken, vocabulary: Vocabulary): CompletionLogprob {
  const one = ({ token, logprob }: TokenLogprob): { token: string; bytes: number[]; logprob: number } => {
    const bytes = vocabulary.bytes(token)
    return { token: printable(bytes) ?? vocabulary.name(token), bytes: [...bytes], logprob }
  }
  return { ...one(generated), topLogprobs: generated.top.map(one) }
}

/** The text of a token, or null when it has none by itself: a control token, or a part of a character. */
function printable(bytes: Uint8Array): string | null {
  if (bytes.length === 0) return null
  try {
    return fromUtf8(bytes)
  } catch {
    return null
  }
}

function tooLong(contextSize: number, found: string, param: string): RequestError {
  return new RequestError(`the context of this model holds ${contextSize} tokens; ${found}`, { param, code: 'context_length_exceeded' })
}

/** A decimal without an exponent, with the digits that JavaScript prints: 0.7 is "0.7", 1e-7 is "0.0000001". */
function decimal(value: number): string {
  const [digits = '', exponent] = String(value).split('e-')
  if (exponent === undefined) return digits
  return `0.${digits.replace('.', '').padStart(Number(exponent) + digits.replace('.', '').length - 1, '0')}`
}
