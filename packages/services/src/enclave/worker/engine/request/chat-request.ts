import { maxTopLogprobs } from '../engine.ts'
import { RequestError } from '../request-error.ts'
import { type GenerationRequest, readGeneration, unsupportedEverywhere } from './generation-request.ts'
import { isEmptyArray, isObject, Members } from './members.ts'
import { type ChatMessage, parseMessages } from './messages.ts'
import { readTools, type ToolUse } from './tools.ts'

/** A validated `/v1/chat/completions` request. */
export interface ChatRequest extends GenerationRequest {
  readonly messages: readonly ChatMessage[]
  /** null: the model may call nothing. */
  readonly toolUse: ToolUse | null
}

export interface ParseOptions {
  /** Members that the caller has dealt with itself, such as `provider`: neither an error nor ignored. */
  readonly handled?: readonly string[]
}

/** Members whose value would change the answer in a way this engine does not offer, with the values that ask for nothing. */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  ...unsupportedEverywhere,
  functions: isEmptyArray,
  function_call: (value) => value === 'none' || value === 'auto',
  modalities: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'text',
  audio: () => false,
  prediction: () => false,
  web_search_options: () => false,
  echo: (value) => value === false,
  chat_template: () => false,
  chat_template_kwargs: (value) => isObject(value) && Object.keys(value).length === 0,
  add_generation_prompt: (value) => value === true,
  continue_final_message: (value) => value === false,
  documents: isEmptyArray,
}

/**
 * Validates the parsed JSON body of a chat completion. In order: shape, then each known member, `null` counting as absent; members that would
 * change the answer and are not offered are refused unless they ask for nothing; all other members are listed in `ignored`.
 * Whether `model` is served here and whether the prompt fits is not checked. Throws {@link RequestError}.
 */
export function parseChatRequest(body: unknown, options: ParseOptions = {}): ChatRequest {
  const members = new Members(body)
  for (const name of options.handled ?? []) members.take(name)
  members.refuse(unsupported)
  const common = readGeneration(members)
  const messages = parseMessages(members.take('messages'))
  const toolUse = readTools(members)
  if (toolUse !== null && common.format !== null)
    throw new RequestError('tools and a form of the answer together are not supported; use tool_choice none', {
      param: 'response_format',
      code: 'unsupported_value',
    })
  const limit = members.integer('max_tokens', 1, Number.MAX_SAFE_INTEGER)
  const newerLimit = members.integer('max_completion_tokens', 1, Number.MAX_SAFE_INTEGER)
  if (limit !== null && newerLimit !== null && limit !== newerLimit)
    throw new RequestError('max_tokens and max_completion_tokens differ; send one of them', { param: 'max_tokens' })
  const logprobs = members.boolean('logprobs')
  const topLogprobs = members.integer('top_logprobs', 0, maxTopLogprobs)
  if (topLogprobs !== null && !logprobs) throw new RequestError('top_logprobs needs logprobs: true', { param: 'top_logprobs' })
  return { ...common, messages, toolUse, maxTokens: newerLimit ?? limit, logprobs, topLogprobs: topLogprobs ?? 0, ignored: members.rest() }
}
