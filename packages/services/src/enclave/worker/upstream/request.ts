import type { Capability } from 'veritee/receipt'
import { RequestError, readSeed } from '../engine/index.ts'

/** What the worker must know of a request that an engine of another process answers. Everything else is for the engine to judge. */
export interface UpstreamRequest {
  readonly stream: boolean
  readonly includeUsage: boolean
  /** The client wants the ids itself. */
  readonly wantsTokenIds: boolean
  readonly wantsPromptLogprobs: boolean
  readonly seed: number | bigint | null
  /** Sampling parameters that the request sets, with their values. */
  readonly sampling: { readonly [name: string]: number }
  readonly stop: readonly string[]
  /** Members that went on unread, sorted: nothing is dropped silently. */
  readonly passed: readonly string[]
}

const maxPassed = 64
const numbers = [
  'temperature',
  'top_p',
  'top_k',
  'min_p',
  'repetition_penalty',
  'frequency_penalty',
  'presence_penalty',
  'max_tokens',
  'max_completion_tokens',
  'n',
  'top_logprobs',
]
const read = ['model', 'messages', 'stream', 'stream_options', 'seed', 'stop', 'provider', 'return_token_ids', 'prompt_logprobs', ...numbers]

/**
 * Members that reach beyond the request: another template or adapter than the one served, code, the work or the cache of other requests, other machines.
 * Engines have them for their operators, and a client of a shared service is none.
 */
const refused: readonly string[] = [
  'chat_template',
  'custom_logit_processor',
  'logits_processors',
  'custom_params',
  'lora_path',
  'lora',
  'lora_request',
  'bootstrap_host',
  'bootstrap_port',
  'bootstrap_room',
  'kv_transfer_params',
  'data_parallel_rank',
  'routed_dp_rank',
  'disagg_prefill_dp_rank',
  'session_id',
  'session_params',
  'extra_key',
  'rid',
  'request_id',
  'priority',
  'id_slot',
  'n_cache_reuse',
  'return_hidden_states',
  'vllm_xargs',
  'mm_processor_kwargs',
  'media_io_kwargs',
  'input_ids',
]

/** Members that ask for a capability, and the values that ask for nothing. */
const demands: readonly (readonly [name: string, capability: Capability, asksNothing: (value: unknown) => boolean])[] = [
  ['tools', 'tools', (value) => Array.isArray(value) && value.length === 0],
  ['functions', 'tools', (value) => Array.isArray(value) && value.length === 0],
  ['tool_choice', 'tools', (value) => value === 'none' || value === 'auto'],
  ['logprobs', 'logprobs', (value) => value === false],
  ['prompt_logprobs', 'promptLogprobs', () => false],
  ['return_token_ids', 'tokenIds', (value) => value === false],
]

/**
 * Checks what a worker must: the members that it reads and changes itself, those that no client may send, and those that ask for something this engine
 * cannot do. `null` counts as absent. Whether the engine takes the rest is for the engine to say.
 * Throws {@link RequestError}.
 */
export function readUpstreamRequest(body: { readonly [name: string]: unknown }, capabilities: readonly Capability[]): UpstreamRequest {
  const value = (name: string): unknown => (Object.hasOwn(body, name) ? (body[name] ?? undefined) : undefined)
  for (const name of refused)
    if (value(name) !== undefined) throw new RequestError(`${name} is not for clients of this service`, { param: name, code: 'unsupported_value' })
  for (const [name, capability, asksNothing] of demands) {
    const asked = value(name)
    if (asked !== undefined && !asksNothing(asked) && !capabilities.includes(capability))
      throw new RequestError(`${name} is not supported by the engine of this model`, { param: name, code: 'unsupported_value' })
  }
  checkMessages(value('messages'))
  const stream = boolean('stream', value('stream'))
  return {
    stream,
    includeUsage: includesUsage(value('stream_options'), stream),
    wantsTokenIds: boolean('return_token_ids', value('return_token_ids')),
    wantsPromptLogprobs: value('prompt_logprobs') !== undefined,
    seed: readSeed(value('seed')),
    sampling: Object.fromEntries(numbers.flatMap((name) => (value(name) === undefined ? [] : [[name, finite(name, value(name))]]))),
    stop: stopStrings(value('stop')),
    passed: passedNames(Object.keys(body).filter((name) => !read.includes(name))),
  }
}

function passedNames(names: readonly string[]): string[] {
  // They end up in a signed record, so a request cannot write whatever it likes there.
  if (names.length > maxPassed) throw new RequestError(`expected at most ${maxPassed} further members, found ${names.length}`)
  if (names.some((name) => !/^[A-Za-z_][A-Za-z0-9_.-]{0,63}$/.test(name))) throw new RequestError('a member of the request has a malformed name')
  return names.toSorted()
}

/** Only that there are some, and that none makes the engine fetch something: from within what is attested, on a client's word. */
function checkMessages(messages: unknown): void {
  if (!Array.isArray(messages) || messages.length === 0) throw new RequestError('messages must be a non-empty array', { param: 'messages' })
  for (const [i, message] of messages.entries()) {
    if (!isObject(message)) throw new RequestError(`messages[${i}] must be an object`, { param: `messages[${i}]` })
    if (Array.isArray(message.content)) for (const part of message.content) checkPart(part, `messages[${i}].content`)
  }
}

/** Any `url` at any depth of a part must carry its data. */
function checkPart(part: unknown, param: string): void {
  if (typeof part !== 'object' || part === null) return
  for (const [name, value] of Object.entries(part)) {
    const isLink = typeof value === 'string' && (name === 'url' || name.endsWith('_url')) && !value.startsWith('data:')
    if (isLink) throw new RequestError('a URL in a message must be a data URL: this service fetches nothing', { param, code: 'unsupported_value' })
    checkPart(value, param)
  }
}

function includesUsage(options: unknown, stream: boolean): boolean {
  if (options === undefined) return false
  if (!stream) throw new RequestError('stream_options needs stream: true', { param: 'stream_options' })
  if (!isObject(options)) throw new RequestError('stream_options must be an object', { param: 'stream_options' })
  return boolean('stream_options.include_usage', options.include_usage ?? undefined)
}

function stopStrings(value: unknown): string[] {
  const stop: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value]
  if (stop.length > 16 || !stop.every((text): text is string => typeof text === 'string' && text.length <= 256 && text.isWellFormed()))
    throw new RequestError('stop must hold at most 16 strings of at most 256 characters', { param: 'stop' })
  return [...stop]
}

function finite(param: string, value: unknown): number {
  if (typeof value !== 'number') throw new RequestError(`${param} must be a number`, { param })
  return value
}

function boolean(param: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new RequestError(`${param} must be true or false`, { param })
  return value ?? false
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
