import { completionsEndpoint } from '../../http/chat-request.ts'
import { drawHex } from '../runtime/random.ts'
import type { AnswerShape, GeneratingEndpoint } from './answer.ts'
import { type AnswerFrame, plainEvents, usageOf } from './chat-format.ts'
import { type CompletionDelta, parseTextRequest, startText, type TextRequest } from './engine/index.ts'

/** `POST /v1/completions` of a worker. */
export const textCompletions: GeneratingEndpoint<TextRequest> = {
  path: completionsEndpoint,
  parse: (body) => parseTextRequest(body, { handled: ['provider'] }),
  start: (request, { engine, template }, signal) => startText({ engine, template, request, signal }),
  shape: (request, model, _, created) => textShape({ id: `cmpl-${drawHex(16)}`, created, model: model.name }, request),
}

/** Text completion objects as OpenAI's API has them. */
function textShape(frame: AnswerFrame, request: TextRequest): AnswerShape {
  const object = (choices: readonly object[], rest: object = {}): object => ({ ...frame, object: 'text_completion', choices, ...rest })
  const offsets = Array.from({ length: request.n }, () => 0)
  const pending = request.includeUsage ? { usage: null } : {}
  const logprobsOf = (deltas: readonly CompletionDelta[], from: number): object | null => (request.logprobs ? textLogprobs(deltas, from) : null)
  return {
    ...plainEvents,
    id: frame.id,
    whole: (result, deltas) =>
      object(
        result.choices.map(({ text, finishReason }, index) => ({
          text,
          index,
          logprobs: logprobsOf(
            deltas.filter(({ choice }) => choice === index),
            0,
          ),
          finish_reason: finishReason,
        })),
        { usage: usageOf(result) },
      ),
    first: () => [],
    delta: (delta) => {
      const from = offsets[delta.choice] ?? 0
      offsets[delta.choice] = from + delta.text.length
      return [object([{ text: delta.text, index: delta.choice, logprobs: logprobsOf([delta], from), finish_reason: null }], pending)]
    },
    last: (result) => {
      const ends = result.choices.map(({ finishReason }, index) =>
        object([{ text: '', index, logprobs: null, finish_reason: finishReason }], pending),
      )
      return request.includeUsage ? [...ends, object([], { usage: usageOf(result) })] : ends
    },
  }
}

/** `text_offset` counts the texts of the tokens from the beginning of the answer. */
function textLogprobs(deltas: readonly CompletionDelta[], from: number): object {
  let offset = from
  const tokens = deltas.flatMap(({ logprobs = [] }) => logprobs)
  return {
    tokens: tokens.map(({ token }) => token),
    token_logprobs: tokens.map(({ logprob }) => logprob),
    top_logprobs: tokens.map(({ topLogprobs }) => Object.fromEntries(topLogprobs.map(({ token, logprob }) => [token, logprob]))),
    text_offset: tokens.map(({ token }) => {
      const at = offset
      offset += token.length
      return at
    }),
  }
}
