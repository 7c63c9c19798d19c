import { maxTopK, maxTopLogprobs, type Sampling } from './engine.ts'
import { RequestError } from './request-error.ts'

export interface ChatMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant'
  /** Text parts of an array content are joined without a separator. */
  readonly content: string
  readonly name?: string
}

/** A validated `/v1/chat/completions` request. Everything that changes the answer is in here, with its default filled in. */
export interface ChatRequest {
  readonly model: string
  readonly messages: readonly ChatMessage[]
  readonly sampling: Sampling
  /** null: as much as the context holds. */
  readonly maxTokens: number | null
  readonly stop: readonly string[]
  readonly stream: boolean
  readonly includeUsage: boolean
  readonly seed: number | null
  readonly logprobs: boolean
  readonly topLogprobs: number
  /** Names of members that had no effect, sorted: they belong into the receipt, so that nothing is dropped silently. */
  readonly ignored: readonly string[]
}

export interface ParseOptions {
  /** Members that the caller has dealt with itself, such as `provider`: neither an error nor ignored. */
  readonly handled?: readonly string[]
}

const maxMessages = 1024
const maxStopLength = 256
const maxIgnored = 64

/** Members whose value would change the answer in a way this engine does not offer, with the values that ask for nothing. */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  n: (value) => value === 1,
  frequency_penalty: (value) => value === 0,
  presence_penalty: (value) => value === 0,
  repetition_penalty: (value) => value === 1,
  logit_bias: isEmptyObject,
  tools: isEmptyArray,
  tool_choice: (value) => value === 'none' || value === 'auto',
  functions: isEmptyArray,
  function_call: (value) => value === 'none' || value === 'auto',
  response_format: (value) => isObject(value) && value.type === 'text' && Object.keys(value).length === 1,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
  audio: () => false,
  prediction: () => false,
  web_search_options: () => false,
  best_of: (value) => value === 1,
  echo: (value) => value === false,
  guided_json: () => false,
  guided_regex: () => false,
  guided_choice: () => false,
  guided_grammar: () => false,
}

/**
 * Validates the parsed JSON body of a chat completion. In order: shape, then each known member, `null` counting as absent; members that would
 * change the answer and are not offered are refused unless they ask for nothing; all other members are listed in `ignored`.
 * Whether `model` is served here and whether the prompt fits is not checked. Throws {@link RequestError}.
 */
export function parseChatRequest(body: unknown, options: ParseOptions = {}): ChatRequest {
  if (!isObject(body)) throw new RequestError('expected a JSON object')
  const members = new Map(Object.entries(body).filter(([, value]) => value !== null))
  const take = (name: string): unknown => {
    const value = members.get(name)
    members.delete(name)
    return value
  }
  for (const name of options.handled ?? []) take(name)
  for (const [name, asksNothing] of Object.entries(unsupported)) {
    const value = take(name)
    if (value !== undefined && !asksNothing(value))
      throw new RequestError(`${name} is not supported with this value`, { param: name, code: 'unsupported_value' })
  }

  const model = take('model')
  if (typeof model !== 'string' || model === '' || model.length > 256) throw new RequestError('model must be a non-empty string', { param: 'model' })
  const messages = parseMessages(take('messages'))
  const limit = integer('max_tokens', take('max_tokens'), 1, Number.MAX_SAFE_INTEGER)
  const newerLimit = integer('max_completion_tokens', take('max_completion_tokens'), 1, Number.MAX_SAFE_INTEGER)
  if (limit !== null && newerLimit !== null && limit !== newerLimit)
    throw new RequestError('max_tokens and max_completion_tokens differ; send one of them', { param: 'max_tokens' })
  const sampling: Sampling = {
    temperature: number('temperature', take('temperature'), 0, 2) ?? 1,
    topP: number('top_p', take('top_p'), 0, 1) ?? 1,
    minP: number('min_p', take('min_p'), 0, 1) ?? 0,
    topK: parseTopK(take('top_k')),
  }
  if (sampling.topP === 0) throw new RequestError('top_p must be above 0', { param: 'top_p' })
  const stream = boolean('stream', take('stream'))
  const logprobs = boolean('logprobs', take('logprobs'))
  const topLogprobs = integer('top_logprobs', take('top_logprobs'), 0, maxTopLogprobs)
  if (topLogprobs !== null && !logprobs) throw new RequestError('top_logprobs needs logprobs: true', { param: 'top_logprobs' })
  return {
    model,
    messages,
    sampling,
    maxTokens: newerLimit ?? limit,
    stop: parseStop(take('stop')),
    stream,
    includeUsage: parseStreamOptions(take('stream_options'), stream),
    seed: integer('seed', take('seed'), Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
    logprobs,
    topLogprobs: topLogprobs ?? 0,
    ignored: listIgnored([...members.keys()]),
  }
}

function listIgnored(names: readonly string[]): string[] {
  // The names end up in a signed record, so a request cannot write whatever it likes there.
  if (names.length > maxIgnored) throw new RequestError(`expected at most ${maxIgnored} unknown members, found ${names.length}`)
  if (names.some((name) => !/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/.test(name))) throw new RequestError('a member of the request has a malformed name')
  return names.toSorted()
}

function parseMessages(value: unknown): ChatMessage[] {
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

function parseStop(value: unknown): string[] {
  const stop: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value]
  if (stop.length > 4) throw new RequestError(`expected at most 4 stop strings, found ${stop.length}`, { param: 'stop' })
  return stop.map((text) => {
    if (typeof text !== 'string' || text === '' || text.length > maxStopLength || !text.isWellFormed())
      throw new RequestError(`stop must hold strings of 1 to ${maxStopLength} characters`, { param: 'stop' })
    return text
  })
}

function parseStreamOptions(value: unknown, stream: boolean): boolean {
  if (value === undefined) return false
  const param = 'stream_options'
  if (!stream) throw new RequestError('stream_options needs stream: true', { param })
  if (!isObject(value)) throw new RequestError('stream_options must be an object', { param })
  const { include_usage: includeUsage, ...rest } = value
  // Padding of chunks against traffic analysis; asking for none is what we do.
  for (const [name, found] of Object.entries(rest))
    if (name !== 'include_obfuscation' || found !== false) throw new RequestError('stream_options holds a member that is not supported', { param })
  return boolean(`${param}.include_usage`, includeUsage ?? undefined)
}

/** `top_k` 0 or -1 means all in several servers; here it is the widest set there is. */
function parseTopK(value: unknown): number {
  const topK = integer('top_k', value, -1, maxTopK)
  return topK === null || topK < 1 ? maxTopK : topK
}

function number(param: string, value: unknown, least: number, most: number): number | null {
  if (value === undefined) return null
  if (typeof value !== 'number' || !(value >= least && value <= most))
    throw new RequestError(`${param} must be a number from ${least} to ${most}`, { param })
  return value
}

function integer(param: string, value: unknown, least: number, most: number): number | null {
  const found = number(param, value, least, most)
  if (found !== null && !Number.isSafeInteger(found)) throw new RequestError(`${param} must be an integer from ${least} to ${most}`, { param })
  return found
}

function boolean(param: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new RequestError(`${param} must be true or false`, { param })
  return value ?? false
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isEmptyObject(value: unknown): boolean {
  return isObject(value) && Object.keys(value).length === 0
}

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}
