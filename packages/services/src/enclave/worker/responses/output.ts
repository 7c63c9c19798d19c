import { drawHex } from '../../runtime/random.ts'
import { newCallId, pieces } from '../chat-format.ts'
import type { CallReader, ToolCall } from '../engine/index.ts'
import type { ToolFormat } from '../engine/tools/tool-format.ts'

export interface MessageItem {
  readonly id: string
  readonly type: 'message'
  status: 'in_progress' | 'completed' | 'incomplete'
  readonly role: 'assistant'
  content: readonly OutputText[]
}

interface OutputText {
  readonly type: 'output_text'
  readonly annotations: readonly []
  readonly logprobs: readonly object[]
  readonly text: string
}

interface CallItem {
  readonly id: string
  readonly type: 'function_call'
  readonly status: 'completed'
  readonly call_id: string
  readonly name: string
  readonly arguments: string
}

export type OutputItem = MessageItem | CallItem

/** One event of a stream, before it has its number. */
export interface OutputEvent {
  readonly type: string
  readonly [member: string]: unknown
}

/**
 * The items of a response as an answer grows, and the events that tell of them, in the order that OpenAI's API has: an item is added, grows, and is done
 * before the next one begins. A message holds the text between calls; white space alone between calls, or before and after them, is none.
 */
export class Output {
  readonly items: OutputItem[] = []
  readonly #reader: CallReader | null
  readonly #format: ToolFormat | undefined
  #open: MessageItem | null = null
  #text = ''
  /** White space that becomes text when text follows it. */
  #space = ''

  constructor(reader: CallReader | null, format: ToolFormat | undefined) {
    this.#reader = reader
    this.#format = format
  }

  /** Opens the message where it is certain that there is one: what the model writes is text. */
  begin(): OutputEvent[] {
    return this.#reader === null ? this.#openMessage() : []
  }

  add(text: string, logprobs: readonly object[] = []): OutputEvent[] {
    if (this.#reader === null) return this.#addText(text, logprobs)
    return this.#addParts(this.#reader.add(text).parts)
  }

  /** A call that came as one, and text between calls without a reader: {@link add}. */
  call(call: ToolCall, callId: string): OutputEvent[] {
    return this.#addCall(call, callId)
  }

  /** The answer has ended: whole, or cut off at its most tokens. */
  end(whole: boolean): OutputEvent[] {
    const rest = this.#addParts(this.#reader?.end().parts ?? [])
    // An answer without any item would be none; white space alone is what the model wrote.
    if (this.items.length === 0) {
      const space = this.#space
      rest.push(...this.#openMessage(), ...this.#told(space, []))
    }
    return [...rest, ...this.#closeMessage(whole ? 'completed' : 'incomplete')]
  }

  #addParts(parts: readonly (string | ToolCall)[]): OutputEvent[] {
    return parts.flatMap((part) => (typeof part === 'string' ? this.#addText(part, []) : this.#addCall(part, newCallId(this.#format))))
  }

  #addText(text: string, logprobs: readonly object[]): OutputEvent[] {
    if (this.#open !== null) return this.#told(text, logprobs)
    const pending = this.#space + text
    if (pending.trim() === '') {
      this.#space = pending
      return []
    }
    return [...this.#openMessage(), ...this.#told(pending, logprobs)]
  }

  #openMessage(): OutputEvent[] {
    const item: MessageItem = { id: `msg_${drawHex(16)}`, type: 'message', status: 'in_progress', role: 'assistant', content: [] }
    this.#open = item
    this.#text = ''
    this.#space = ''
    this.items.push(item)
    return [
      { type: 'response.output_item.added', output_index: this.items.length - 1, item: { ...item } },
      { type: 'response.content_part.added', ...this.#place(item), part: textPart('') },
    ]
  }

  #told(text: string, logprobs: readonly object[]): OutputEvent[] {
    const item = this.#open
    if (item === null || (text === '' && logprobs.length === 0)) return []
    this.#text += text
    const [first = '', ...more] = pieces(text)
    const delta = (piece: string, of: readonly object[]): OutputEvent => ({
      type: 'response.output_text.delta',
      ...this.#place(item),
      delta: piece,
      logprobs: of,
    })
    return [delta(first, logprobs), ...more.map((piece) => delta(piece, []))]
  }

  #closeMessage(status: 'completed' | 'incomplete'): OutputEvent[] {
    const item = this.#open
    if (item === null) return []
    this.#open = null
    const part = textPart(this.#text)
    item.status = status
    item.content = [part]
    const place = this.#place(item)
    return [
      // Logprobs went out with the deltas; all of them at once could be longer than an event may be.
      { type: 'response.output_text.done', ...place, text: part.text, logprobs: [] },
      { type: 'response.content_part.done', ...place, part },
      { type: 'response.output_item.done', output_index: place.output_index, item },
    ]
  }

  #addCall(call: ToolCall, callId: string): OutputEvent[] {
    const before = this.#closeMessage('completed')
    this.#space = ''
    const item: CallItem = {
      id: `fc_${drawHex(16)}`,
      type: 'function_call',
      status: 'completed',
      call_id: callId,
      name: call.name,
      arguments: call.arguments,
    }
    const output_index = this.items.push(item) - 1
    const place = { item_id: item.id, output_index }
    return [
      ...before,
      { type: 'response.output_item.added', output_index, item: { ...item, status: 'in_progress', arguments: '' } },
      ...pieces(call.arguments).map((delta) => ({ type: 'response.function_call_arguments.delta', ...place, delta })),
      { type: 'response.function_call_arguments.done', ...place, name: call.name, arguments: call.arguments },
      { type: 'response.output_item.done', output_index, item },
    ]
  }

  #place({ id }: MessageItem): { readonly item_id: string; readonly output_index: number; readonly content_index: 0 } {
    return { item_id: id, output_index: this.items.findIndex((item) => item.id === id), content_index: 0 }
  }
}

/** The items with all logprobs in their texts, as a response that is not streamed has them. */
export function withLogprobs(items: readonly OutputItem[], logprobs: readonly object[]): readonly object[] {
  return items.map((item) => (item.type === 'message' ? { ...item, content: item.content.map((part) => ({ ...part, logprobs })) } : item))
}

function textPart(text: string): OutputText {
  return { type: 'output_text', annotations: [], logprobs: [], text }
}
