import { fail } from 'veritee/errors'
import { maxEventBytes } from 'veritee/receipt'
import type { HttpError } from '../../../http/errors.ts'
import type { AnswerFrame } from '../chat-format.ts'
import type { OutputEvent, OutputItem } from './output.ts'
import type { Echo } from './request.ts'

/** How an answer ended, as a response tells it. */
export type ResponseEnd =
  | { readonly status: 'completed'; readonly usage: object | null }
  | { readonly status: 'incomplete'; readonly reason: 'max_output_tokens' | 'content_filter'; readonly usage: object | null }
  | { readonly status: 'failed'; readonly error: HttpError }

/** One response as its object and its events tell it: all but the items, which grow elsewhere. */
export class ToldResponse {
  readonly #frame: AnswerFrame
  readonly #echo: Echo
  readonly #items: readonly OutputItem[]
  #sequence = 0

  constructor(frame: AnswerFrame, echo: Echo, items: readonly OutputItem[]) {
    this.#frame = frame
    this.#echo = echo
    this.#items = items
  }

  /** The response when it has ended; `items` where they are told otherwise than they grew. */
  ended(end: ResponseEnd, items: readonly object[] = this.#items): object {
    if (end.status === 'failed') return this.#response('failed', { output: [], error: { code: 'server_error', message: end.error.message } })
    const { status, usage } = end
    return this.#response(status, { output: items, usage, ...(status === 'incomplete' && { incomplete_details: { reason: end.reason } }) })
  }

  started(): OutputEvent[] {
    const response = this.#response('in_progress', { output: [] })
    return [
      { type: 'response.created', response },
      { type: 'response.in_progress', response },
    ]
  }

  /** The event that ends a stream. Throws `response_too_large`. */
  last(end: ResponseEnd): OutputEvent {
    const event = { type: `response.${end.status}`, response: this.ended(end) }
    bounded([event])
    return event
  }

  /** Numbered as they go out, so that an event that could not be told leaves no gap. */
  frame({ type, ...rest }: OutputEvent): string {
    return frameOf({ type, sequence_number: this.#sequence++, ...rest })
  }

  #response(status: string, rest: object): object {
    const { id, created, model } = this.#frame
    return {
      id,
      object: 'response',
      created_at: created,
      status,
      background: false,
      error: null,
      incomplete_details: null,
      ...this.#echo,
      model,
      output: [],
      previous_response_id: null,
      reasoning: { effort: null, summary: null },
      service_tier: 'default',
      store: false,
      truncation: 'disabled',
      usage: null,
      user: null,
      ...rest,
    }
  }
}

/** Named events, as OpenAI's API sends them. */
function frameOf(event: OutputEvent): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
}

/** Of the number. */
const maxNumberBytes = 64

/** Those that tell an answer whole may be longer than an event is allowed to be. Throws `response_too_large`. */
export function bounded(events: readonly OutputEvent[]): readonly OutputEvent[] {
  if (events.some((event) => Buffer.byteLength(frameOf(event)) > maxEventBytes - maxNumberBytes))
    throw fail('response_too_large', `expected an answer that fits an event of ${maxEventBytes} bytes; ask for it without a stream`)
  return events
}
