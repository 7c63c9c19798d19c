import { randomBytes } from 'node:crypto'
import { errorObject } from '../../http/errors.ts'
import type { AnswerShape } from './answer.ts'
import type { CallReader, ChatRequest, Completion, CompletionDelta, CompletionResult, ToolCall } from './engine/index.ts'
import type { ToolFormat } from './engine/tools/tool-format.ts'

export interface AnswerFrame {
  readonly id: string
  readonly created: number
  readonly model: string
}

/** The streams of chat and text completions. */
export const plainEvents: Pick<AnswerShape, 'frame' | 'failed' | 'done'> = {
  frame,
  failed: (error) => [errorObject(error)],
  done: () => () => 'data: [DONE]\n\n',
}

function frame(object: object): string {
  return `data: ${JSON.stringify(object)}\n\n`
}

/** Chat completion objects as OpenAI's API has them. */
export function chatShape({ id, created, model }: AnswerFrame, request: ChatRequest, { tools }: Completion): AnswerShape {
  const callId = (): string => newCallId(tools?.format)
  const chunk = (index: number, delta: object, logprobs: object | null = null, finishReason: string | null = null): object => ({
    id,
    object: 'chat.completion.chunk',
    created,
    model,
    choices: [{ index, delta, logprobs, finish_reason: finishReason }],
    ...(request.includeUsage && { usage: null }),
  })
  const streams = Array.from({ length: request.n }, (): Streamed => ({ reader: tools?.newReader() ?? null, calls: 0 }))

  // Nearly all events of nearly all answers differ in one string: the rest of them is made into JSON once, with a text that JSON writes in one way only.
  const mark = 'veritee'
  const around = streams.map((_, index) => frame(chunk(index, { content: mark })).split(`"content":"${mark}"`) as [string, string])
  /** A piece of text goes as it is, and becomes its event when it is sent. */
  const isText = (object: object): object is CompletionDelta => 'text' in object
  const told = (object: object): string => {
    if (!isText(object)) return frame(object)
    const [before, after] = around[object.choice] ?? ['', '']
    return `${before}"content":${JSON.stringify(object.text)}${after}`
  }

  /** What is new in the calls of one answer, in the pieces that OpenAI's clients put together. */
  const callChunks = (index: number, calls: readonly ToolCall[]): object[] => {
    const streamed = streams[index]
    if (streamed === undefined) return []
    return calls.flatMap((call) => {
      const at = streamed.calls++
      const head = { index: at, id: callId(), type: 'function', function: { name: call.name, arguments: '' } }
      const rest = pieces(call.arguments).map((text) => chunk(index, { tool_calls: [{ index: at, function: { arguments: text } }] }))
      return [chunk(index, { tool_calls: [head] }), ...rest]
    })
  }

  return {
    ...plainEvents,
    frame: told,
    id,
    whole: (result, deltas) => ({
      id,
      object: 'chat.completion',
      created,
      model,
      choices: result.choices.map(({ text, finishReason }, index) => {
        const { content, calls } = readWhole(text, tools?.newReader() ?? null)
        return {
          index,
          message: {
            role: 'assistant',
            content: calls.length > 0 && content.trim() === '' ? null : content,
            refusal: null,
            ...(calls.length > 0 && {
              tool_calls: calls.map((call) => ({ id: callId(), type: 'function', function: { name: call.name, arguments: call.arguments } })),
            }),
          },
          logprobs: request.logprobs ? logprobsOf(deltas.filter(({ choice }) => choice === index)) : null,
          finish_reason: toldFinishReason(finishReason, calls.length),
        }
      }),
      usage: usageOf(result),
    }),
    first: () => streams.map((_, index) => chunk(index, { role: 'assistant', content: '' })),
    delta: (delta) => {
      const reader = streams[delta.choice]?.reader ?? null
      if (reader === null && !request.logprobs) return [delta]
      const logprobs = request.logprobs ? logprobsOf([delta]) : null
      if (reader === null) return [chunk(delta.choice, { content: delta.text }, logprobs)]
      const { text, calls } = reader.add(delta.text)
      const [first, ...more] = pieces(text)
      const content = first === undefined && logprobs === null ? [] : [chunk(delta.choice, { content: first ?? '' }, logprobs)]
      return [...content, ...more.map((piece) => chunk(delta.choice, { content: piece })), ...callChunks(delta.choice, calls)]
    },
    last: (result) => {
      const ends = result.choices.flatMap(({ finishReason }, index) => {
        const { text, calls } = streams[index]?.reader?.end() ?? { text: '', calls: [] }
        const rest = [...pieces(text).map((piece) => chunk(index, { content: piece })), ...callChunks(index, calls)]
        return [...rest, chunk(index, {}, null, toldFinishReason(finishReason, streams[index]?.calls ?? 0))]
      })
      return request.includeUsage ? [...ends, { id, object: 'chat.completion.chunk', created, model, choices: [], usage: usageOf(result) }] : ends
    },
  }
}

/** An id of a call that the model's template takes. */
export function newCallId(format: ToolFormat | undefined): string {
  return format?.idLength ? randomBytes(16).toString('hex').slice(0, format.idLength) : `call_${randomBytes(12).toString('hex')}`
}

/** Why an answer ended, as OpenAI's API tells it. */
export function toldFinishReason(finishReason: string | null, calls: number): string | null {
  return calls > 0 && finishReason === 'stop' ? 'tool_calls' : finishReason
}

interface Streamed {
  readonly reader: CallReader | null
  calls: number
}

export function usageOf({ usage }: CompletionResult): object {
  const { promptTokens, completionTokens, totalTokens } = usage
  return { prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: totalTokens }
}

/** What was held back may be long, and an event of a stream has a bound (spec/receipt-events.md), even with every character escaped. */
export function pieces(text: string): string[] {
  const out: string[] = []
  for (let at = 0; at < text.length; ) {
    const end = at + maxPiece
    // A pair of surrogates stays together: each piece is sent as UTF-8.
    const cut = end < text.length && /[\uD800-\uDBFF]/.test(text.charAt(end - 1)) ? end - 1 : end
    out.push(text.slice(at, cut))
    at = cut
  }
  return out
}

const maxPiece = 65_536

/** Content and calls of a whole answer. */
export function readWhole(text: string, reader: CallReader | null): { readonly content: string; readonly calls: readonly ToolCall[] } {
  if (reader === null) return { content: text, calls: [] }
  const pieces = [reader.add(text), reader.end()]
  return { content: pieces.map((piece) => piece.text).join(''), calls: pieces.flatMap(({ calls }) => calls) }
}

function logprobsOf(deltas: readonly CompletionDelta[]): object {
  return { content: toldLogprobs(deltas), refusal: null }
}

export function toldLogprobs(deltas: readonly CompletionDelta[]): readonly object[] {
  return deltas.flatMap(({ logprobs = [] }) =>
    logprobs.map(({ token, bytes, logprob, topLogprobs }) => ({ token, bytes, logprob, top_logprobs: topLogprobs })),
  )
}
