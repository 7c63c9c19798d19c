import { utf8 } from 'veritee/bytes'
import type { Sampling } from '../engine/engine.ts'
import type { AnswerFormat } from '../engine/request/answer-format.ts'
import { jsonObjectFormat, schemaFormat } from '../engine/request/answer-format.ts'
import type { ChatRequest, ParseOptions } from '../engine/request/chat-request.ts'
import { readGeneration, unsupportedEverywhere } from '../engine/request/generation-request.ts'
import { isEmptyArray, isObject, Members } from '../engine/request/members.ts'
import type { ChatMessage } from '../engine/request/messages.ts'
import { namedChoice, readFunction, readToolList, readToolUse, type Tool, type ToolChoice, type ToolUse } from '../engine/request/tools.ts'
import { RequestError } from '../engine/request-error.ts'
import { readInput } from './input.ts'

/** A validated `/v1/responses` request: a conversation, and what the response repeats of it. */
export interface ResponsesRequest extends ChatRequest {
  readonly echo: Echo
}

/** Members of a request that stand in every response to it, as OpenAI's API has them. */
export interface Echo {
  readonly instructions: string | null
  readonly max_output_tokens: number | null
  readonly metadata: { readonly [name: string]: unknown }
  readonly parallel_tool_calls: boolean
  readonly temperature: number
  readonly text: { readonly format: unknown }
  readonly tool_choice: unknown
  readonly tools: readonly object[]
  readonly top_logprobs: number
  readonly top_p: number
}

/** A stream tells it three times, each in one event (spec/receipt-events.md bounds those). */
const maxEchoBytes = 1 << 18

const nothing = (value: unknown): boolean => isObject(value) && Object.values(value).every((member) => member === null || member === 'none')

/** Members that ask for what this service does not do, with the values that ask for nothing. It keeps no responses, and has no tools of its own. */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  n: (value) => value === 1,
  response_format: () => false,
  max_tokens: () => false,
  max_completion_tokens: () => false,
  messages: () => false,
  store: (value) => value === false,
  previous_response_id: () => false,
  conversation: () => false,
  background: (value) => value === false,
  prompt: () => false,
  truncation: (value) => value === 'disabled',
  context_management: isEmptyArray,
  reasoning: nothing,
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
}

/**
 * Validates the parsed JSON body of `POST /v1/responses`, in the order of `parseChatRequest`. Nothing is kept between requests: without `store`, or with
 * `false`, a response is forgotten once it is told, and whatever builds on one that was kept is refused. Throws {@link RequestError}.
 */
export function parseResponsesRequest(body: unknown, options: ParseOptions = {}): ResponsesRequest {
  const members = new Members(body)
  for (const name of options.handled ?? []) members.take(name)
  members.refuse(unsupportedEverywhere)
  members.refuse(unsupported)
  const { format: guided, ...common } = readGeneration(members)
  const { messages, text, toolUse, maxTokens, logprobs, topLogprobs, echo } = readOwn(members, common.sampling, true)
  if (guided !== null && text.format !== null) throw new RequestError('the form of an answer is given twice', { param: 'text.format' })
  const format = text.format ?? guided
  if (toolUse !== null && format !== null)
    throw new RequestError('tools and a form of the answer together are not supported; use tool_choice none', {
      param: 'text.format',
      code: 'unsupported_value',
    })
  if (logprobs && toolUse !== null)
    throw new RequestError('logprobs of answers that may call tools are not supported', { param: 'include', code: 'unsupported_value' })
  return { ...common, format, messages, toolUse, maxTokens, logprobs, topLogprobs, ignored: members.rest(), echo }
}

/**
 * Checks the members that `/v1/responses` has of its own, for an engine of another process: what a chat has under the same names is the caller's to read,
 * and forms of answers are the engine's to judge. Gives what every response repeats. Throws {@link RequestError}.
 */
export function readResponsesMembers(body: unknown): Echo {
  const members = new Members(body)
  members.refuse({ ...unsupported, logprobs: () => false })
  const number = (name: string): number => members.number(name, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY) ?? 1
  return readOwn(members, { temperature: number('temperature'), topP: number('top_p') }, false).echo
}

interface OwnMembers {
  readonly messages: readonly ChatMessage[]
  readonly text: TextConfig
  readonly toolUse: ToolUse | null
  readonly maxTokens: number | null
  readonly logprobs: boolean
  readonly topLogprobs: number
  readonly echo: Echo
}

/** `held`: this service holds answers to their form, and so must be able to. */
function readOwn(members: Members, sampling: Pick<Sampling, 'temperature' | 'topP'>, held: boolean): OwnMembers {
  const text = readText(members.take('text'), held)
  const instructions = readInstructions(members.take('instructions'))
  const messages = readInput(members.take('input'))
  const tools = readToolList(members, readTool)
  const told = members.take('tool_choice')
  const toolUse = readToolUse(members, tools, readChoice(told, tools))
  const maxTokens = members.integer('max_output_tokens', 1, Number.MAX_SAFE_INTEGER)
  const logprobs = readInclude(members.take('include'))
  const topLogprobs = members.integer('top_logprobs', 0, 20) ?? 0
  if (topLogprobs > 0 && !logprobs) throw new RequestError(`top_logprobs needs include: ["${logprobsInclude}"]`, { param: 'top_logprobs' })
  const echo: Echo = {
    instructions,
    max_output_tokens: maxTokens,
    metadata: readMetadata(members.take('metadata')),
    parallel_tool_calls: toolUse?.parallel ?? true,
    temperature: sampling.temperature,
    text: { format: text.told },
    tool_choice: told ?? 'auto',
    tools: tools.map(({ name, description, parameters, strict }) => ({ type: 'function', name, description, parameters, strict })),
    top_logprobs: topLogprobs,
    top_p: sampling.topP,
  }
  if (utf8(JSON.stringify(echo)).length > maxEchoBytes)
    throw new RequestError(`expected at most ${maxEchoBytes} bytes of instructions, tools, text and metadata, which each response repeats`)
  return {
    messages: instructions === null ? messages : [{ role: 'system', content: instructions }, ...messages],
    text,
    toolUse,
    maxTokens,
    logprobs,
    topLogprobs,
    echo,
  }
}

function readInstructions(value: unknown): string | null {
  if (value === undefined) return null
  if (typeof value !== 'string' || !value.isWellFormed()) throw new RequestError('instructions must be a string', { param: 'instructions' })
  return value
}

interface TextConfig {
  readonly format: AnswerFormat | null
  readonly told: unknown
}

/** `text`: the form of the answer; verbosity is not offered. */
function readText(value: unknown, held: boolean): TextConfig {
  const param = 'text'
  if (value === undefined) return { format: null, told: { type: 'text' } }
  if (!isObject(value)) throw new RequestError('text must be an object', { param })
  const { format, verbosity, ...rest } = value
  if (verbosity !== undefined && verbosity !== null && verbosity !== 'medium')
    throw new RequestError('text.verbosity is not supported with this value', { param: `${param}.verbosity`, code: 'unsupported_value' })
  if (Object.keys(rest).length > 0) throw new RequestError('text holds a member that is not supported', { param })
  return format === undefined || format === null ? { format: null, told: { type: 'text' } } : readFormat(format, `${param}.format`, held)
}

function readFormat(value: unknown, param: string, held: boolean): TextConfig {
  if (!isObject(value)) throw new RequestError(`${param} must be an object`, { param })
  const { type, name, schema, strict, description, ...rest } = value
  if (Object.keys(rest).length > 0) throw new RequestError(`${param} holds a member that is not supported`, { param })
  if (type === 'json_schema') {
    if (typeof name !== 'string' || !/^[A-Za-z0-9_-]{1,64}$/.test(name))
      throw new RequestError(`${param}.name must be 1 to 64 letters, digits, _ or -`, { param: `${param}.name` })
    // Answers are held to the schema with and without `strict`; the description has no effect.
    if ((strict !== undefined && strict !== null && typeof strict !== 'boolean') || (description !== undefined && typeof description !== 'string'))
      throw new RequestError(`${param} holds a member that is not supported`, { param })
    if (!held && isObject(schema)) return { format: null, told: value }
    const format = schemaFormat(`${param}.schema`, schema)
    if (format === null) throw new RequestError(`${param}.schema must be there`, { param: `${param}.schema` })
    return { format, told: value }
  }
  if (Object.keys(value).length > 1) throw new RequestError(`${param} holds a member that is for the type json_schema`, { param })
  if (type === 'text') return { format: null, told: value }
  if (type !== 'json_object') throw new RequestError(`${param}.type must be text, json_object or json_schema`, { param: `${param}.type` })
  return { format: held ? jsonObjectFormat(param) : null, told: value }
}

function readTool(value: unknown, param: string): Tool {
  if (!isObject(value)) throw new RequestError(`${param} must be an object`, { param })
  const { type, ...described } = value
  if (type !== 'function')
    throw new RequestError(`${param}.type must be function; this service has no tools of its own`, {
      param: `${param}.type`,
      code: 'unsupported_value',
    })
  return readFunction(described, param)
}

function readChoice(value: unknown, tools: readonly Tool[]): ToolChoice | null {
  const param = 'tool_choice'
  if (value === 'none') return null
  if (value === undefined || value === 'auto') return { kind: 'auto' }
  if (tools.length === 0) throw new RequestError('tool_choice needs tools', { param })
  if (value === 'required') return { kind: 'required' }
  if (isObject(value) && value.type !== 'function')
    throw new RequestError('tool_choice of this type is not supported', { param, code: 'unsupported_value' })
  return namedChoice(isObject(value) && Object.keys(value).length === 2 ? value.name : undefined, tools)
}

const logprobsInclude = 'message.output_text.logprobs'

/** True where logprobs are asked for. There is no reasoning whose encrypted content could be left out; all else belongs to tools that are not here. */
function readInclude(value: unknown): boolean {
  const param = 'include'
  const listed = value ?? []
  if (!Array.isArray(listed) || listed.length > 16) throw new RequestError('include must be an array of at most 16', { param })
  if (!listed.every((item) => item === logprobsInclude || item === 'reasoning.encrypted_content'))
    throw new RequestError(`include can hold ${logprobsInclude}`, { param, code: 'unsupported_value' })
  return listed.includes(logprobsInclude)
}

/** Kept nowhere: the response repeats it. */
function readMetadata(value: unknown): { readonly [name: string]: unknown } {
  const param = 'metadata'
  if (value === undefined) return {}
  const fits = (text: unknown, most: number): boolean => typeof text === 'string' && text.length <= most && text.isWellFormed()
  if (!isObject(value) || Object.keys(value).length > 16 || !Object.entries(value).every(([name, text]) => fits(name, 64) && fits(text, 512)))
    throw new RequestError('metadata must hold at most 16 strings of at most 512 characters, under names of at most 64', { param })
  return value
}
