import { RequestError } from '../request-error.ts'
import type { ParseOptions } from './chat-request.ts'
import { type GenerationRequest, readGeneration, unsupportedEverywhere } from './generation-request.ts'
import { Members } from './members.ts'

/** A validated `/v1/completions` request. */
export interface TextRequest extends GenerationRequest {
  /** A text, or token ids. */
  readonly prompt: string | readonly number[]
}

const defaultMaxTokens = 16
/** As OpenAI's old endpoint. */
const maxLogprobs = 5
const maxPromptTokens = 1 << 20

const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  ...unsupportedEverywhere,
  suffix: (value) => value === '',
  echo: (value) => value === false,
}

/** Validates the parsed JSON body of a text completion, as `parseChatRequest` does for a chat. Throws {@link RequestError}. */
export function parseTextRequest(body: unknown, options: ParseOptions = {}): TextRequest {
  const members = new Members(body)
  for (const name of options.handled ?? []) members.take(name)
  members.refuse(unsupported)
  const common = readGeneration(members)
  const prompt = readText('prompt', members.take('prompt'))
  const maxTokens = members.integer('max_tokens', 1, Number.MAX_SAFE_INTEGER) ?? defaultMaxTokens
  const logprobs = members.integer('logprobs', 0, maxLogprobs)
  return { ...common, prompt, maxTokens, logprobs: logprobs !== null, topLogprobs: logprobs ?? 0, ignored: members.rest() }
}

/** A text or a list of token ids, neither empty. Whether the tokens are the model's is not checked. Throws {@link RequestError}. */
export function readText(param: string, value: unknown): string | readonly number[] {
  if (typeof value === 'string') {
    if (value === '') throw new RequestError(`${param} must not be empty`, { param })
    if (!value.isWellFormed()) throw new RequestError(`${param} holds a lone surrogate`, { param })
    return value
  }
  const isToken = (item: unknown): item is number => Number.isSafeInteger(item) && (item as number) >= 0
  if (!Array.isArray(value) || value.length === 0 || value.length > maxPromptTokens || !value.every(isToken))
    throw new RequestError(`${param} must be one string or one array of token ids; several at once are not supported`, { param })
  return value
}
