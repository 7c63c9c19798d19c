import { isEmptyArray, isObject } from '../engine/request/members.ts'
import { type ChatMessage, isCallId, type MessageCall, parseArguments } from '../engine/request/messages.ts'
import { toolName } from '../engine/request/tools.ts'
import { RequestError } from '../engine/request-error.ts'

const maxItems = 2_048
const maxCalls = 128

/**
 * Reads `input`, a text or a list of items, as the messages of a conversation. Calls are of the assistant's message right before them, as chat templates
 * want it; a result must answer one of the calls right before it. Items that name something kept by a server are refused: nothing is kept.
 * Throws {@link RequestError}.
 */
export function readInput(value: unknown): ChatMessage[] {
  const param = 'input'
  if (typeof value === 'string') return [{ role: 'user', content: wellFormed(value, param) }]
  if (!Array.isArray(value) || value.length === 0) throw new RequestError('input must be a string or a non-empty array', { param })
  if (value.length > maxItems) throw new RequestError(`expected at most ${maxItems} items of input, found ${value.length}`, { param })
  const messages: ChatMessage[] = []
  for (const [index, item] of value.entries()) {
    const at = `${param}[${index}]`
    if (!isObject(item)) throw new RequestError(`${at} must be an object`, { param: at })
    const kind = item.type ?? 'message'
    if (kind === 'message') messages.push(readMessage(item, at))
    else if (kind === 'function_call') addCall(messages, readCall(item, at), at)
    else if (kind === 'function_call_output') messages.push(readOutput(messages, item, at))
    else
      throw new RequestError(`${at}.type must be message, function_call or function_call_output; nothing is kept that others could refer to`, {
        param: `${at}.type`,
        code: 'unsupported_value',
      })
  }
  return messages
}

/** Clients send back what they got: ids and states of items, which mean nothing here. */
const carried = new Set(['type', 'id', 'status'])

function demandMembers(item: Record<string, unknown>, names: readonly string[], at: string): void {
  for (const [name, found] of Object.entries(item)) {
    if (names.includes(name) || found === null || isEmptyArray(found)) continue
    if (carried.has(name) && typeof found === 'string') continue
    throw new RequestError(`${at} holds a member that is not supported`, { param: at, code: 'unknown_parameter' })
  }
}

function readMessage(item: Record<string, unknown>, at: string): ChatMessage {
  demandMembers(item, ['role', 'content'], at)
  const { role, content } = item
  if (role !== 'system' && role !== 'developer' && role !== 'user' && role !== 'assistant')
    throw new RequestError(`${at}.role must be system, developer, user or assistant`, { param: `${at}.role` })
  const param = `${at}.content`
  return { role, content: readContent(content, role === 'assistant' ? 'output_text' : 'input_text', param) }
}

/** A text, or parts that are joined without a separator. */
function readContent(value: unknown, kind: 'input_text' | 'output_text', param: string): string {
  if (typeof value === 'string') return wellFormed(value, param)
  if (!Array.isArray(value)) throw new RequestError(`${param} must be a string or an array of text parts`, { param })
  return value.map((part: unknown, index) => readPart(part, kind, `${param}[${index}]`)).join('')
}

function readPart(value: unknown, kind: string, param: string): string {
  if (!isObject(value) || value.type !== kind)
    throw new RequestError(`${param} must be of type ${kind}; other parts are not supported`, { param, code: 'unsupported_value' })
  const { type: _, text, annotations, logprobs, ...rest } = value
  // Of an answer that is sent back.
  const asTold = (found: unknown): boolean => found === undefined || (kind === 'output_text' && (found === null || Array.isArray(found)))
  if (typeof text !== 'string' || !isEmptyOrAbsent(annotations) || !asTold(logprobs) || Object.keys(rest).length > 0)
    throw new RequestError(`${param} must hold type and text`, { param })
  return wellFormed(text, param)
}

function isEmptyOrAbsent(value: unknown): boolean {
  return value === undefined || value === null || isEmptyArray(value)
}

function readCall(item: Record<string, unknown>, at: string): MessageCall {
  demandMembers(item, ['call_id', 'name', 'arguments'], at)
  const { call_id: id, name, arguments: text } = item
  if (!isCallId(id)) throw new RequestError(`${at}.call_id must be a string of 1 to 64 letters, digits, _ or -`, { param: `${at}.call_id` })
  if (typeof name !== 'string' || !toolName.test(name))
    throw new RequestError(`${at}.name must be 1 to 64 letters, digits, _ or -`, { param: `${at}.name` })
  return { id, name, arguments: parseArguments(text, `${at}.arguments`) }
}

function addCall(messages: ChatMessage[], call: MessageCall, at: string): void {
  const last = messages.at(-1)
  const before = last?.role === 'assistant' ? (messages.pop() ?? null) : null
  const toolCalls = [...(before?.toolCalls ?? []), call]
  if (toolCalls.length > maxCalls) throw new RequestError(`expected at most ${maxCalls} calls one after the other`, { param: at })
  messages.push({ ...(before ?? { role: 'assistant', content: '' }), toolCalls })
}

function readOutput(messages: readonly ChatMessage[], item: Record<string, unknown>, at: string): ChatMessage {
  demandMembers(item, ['call_id', 'output'], at)
  const called = messages.findLast(({ role }) => role !== 'tool')?.toolCalls ?? []
  const call = called.find(({ id }) => id === item.call_id)
  if (call === undefined) throw new RequestError(`${at}.call_id names no call right before it`, { param: `${at}.call_id` })
  // Some templates name the function beside its result.
  return { name: call.name, role: 'tool', content: readContent(item.output, 'input_text', `${at}.output`), toolCallId: call.id }
}

/** A lone surrogate has no UTF-8 form, so the text that is hashed and the text that is tokenized would differ. */
function wellFormed(text: string, param: string): string {
  if (!text.isWellFormed()) throw new RequestError(`${param} holds a lone surrogate`, { param })
  return text
}
