import { fromUtf8, parseJson } from 'veritee/bytes'
import { requestLimits } from 'veritee/receipt'
import { type ChatRequest, parseChatRequest, RequestError } from '../engine/index.ts'
import { type Conversation, type Prompt, readPrompt } from './conversation.ts'
import type { OfferedModel } from './prompt-tokens.ts'

export interface WorkerRequest {
  readonly model: OfferedModel
  /** The name asked for, suffix included. */
  readonly modelName: string
  readonly prompt: Prompt
  /** Text to put in front of the answer: the prompt, or nothing. */
  readonly echoed: string
  readonly request: ChatRequest
  readonly stopTokenIds: readonly number[]
}

export type Models = ReadonlyMap<string, OfferedModel>

const defaultMaxNewTokens = 256
const maxStopTokenIds = 64

/** FastChat's name of a parameter, where it differs from OpenAI's, and those that go on as they are. */
const passedOn = ['repetition_penalty', 'presence_penalty', 'frequency_penalty', 'best_of', 'top_k', 'stop'] as const

/** Members that must ask for nothing. */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  use_beam_search: (value) => value === false,
  ignore_eos: (value) => value === false,
  images: (value) => Array.isArray(value) && value.length === 0,
}

/** The members of a JSON object, null counting as absent; no bytes are an empty object. Throws {@link RequestError} and `malformed_json`. */
export function readMembers(body: Uint8Array): Map<string, unknown> {
  if (body.length === 0) return new Map()
  const value = parseJson(fromUtf8(body), requestLimits)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new RequestError('expected a JSON object')
  return new Map(Object.entries(value).filter(([, found]) => found !== null))
}

/** The model a body names; a worker with one model serves bodies that name none. Throws {@link RequestError}. */
export function findModel(name: unknown, models: Models): readonly [name: string, model: OfferedModel] {
  const only = [...models][0]
  if (name === undefined && models.size === 1 && only !== undefined) return only
  const found = typeof name === 'string' ? models.get(name) : undefined
  if (typeof name === 'string' && found !== undefined) return [name, found]
  throw new RequestError(`the model is not served here; served: ${[...models.keys()].join(', ')}`, { param: 'model', code: 'model_not_found' })
}

/** Throws {@link RequestError}. */
export function promptOf(members: ReadonlyMap<string, unknown>, conversation: Conversation): readonly [text: string, prompt: Prompt] {
  const text = members.get('prompt')
  if (typeof text !== 'string') throw new RequestError('prompt must be a string', { param: 'prompt' })
  if (text === '') throw new RequestError('prompt must not be empty', { param: 'prompt' })
  return [text, readPrompt(text, conversation)]
}

/** The messages that our engine's request carries: those of the prompt, or the whole prompt as one text. */
export function messagesOf(prompt: Prompt): readonly { readonly role: 'system' | 'user' | 'assistant'; readonly content: string }[] {
  return prompt.form === 'messages' ? prompt.messages : [{ role: 'user', content: prompt.text }]
}

/**
 * Reads the parameters of `/worker_generate` and `/worker_generate_stream` of every version since 0.2.18. What cannot be honoured is refused, and so
 * is every member that is not known. FastChat's defaults hold: `echo` true, `max_new_tokens` 256; its greedy cases (temperature below 1e-5, top_p
 * below 1e-8) are temperature 0. Throws {@link RequestError}.
 */
export function parseParameters(members: ReadonlyMap<string, unknown>, models: Models, conversation: Conversation): WorkerRequest {
  const left = new Map(members)
  const take = (name: string): unknown => {
    const value = left.get(name)
    left.delete(name)
    return value
  }
  const [modelName, model] = findModel(take('model'), models)
  const [text, prompt] = promptOf(members, conversation)
  take('prompt')
  // 0.2.18 says here which of the two routes it uses.
  boolean('stream', take('stream'), false)
  for (const [name, asksNothing] of Object.entries(unsupported)) {
    const value = take(name)
    if (value !== undefined && !asksNothing(value)) throw new RequestError(`${name} is not supported`, { param: name, code: 'unsupported_value' })
  }
  const echo = boolean('echo', take('echo'), true)
  const stopTokenIds = parseStopTokenIds(take('stop_token_ids'), model.served.engine.vocabulary.size)
  const topLogprobs = take('logprobs')
  const temperature = take('temperature')
  const topP = take('top_p')
  const greedy = isBelow(temperature, 1e-5) || isBelow(topP, 1e-8)
  const chat: Record<string, unknown> = {
    model: modelName,
    messages: messagesOf(prompt),
    max_tokens: take('max_new_tokens') ?? defaultMaxNewTokens,
    temperature: greedy ? 0 : temperature,
    top_p: greedy ? 1 : topP,
    ...(topLogprobs !== undefined && { logprobs: true, top_logprobs: topLogprobs }),
  }
  for (const name of passedOn) chat[name] = take(name)
  if (chat.stop === '') chat.stop = undefined
  const [unknown] = left.keys()
  if (unknown !== undefined)
    throw new RequestError(`a parameter is not known: ${JSON.stringify(unknown.slice(0, 64))}`, { code: 'unsupported_value' })
  if (echo && topLogprobs !== undefined)
    throw new RequestError('logprobs together with echo are not supported: the prompt has none', { param: 'logprobs', code: 'unsupported_value' })
  const request = parseChatRequest(Object.fromEntries(Object.entries(chat).filter(([, value]) => value !== undefined)))
  return { model, modelName, prompt, echoed: echo ? text : '', request, stopTokenIds }
}

function isBelow(value: unknown, limit: number): boolean {
  return typeof value === 'number' && value >= 0 && value < limit
}

function boolean(param: string, value: unknown, otherwise: boolean): boolean {
  if (value === undefined) return otherwise
  if (typeof value !== 'boolean') throw new RequestError(`${param} must be true or false`, { param })
  return value
}

function parseStopTokenIds(value: unknown, vocabularySize: number): readonly number[] {
  if (value === undefined) return []
  const isToken = (id: unknown): id is number => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabularySize
  if (!Array.isArray(value) || value.length > maxStopTokenIds || !value.every(isToken))
    throw new RequestError(`stop_token_ids must be at most ${maxStopTokenIds} token ids`, { param: 'stop_token_ids' })
  return value
}
