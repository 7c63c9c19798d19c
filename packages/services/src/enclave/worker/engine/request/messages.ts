import { parseJson } from 'veritee/bytes'
import { RequestError } from '../request-error.ts'
import { isEmptyArray, isObject } from './members.ts'
import { toolName } from './tools.ts'

export type ChatMessage = {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  /** Text parts of an array content are joined without a separator; empty where an assistant only called tools. */
  readonly content: string
  readonly name?: string
  /** Calls that an assistant made. */
  readonly toolCalls?: readonly MessageCall[]
  /** For the role `tool`: the call whose result this is. */
  readonly toolCallId?: string
}

export interface MessageCall {
  readonly id: string
  readonly name: string
  /** An object, as chat templates expect it. */
  readonly arguments: { readonly [name: string]: unknown }
}

const maxMessages = 1024
const maxCalls = 128

/**
 * Reads the messages of a conversation. A message of the role `tool` must answer a call of the assistant's message before it.
 * Throws {@link RequestError}.
 */
export function parseMessages(value: unknown): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) throw new RequestError('messages must be a non-empty array', { param: 'messages' })
  if (value.length > maxMessages) throw new RequestError(`expected at most ${maxMessages} messages, found ${value.length}`, { param: 'messages' })
  const messages: ChatMessage[] = []
  let called: readonly MessageCall[] = []
  for (const [index, item] of value.entries()) {
    const message = parseMessage(item, `messages[${index}]`)
    if (message.role !== 'tool') called = message.toolCalls ?? []
    const call = called.find(({ id }) => id === message.toolCallId)
    if (message.role === 'tool' && call === undefined)
      throw new RequestError(`messages[${index}].tool_call_id names no call of the message before`, { param: `messages[${index}].tool_call_id` })
    // Some templates name the function beside its result.
    messages.push(call === undefined ? message : { name: call.name, ...message })
  }
  return messages
}

function parseMessage(value: unknown, param: string): ChatMessage {
  if (!isObject(value)) throw new RequestError(`${param} must be an object`, { param })
  const { role, content, name, tool_calls: calls, tool_call_id: callId, ...rest } = value
  if (role === 'function')
    throw new RequestError('the role function is not supported; use tool', { param: `${param}.role`, code: 'unsupported_value' })
  if (role !== 'system' && role !== 'developer' && role !== 'user' && role !== 'assistant' && role !== 'tool')
    throw new RequestError(`${param}.role must be system, developer, user, assistant or tool`, { param: `${param}.role` })
  for (const found of Object.values(rest)) {
    // Clients send an assistant's message back as they got it: refusal null, annotations empty.
    if (found === null || isEmptyArray(found)) continue
    throw new RequestError(`${param} holds a member that is not supported`, { param, code: 'unknown_parameter' })
  }
  if (name !== undefined && name !== null && (typeof name !== 'string' || !toolName.test(name)))
    throw new RequestError(`${param}.name must be 1 to 64 letters, digits, _ or -`, { param: `${param}.name` })
  const toolCalls = parseCalls(calls, role, param)
  const onlyCalls = toolCalls.length > 0 && (content === null || content === undefined)
  return {
    role,
    content: onlyCalls ? '' : parseContent(content, `${param}.content`),
    ...(typeof name === 'string' && { name }),
    ...(toolCalls.length > 0 && { toolCalls }),
    ...parseCallId(callId, role, param),
  }
}

function parseCalls(value: unknown, role: string, param: string): MessageCall[] {
  if (value === undefined || value === null || isEmptyArray(value)) return []
  const at = `${param}.tool_calls`
  if (role !== 'assistant' || !Array.isArray(value) || value.length > maxCalls)
    throw new RequestError(`${at} must be an array of at most ${maxCalls}, of the role assistant`, { param: at })
  return value.map((call: unknown, index) => parseCall(call, `${at}[${index}]`))
}

function parseCall(value: unknown, param: string): MessageCall {
  if (!isObject(value) || value.type !== 'function' || !isObject(value.function))
    throw new RequestError(`${param} must be of type function`, { param })
  const { name, arguments: text } = value.function
  if (!isCallId(value.id)) throw new RequestError(`${param}.id must be a string of 1 to 64 letters, digits, _ or -`, { param: `${param}.id` })
  if (typeof name !== 'string' || !toolName.test(name))
    throw new RequestError(`${param}.function.name must be 1 to 64 letters, digits, _ or -`, { param: `${param}.function.name` })
  return { id: value.id, name, arguments: parseArguments(text, `${param}.function.arguments`) }
}

/** Throws {@link RequestError}. */
export function parseArguments(text: unknown, param: string): { readonly [name: string]: unknown } {
  let value: unknown
  try {
    value = typeof text === 'string' ? parseJson(text === '' ? '{}' : text, { maxLength: 1 << 20, maxDepth: 64 }) : undefined
  } catch {
    value = undefined
  }
  if (!isObject(value)) throw new RequestError(`${param} must be the JSON text of an object`, { param })
  return value
}

function parseCallId(value: unknown, role: string, param: string): { toolCallId?: string } {
  const at = `${param}.tool_call_id`
  if (role === 'tool') {
    if (!isCallId(value)) throw new RequestError(`${at} must be a string of 1 to 64 letters, digits, _ or -`, { param: at })
    return { toolCallId: value }
  }
  if (value !== undefined && value !== null) throw new RequestError(`${at} is for the role tool`, { param: at })
  return {}
}

export function isCallId(value: unknown): value is string {
  return typeof value === 'string' && toolName.test(value)
}

function parseContent(value: unknown, param: string): string {
  const text = Array.isArray(value) ? value.map((part: unknown, index) => parsePart(part, `${param}[${index}]`)).join('') : value
  if (typeof text !== 'string') throw new RequestError(`${param} must be a string or an array of text parts`, { param })
  // A lone surrogate has no UTF-8 form, so the text that is hashed and the text that is tokenized would differ.
  if (!text.isWellFormed()) throw new RequestError(`${param} holds a lone surrogate`, { param })
  return text
}

function parsePart(part: unknown, param: string): string {
  if (!isObject(part) || part.type !== 'text')
    throw new RequestError(`${param} must be of type text; other parts are not supported`, { param, code: 'unsupported_value' })
  if (typeof part.text !== 'string' || Object.keys(part).length !== 2) throw new RequestError(`${param} must hold type and text`, { param })
  return part.text
}
