import { RequestError } from '../request-error.ts'
import { isEmptyArray, isObject } from './members.ts'

export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant'
  /** Text parts of an array content are joined without a separator. */
  readonly content: string
  readonly name?: string
}

const maxMessages = 1024

/** Throws {@link RequestError}. */
export function parseMessages(value: unknown): ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) throw new RequestError('messages must be a non-empty array', { param: 'messages' })
  if (value.length > maxMessages) throw new RequestError(`expected at most ${maxMessages} messages, found ${value.length}`, { param: 'messages' })
  return value.map(parseMessage)
}

function parseMessage(value: unknown, index: number): ChatMessage {
  const param = `messages[${index}]`
  if (!isObject(value)) throw new RequestError(`${param} must be an object`, { param })
  const { role, content, name, ...rest } = value
  if (role === 'tool' || role === 'function') throw new RequestError('tools are not supported', { param: `${param}.role`, code: 'unsupported_value' })
  if (role !== 'system' && role !== 'developer' && role !== 'user' && role !== 'assistant')
    throw new RequestError(`${param}.role must be system, developer, user or assistant`, { param: `${param}.role` })
  for (const [member, found] of Object.entries(rest)) {
    // Clients send an assistant's message back as they got it: refusal null, tool_calls empty.
    if (found === null || isEmptyArray(found)) continue
    throw new RequestError(`${param} holds a member that is not supported`, {
      param,
      code: member === 'tool_calls' ? 'unsupported_value' : 'unknown_parameter',
    })
  }
  if (name !== undefined && name !== null && (typeof name !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(name)))
    throw new RequestError(`${param}.name must be 1 to 64 letters, digits, _ or -`, { param: `${param}.name` })
  return { role, content: parseContent(content, `${param}.content`), ...(typeof name === 'string' && { name }) }
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
