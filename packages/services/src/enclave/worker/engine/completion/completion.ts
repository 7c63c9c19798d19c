import { randomBytes } from 'node:crypto'
import { releaseUnstarted } from '../admit/unstarted.ts'
import type { Engine, Guide } from '../engine.ts'
import type { ChatTemplate } from '../prompt/chat.ts'
import { isTooLong } from '../prompt/text-length.ts'
import type { ChatRequest } from '../request/chat-request.ts'
import type { GenerationRequest } from '../request/generation-request.ts'
import type { TextRequest } from '../request/text-request.ts'
import { RequestError } from '../request-error.ts'
import { constrain, spellsEveryByte } from '../sampling/constraint.ts'
import { seedBytes } from '../sampling/sampler.ts'
import { type ToolAnswers, toolAnswers } from '../tools/tool-answers.ts'
import { type CompletionLogprob, follow, type Progress, type TextDelta } from './follow.ts'
import { merge } from './merge.ts'
import { type EffectiveParameters, effectiveParameters } from './parameters.ts'

export interface CompletionOptions {
  readonly engine: Engine
  readonly promptTokens: readonly number[]
  /** Complete: without a client's seed one is drawn now, so nothing about the request can depend on it (S23). */
  readonly request: GenerationRequest
  /** What tools mean for the answers. Default there are none. */
  readonly tools?: ToolAnswers | null
  /** The member of the request that holds the prompt. */
  readonly promptParam: 'messages' | 'prompt'
  readonly signal?: AbortSignal
  /** Source of a seed. Default the CSPRNG of Node. */
  readonly random?: (length: number) => Uint8Array
  /** For replays only: of each answer. */
  readonly guide?: (choice: number) => Guide
}

/** The running answers to one request. Iterate it once; `result` settles when the iteration ends, in whatever way, and never rejects. */
export interface Completion extends AsyncIterable<CompletionDelta> {
  readonly promptTokens: readonly number[]
  readonly parameters: EffectiveParameters
  readonly tools: ToolAnswers | null
  readonly result: Promise<CompletionResult>
}

export type CompletionDelta = TextDelta

export interface ChoiceResult {
  readonly outcome: Progress['outcome']
  /** null when aborted or failed. */
  readonly finishReason: 'stop' | 'length' | null
  /** All text that was yielded. */
  readonly text: string
  /** Every sampled token, the end-of-generation token included; behind a stop string there are some whose text was not yielded. */
  readonly completionTokens: readonly number[]
}

/** Of all answers together: the worst outcome, the text of the first, the tokens of all, one answer after the other. */
export interface CompletionResult extends ChoiceResult {
  readonly choices: readonly ChoiceResult[]
  readonly usage: { readonly promptTokens: number; readonly completionTokens: number; readonly totalTokens: number }
  /** The failure when `outcome` is `error`. */
  readonly error?: unknown
}

/**
 * Starts the answers to a prompt, `n` of them, each with a place of its own in the queue of the engine and randomness of its own (S23). In order:
 * the room in the context, the seed, the places. Throws {@link RequestError} (`context_length_exceeded` when it does not fit) and `engine_busy`,
 * `engine_unavailable`; everything later is told by `result`. The caller must iterate the completion or abort the signal: either gives the places back.
 */
export function startAnswers(options: CompletionOptions): Completion {
  const { engine, promptTokens, request, tools = null, promptParam, signal, guide, random = randomBytes } = options
  const { contextSize } = engine.facts
  const { sampling, adjustments, n } = request
  const format = tools?.demanded ?? request.format
  for (const token of adjustments.logitBias.keys())
    if (token >= engine.vocabulary.size) throw new RequestError('logit_bias names a token that this model does not have', { param: 'logit_bias' })
  if (format !== null && !spellsEveryByte(engine.vocabulary))
    throw new RequestError('this model cannot be held to a form: its vocabulary lacks single bytes', {
      param: 'response_format',
      code: 'unsupported_value',
    })
  const constraint = format === null ? null : constrain(format.grammar, engine.vocabulary, tools?.written)
  const room = contextSize - promptTokens.length
  if (room < 1) throw tooLong(contextSize, `${promptParam}: ${promptTokens.length}`, promptParam)
  if (request.maxTokens !== null && request.maxTokens > room)
    throw tooLong(contextSize, `${promptParam}: ${promptTokens.length}, max_tokens: ${request.maxTokens}`, 'max_tokens')

  const maxTokens = request.maxTokens ?? room
  const seed = request.seed === null ? new Uint8Array(random(16)) : seedBytes(request.seed)
  // A reader who leaves several answers early ends those too that still wait.
  const leave = new AbortController()
  const stop = n === 1 ? signal : signal === undefined ? leave.signal : AbortSignal.any([signal, leave.signal])
  const { promise: result, resolve } = Promise.withResolvers<CompletionResult>()
  const progresses: Progress[] = []
  let running = n
  const settle = (): void => {
    running--
    if (running === 0) resolve(summarize(progresses, promptTokens.length))
  }
  const answers: AsyncGenerator<TextDelta, void, void>[] = []
  try {
    for (let choice = 0; choice < n; choice++) {
      const progress: Progress = { outcome: 'aborted', text: '', completionTokens: [] }
      const tokens = engine.generate({
        promptTokens,
        maxTokens,
        sampling,
        adjustments,
        ...(constraint !== null && { constraint }),
        seed,
        choice,
        ...(request.logprobs && { topLogprobs: request.topLogprobs }),
        ...(stop && { signal: stop }),
        ...(guide && { guide: guide(choice) }),
      })
      progresses.push(progress)
      const { stop: strings, logprobs } = request
      const text = follow(tokens, {
        choice,
        vocabulary: engine.vocabulary,
        written: tools?.written,
        stop: strings,
        logprobs,
        maxTokens,
        progress,
        settle,
        signal: stop,
      })
      answers.push(
        releaseUnstarted(text, () => {
          // Ends a generator that never began, so nothing of it can fail.
          void tokens.return()
          settle()
        }),
      )
    }
  } catch (error) {
    // No room for all of them: those that have a place give it back.
    leave.abort()
    throw error
  }
  const [only] = answers
  const deltas = answers.length === 1 && only !== undefined ? only : together(answers, leave)
  return {
    promptTokens,
    parameters: effectiveParameters({
      sampling,
      adjustments,
      maxTokens,
      stop: request.stop,
      seed,
      seedSource: request.seed === null ? 'enclave' : 'client',
      n,
      format,
      tools,
    }),
    tools,
    result,
    [Symbol.asyncIterator]: () => deltas,
  }
}

export interface ChatOptions {
  readonly engine: Engine
  readonly template: ChatTemplate
  readonly request: ChatRequest
  readonly signal?: AbortSignal
  readonly random?: (length: number) => Uint8Array
  readonly guide?: (choice: number) => Guide
}

/** Starts the answers to a conversation: the length of its text, the template, then as {@link startAnswers}. */
export function startCompletion({ engine, template, request, ...rest }: ChatOptions): Completion {
  const { contextSize } = engine.facts
  const texts = request.messages.flatMap(({ content, toolCalls }) => (toolCalls === undefined ? [content] : [content, JSON.stringify(toolCalls)]))
  if (request.toolUse !== null) texts.push(JSON.stringify(request.toolUse.tools))
  if (isTooLong(texts, engine.vocabulary, contextSize)) throw tooLong(contextSize, 'the messages are longer', 'messages')
  const promptTokens = template.render(request.messages, request.toolUse?.tools)
  const format = template.toolFormat
  const tools = request.toolUse === null || format === undefined ? null : toolAnswers(request.toolUse, format, engine.vocabulary)
  return startAnswers({ engine, request, promptTokens, tools, promptParam: 'messages', ...rest })
}

export interface TextOptions extends Omit<ChatOptions, 'request'> {
  readonly request: TextRequest
}

/** Starts the continuations of a text, as {@link startAnswers}. Control tokens come from token ids in the request only, never from its text. */
export function startText({ engine, template, request, ...rest }: TextOptions): Completion {
  const promptTokens = promptTokensOf(request.prompt, engine, template, 'prompt')
  return startAnswers({ engine, request, promptTokens, promptParam: 'prompt', ...rest })
}

/** The tokens of a text of a request, bounded before it is tokenized. Throws {@link RequestError}. */
export function promptTokensOf(text: string | readonly number[], engine: Engine, template: ChatTemplate, param: string): readonly number[] {
  const { contextSize } = engine.facts
  if (typeof text !== 'string') {
    if (text.some((token) => token >= engine.vocabulary.size))
      throw new RequestError(`${param} holds a token that this model does not have`, { param })
    return text
  }
  if (isTooLong([text], engine.vocabulary, contextSize)) throw tooLong(contextSize, `${param} is longer`, param)
  return template.encodeText(text, param)
}

/** Reads a completion to its end, for answers that are not streamed. */
export async function runToEnd(completion: Completion): Promise<CompletionResult & { readonly logprobs: readonly CompletionLogprob[] }> {
  const logprobs: CompletionLogprob[] = []
  for await (const delta of completion) logprobs.push(...(delta.logprobs ?? []))
  return { ...(await completion.result), logprobs }
}

/** Several answers as one iteration, whose reader may leave before or after it began. */
function together(answers: readonly AsyncGenerator<TextDelta, void, void>[], leave: AbortController): AsyncGenerator<CompletionDelta, void, void> {
  return releaseUnstarted(
    merge(answers, () => leave.abort()),
    () => {
      leave.abort()
      for (const answer of answers) void answer.return()
    },
  )
}

const worst = ['error', 'aborted', 'length', 'complete'] as const

function summarize(progresses: readonly Progress[], promptTokens: number): CompletionResult {
  const choices = progresses.map(
    ({ outcome, text, completionTokens }): ChoiceResult => ({ outcome, finishReason: finishReason(outcome), text, completionTokens }),
  )
  const outcome = worst.find((candidate) => choices.some((choice) => choice.outcome === candidate)) ?? 'error'
  const completionTokens = choices.flatMap((choice) => choice.completionTokens)
  const failed = progresses.find((progress) => progress.outcome === 'error')
  return {
    outcome,
    finishReason: finishReason(outcome),
    text: choices[0]?.text ?? '',
    completionTokens,
    choices,
    usage: { promptTokens, completionTokens: completionTokens.length, totalTokens: promptTokens + completionTokens.length },
    ...(failed !== undefined && { error: failed.error }),
  }
}

function finishReason(outcome: Progress['outcome']): ChoiceResult['finishReason'] {
  return outcome === 'complete' ? 'stop' : outcome === 'length' ? 'length' : null
}

function tooLong(contextSize: number, found: string, param: string): RequestError {
  return new RequestError(`the context of this model holds ${contextSize} tokens; ${found}`, { param, code: 'context_length_exceeded' })
}
