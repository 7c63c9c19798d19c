import { fromUtf8, parseJson } from 'veritee/bytes'
import { type Answer, type AnswerCall, type AnswerToken, eventsOf, record, tokensOf } from './answer.ts'

interface Told {
  text: string
  readonly calls: AnswerCall[]
  readonly tokens: AnswerToken[]
}

/** A response repeats schemas of its request, whose levels are bounded by 64. */
const json = { maxLength: 1 << 26, maxDepth: 72 }

/**
 * What a response says, plain or as the events of its stream. A stream tells everything more than once: in pieces, when an item is done, and in the last
 * event. All of it must agree. Throws `TypeError` where it does not, and for JSON of another shape; else as `parseAnswers`.
 */
export function parseResponse(body: Uint8Array, streamed: boolean): Answer {
  if (!streamed) {
    const response = parseJson(fromUtf8(body), json)
    const told = toldBy(response)
    return answerOf(told, finishReasonOf(response, told))
  }
  const items = new Map<unknown, Told>()
  let finishReason: string | null = null
  const itemOf = (event: Record<string, unknown>): Told => {
    const item = items.get(event.output_index)
    if (item === undefined) throw new TypeError('answer: expected an item to be added before it grows')
    return item
  }
  for (const event of namedEvents(body).map(record)) {
    if (event.type === 'response.output_item.added') {
      if (event.output_index !== items.size) throw new TypeError('answer: expected items one after the other')
      items.set(event.output_index, toldBy({ output: [event.item] }))
    } else if (event.type === 'response.output_text.delta') {
      const item = itemOf(event)
      item.text += textOf(event.delta)
      item.tokens.push(...tokensOf(event.logprobs))
    } else if (event.type === 'response.function_call_arguments.delta') grow(itemOf(event), textOf(event.delta))
    else if (event.type === 'response.output_text.done') demandEqual(itemOf(event).text, event.text)
    else if (event.type === 'response.content_part.done') demandEqual(itemOf(event).text, record(event.part).text)
    else if (event.type === 'response.function_call_arguments.done') demandEqual(itemOf(event).calls.at(-1)?.arguments, event.arguments)
    else if (event.type === 'response.output_item.done') demandSame(itemOf(event), toldBy({ output: [event.item] }))
    else if (event.type === 'response.completed' || event.type === 'response.incomplete') {
      const whole = toldBy(event.response)
      demandSame(joined(items.values()), whole)
      finishReason = finishReasonOf(event.response, whole)
    }
  }
  return answerOf(joined(items.values()), finishReason)
}

function answerOf({ text, calls, tokens }: Told, finishReason: string | null): Answer {
  return { text, calls, finishReason, tokens: tokens.length === 0 ? null : tokens }
}

/** Events with a name; the rest are comments. */
function namedEvents(body: Uint8Array): unknown[] {
  return eventsOf(body)
    .map((event) => /^event: [\w.]+\ndata: /.exec(event))
    .filter((found) => found !== null)
    .map(({ input, 0: { length } }) => parseJson(input.slice(length), json))
}

/** Text and calls of the items of a response. */
function toldBy(response: unknown): Told {
  const { output } = record(response)
  if (!Array.isArray(output)) throw new TypeError('answer: expected the items of a response')
  return joined(output.map(record).map(itemTold))
}

function itemTold(item: Record<string, unknown>): Told {
  if (item.type === 'function_call') return { text: '', calls: [{ name: textOf(item.name), arguments: textOf(item.arguments) }], tokens: [] }
  if (item.type !== 'message' || !Array.isArray(item.content)) throw new TypeError('answer: expected messages and calls')
  const parts = item.content.map(record)
  return { text: parts.map(({ text }) => textOf(text)).join(''), calls: [], tokens: parts.flatMap(({ logprobs }) => tokensOf(logprobs)) }
}

function joined(items: Iterable<Told>): Told {
  const all = [...items]
  return {
    text: all.map(({ text }) => text).join(''),
    calls: all.flatMap(({ calls }) => calls),
    tokens: all.flatMap(({ tokens }) => tokens),
  }
}

function grow(item: Told, text: string): void {
  const last = item.calls.at(-1)
  if (last === undefined) throw new TypeError('answer: expected arguments of a call')
  item.calls.splice(-1, 1, { name: last.name, arguments: last.arguments + text })
}

function finishReasonOf(response: unknown, { calls }: Told): string | null {
  const { status, incomplete_details: details } = record(response)
  if (status === 'incomplete') return record(details).reason === 'max_output_tokens' ? 'length' : null
  return status === 'completed' ? (calls.length > 0 ? 'tool_calls' : 'stop') : null
}

function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError('answer: expected a text')
  return value
}

function demandEqual(told: string | undefined, again: unknown): void {
  if (told !== again) throw new TypeError('answer: expected every telling to agree')
}

function demandSame(told: Told, again: Told): void {
  demandEqual(told.text, again.text)
  demandEqual(JSON.stringify(told.calls), JSON.stringify(again.calls))
}
