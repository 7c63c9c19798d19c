import { utf8 } from 'veritee/bytes'
import type { ChatRequest, CompletionDelta, CompletionResult } from './engine/index.ts'

/** Chat completion objects as OpenAI's API has them. */

export interface ChatFrame {
  readonly id: string
  readonly created: number
  readonly model: string
}

export function completionBody(frame: ChatFrame, result: CompletionResult, deltas: readonly CompletionDelta[], request: ChatRequest): Uint8Array {
  return utf8(
    JSON.stringify({
      id: frame.id,
      object: 'chat.completion',
      created: frame.created,
      model: frame.model,
      choices: result.choices.map(({ text, finishReason }, index) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: request.logprobs ? { content: deltas.filter(({ choice }) => choice === index).flatMap(logprobs), refusal: null } : null,
        finish_reason: finishReason,
      })),
      usage: usage(result),
    }),
  )
}

export function roleEvent(frame: ChatFrame, request: ChatRequest, choice: number): Uint8Array {
  return chunk(frame, request, choice, { role: 'assistant', content: '' }, null, null)
}

export function deltaEvent(frame: ChatFrame, request: ChatRequest, delta: CompletionDelta): Uint8Array {
  return chunk(frame, request, delta.choice, { content: delta.text }, request.logprobs ? { content: logprobs(delta), refusal: null } : null, null)
}

export function finishEvent(frame: ChatFrame, request: ChatRequest, choice: number, finishReason: string | null): Uint8Array {
  return chunk(frame, request, choice, {}, null, finishReason)
}

export function usageEvent(frame: ChatFrame, result: CompletionResult): Uint8Array {
  return event({ id: frame.id, object: 'chat.completion.chunk', created: frame.created, model: frame.model, choices: [], usage: usage(result) })
}

export function errorEvent(body: string): Uint8Array {
  return utf8(`data: ${body}\n\n`)
}

export const doneEvent: Uint8Array = utf8('data: [DONE]\n\n')

function chunk(
  frame: ChatFrame,
  request: ChatRequest,
  index: number,
  delta: object,
  logprobsOf: object | null,
  finishReason: string | null,
): Uint8Array {
  return event({
    id: frame.id,
    object: 'chat.completion.chunk',
    created: frame.created,
    model: frame.model,
    choices: [{ index, delta, logprobs: logprobsOf, finish_reason: finishReason }],
    ...(request.includeUsage ? { usage: null } : {}),
  })
}

function event(value: object): Uint8Array {
  return utf8(`data: ${JSON.stringify(value)}\n\n`)
}

function usage(result: CompletionResult): object {
  const { promptTokens, completionTokens, totalTokens } = result.usage
  return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: totalTokens }
}

function logprobs(delta: CompletionDelta): object[] {
  return (delta.logprobs ?? []).map(({ token, bytes, logprob, topLogprobs }) => ({ token, bytes, logprob, top_logprobs: topLogprobs }))
}
