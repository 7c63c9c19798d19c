import { fail } from '../../errors.ts'

type Members = { readonly [name: string]: unknown }

/** Members of a request for a response that a chat says in other words, or that ask an engine for nothing. All others go on as they are. */
const consumed = [
  'input',
  'instructions',
  'text',
  'tools',
  'tool_choice',
  'parallel_tool_calls',
  'max_output_tokens',
  'include',
  'top_logprobs',
  'metadata',
  'store',
  'background',
  'truncation',
  'reasoning',
  'context_management',
  'modalities',
  'previous_response_id',
  'conversation',
  'prompt',
  'stream_options',
  'max_tokens',
  'response_format',
  'logprobs',
]

/**
 * A request of `/v1/responses` as the chat that an external engine is asked for: the same conversation, tools, form and bounds under the names of
 * `/v1/chat/completions` (spec/receipt-events.md, "Responses as chats"). What both sides make of it is equal byte for byte: the text is what
 * ECMAScript's `JSON.stringify` prints of the value.
 *
 * Does not check what a service must: whether values are in range, calls have results, names are well formed. Throws `receipt_malformed` for a body that
 * is no such request, one with `messages` among them: it would be read in two ways.
 */
export function chatOfResponses(body: Members): Record<string, unknown> {
  if (Object.hasOwn(body, 'messages')) throw refuse('no messages')
  const rest = Object.fromEntries(Object.entries(body).filter(([name]) => !consumed.includes(name)))
  const instructions = told(body, 'instructions')
  const tools = told(body, 'tools')
  const include = told(body, 'include')
  const text = told(body, 'text')
  const form = isObject(text) ? formOf(text.format) : null
  const limit = told(body, 'max_output_tokens')
  return {
    ...rest,
    messages: [...(instructions === undefined ? [] : [{ role: 'system', content: instructions }]), ...messagesOf(body.input)],
    ...(limit !== undefined && { max_tokens: limit }),
    ...(form !== null && { response_format: form }),
    ...(Array.isArray(tools) && tools.length > 0 && toolMembers(body, tools)),
    ...(Array.isArray(include) && include.includes('message.output_text.logprobs') && { logprobs: true, top_logprobs: body.top_logprobs ?? 0 }),
  }
}

function toolMembers(body: Members, tools: readonly unknown[]): Members {
  const choice = told(body, 'tool_choice')
  const parallel = told(body, 'parallel_tool_calls')
  return {
    tools: tools.map((tool) => {
      if (!isObject(tool)) throw refuse('tools that are objects')
      const { type, ...described } = tool
      return { type, function: described }
    }),
    ...(choice !== undefined && { tool_choice: isObject(choice) ? { type: choice.type, function: { name: choice.name } } : choice }),
    ...(parallel !== undefined && { parallel_tool_calls: parallel }),
  }
}

function formOf(format: unknown): Members | null {
  if (!isObject(format) || format.type === 'text') return null
  const { type, ...described } = format
  return type === 'json_schema' ? { type, json_schema: described } : { type }
}

function messagesOf(input: unknown): readonly object[] {
  if (typeof input === 'string') return [{ role: 'user', content: input }]
  if (!Array.isArray(input)) throw refuse('an input')
  const messages: Record<string, unknown>[] = []
  for (const item of input as readonly unknown[]) {
    if (!isObject(item)) throw refuse('items that are objects')
    const kind = item.type ?? 'message'
    if (kind === 'message') messages.push({ role: item.role, content: textOf(item.content, true) })
    else if (kind === 'function_call') addCall(messages, item)
    else if (kind === 'function_call_output') messages.push({ role: 'tool', tool_call_id: item.call_id, content: textOf(item.output, true) })
    else throw refuse('messages, calls and results of calls')
  }
  return messages
}

/** Calls are of the assistant's message right before them. */
function addCall(messages: Record<string, unknown>[], { call_id: id, name, arguments: text }: Members): void {
  const call = { id, type: 'function', function: { name, arguments: text === '' ? '{}' : text } }
  const last = messages.at(-1)
  if (last?.role !== 'assistant') messages.push({ role: 'assistant', content: '', tool_calls: [call] })
  else last.tool_calls = [...((last.tool_calls as readonly object[] | undefined) ?? []), call]
}

/** A text, or parts that are joined without a separator. */
function textOf(value: unknown, mayHaveParts: boolean): string {
  if (typeof value === 'string') return value
  if (!mayHaveParts || !Array.isArray(value)) throw refuse('texts')
  return value.map((part: unknown) => textOf(isObject(part) ? part.text : undefined, false)).join('')
}

/** `null` says nothing. */
function told(body: Members, name: string): unknown {
  return Object.hasOwn(body, name) ? (body[name] ?? undefined) : undefined
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refuse(expected: string): Error {
  return fail('receipt_malformed', `expected a request for a response that can be told as a chat: ${expected}`)
}
