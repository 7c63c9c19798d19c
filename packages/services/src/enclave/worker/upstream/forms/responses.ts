import { responsesEndpoint } from '../../../../http/chat-request.ts'
import type { AnswerFrame } from '../../chat-format.ts'
import { newCallId } from '../../chat-format.ts'
import { isCallId } from '../../engine/request/messages.ts'
import { toolName } from '../../engine/request/tools.ts'
import { Output, type OutputEvent, withLogprobs } from '../../responses/output.ts'
import type { Echo } from '../../responses/request.ts'
import { bounded, type ResponseEnd, ToldResponse } from '../../responses/told-response.ts'
import { type EngineChunk, isObject, jsonOf, type Members } from '../chunk.ts'
import { EngineFailure } from '../wire/failure.ts'
import type { UpstreamForm } from './form.ts'

/** Of text and arguments together: a response tells all of it once more at its end. */
const maxCharacters = 1 << 24

/** A call while its arguments come. */
interface GrowingCall {
  readonly index: number
  readonly id: unknown
  readonly name: string
  arguments: string
}

/**
 * Responses, made of the chat that the engine was asked for: its text, its calls (each when it is whole) and its counts. What it writes as reasoning is no
 * part of a response here; the counts have it.
 */
export function responsesForm(frame: AnswerFrame, echo: Echo, logprobs: boolean): UpstreamForm {
  const output = new Output(null, undefined)
  const told = new ToldResponse(frame, echo, output.items)
  let call: GrowingCall | null = null
  let calls = 0
  let characters = 0
  let reason: unknown = null
  let usage: Members | null = null

  const count = (text: string): string => {
    characters += text.length
    if (characters > maxCharacters) throw new EngineFailure('failed', 'the engine sent more than an answer has')
    return text
  }
  const finishCall = (): OutputEvent[] => {
    if (call === null) return []
    const { id, name, arguments: text } = call
    call = null
    return output.call({ name, arguments: text === '' ? '{}' : text }, isCallId(id) ? id : newCallId(undefined))
  }
  const growCall = (value: unknown): OutputEvent[] => {
    if (!isObject(value) || (value.function !== undefined && !isObject(value.function))) throw unreadable()
    const { name, arguments: more } = value.function ?? {}
    // Whole calls have no numbers, and engines that send one only may leave it out: a name begins the next.
    const index = value.index ?? (typeof name === 'string' ? calls : call?.index)
    if (call !== null && index === call.index) {
      call.arguments += count(textOf(more))
      return []
    }
    const before = finishCall()
    if (index !== calls || typeof name !== 'string' || !toolName.test(name)) throw unreadable()
    calls++
    call = { index, id: value.id, name, arguments: count(textOf(more)) }
    return before
  }
  /** Text and calls of one message, or of a piece of one. */
  const take = (message: Members, of: unknown): OutputEvent[] => {
    const text = count(textOf(message.content))
    const probabilities = logprobs && isObject(of) && Array.isArray(of.content) ? (of.content as readonly object[]) : []
    const events = text === '' && probabilities.length === 0 ? [] : [...finishCall(), ...output.add(text, probabilities)]
    const told = message.tool_calls ?? []
    if (!Array.isArray(told)) throw unreadable()
    return [...events, ...told.flatMap(growCall)]
  }
  const read = ({ choices, usage: counts }: EngineChunk, content: 'delta' | 'message'): OutputEvent[] => {
    if (counts !== null) usage = counts
    return choices.flatMap((choice) => {
      if (choice.index !== 0) throw new EngineFailure('failed', 'the engine sent more answers than were asked for')
      reason = choice.finish_reason ?? reason
      return take(choice[content] as Members, choice.logprobs)
    })
  }
  const finish = (): readonly OutputEvent[] => [...finishCall(), ...output.end(!isCut(reason))]
  const endOf = (): ResponseEnd =>
    isCut(reason)
      ? { status: 'incomplete', reason: reason === 'length' ? 'max_output_tokens' : 'content_filter', usage: usageOf(usage) }
      : { status: 'completed', usage: usageOf(usage) }

  return {
    id: frame.id,
    endpoint: responsesEndpoint,
    begin: () => told.started().map((event) => told.frame(event)),
    chunk: (chunk) => bounded(read(chunk, 'delta')).map((event) => told.frame(event)),
    end: () => bounded(finish()).map((event) => told.frame(event)),
    failed: () => [],
    done: (failure) => told.frame(told.last(failure === null ? endOf() : { status: 'failed', error: failure })),
    whole: (answer) => {
      read(answer, 'message')
      finish()
      const all = answer.choices.flatMap(({ logprobs: of }) =>
        logprobs && isObject(of) && Array.isArray(of.content) ? (of.content as object[]) : [],
      )
      return jsonOf(told.ended(endOf(), withLogprobs(output.items, all)))
    },
  }
}

function isCut(reason: unknown): boolean {
  return reason === 'length' || reason === 'content_filter'
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return ''
  if (typeof value !== 'string') throw unreadable()
  return value
}

function unreadable(): EngineFailure {
  return new EngineFailure('failed', 'the engine sent an answer that cannot be told as a response')
}

/** As the engine counts; null where it did not say. */
function usageOf(usage: Members | null): object | null {
  if (usage === null) return null
  const number = (value: unknown): number => (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : 0)
  const of = (details: unknown, name: string): number => (isObject(details) ? number(details[name]) : 0)
  const input = number(usage.prompt_tokens)
  const output = number(usage.completion_tokens)
  return {
    input_tokens: input,
    input_tokens_details: { cached_tokens: of(usage.prompt_tokens_details, 'cached_tokens') },
    output_tokens: output,
    output_tokens_details: { reasoning_tokens: of(usage.completion_tokens_details, 'reasoning_tokens') },
    total_tokens: input + output,
  }
}
