import { maxTopK, type Sampling } from '../engine.ts'
import { RequestError } from '../request-error.ts'
import { type Adjustments, maxLogitBias } from '../sampling/adjustments.ts'
import { type AnswerFormat, readAnswerFormat } from './answer-format.ts'
import { isEmptyArray, isObject, type Members, readBoolean } from './members.ts'
import { readSeed } from './seed.ts'

/** What every request for generated text has. Everything that changes the answer is in here, with its default filled in. */
export interface GenerationRequest {
  readonly model: string
  readonly sampling: Sampling
  readonly adjustments: Adjustments
  /** null: any text. */
  readonly format: AnswerFormat | null
  /** Answers to give, 1 to {@link maxChoices}. */
  readonly n: number
  /** null: as much as the context holds. */
  readonly maxTokens: number | null
  readonly stop: readonly string[]
  readonly stream: boolean
  readonly includeUsage: boolean
  /** Exact: beyond the safe integers a `bigint`. */
  readonly seed: number | bigint | null
  readonly logprobs: boolean
  readonly topLogprobs: number
  /** Names of members that had no effect, sorted: they belong into the receipt, so that nothing is dropped silently. */
  readonly ignored: readonly string[]
}

/** As many as an engine evaluates together. */
const maxChoices = 4
const maxStopLength = 256

const is =
  (nothing: unknown) =>
  (value: unknown): boolean =>
    value === nothing

/** Members that no endpoint offers, though other servers do, with the values that ask for nothing. */
export const unsupportedEverywhere: Readonly<Record<string, (value: unknown) => boolean>> = {
  best_of: is(1),
  use_beam_search: is(false),
  length_penalty: is(1),
  min_tokens: is(0),
  n_predict: () => false,
  ignore_eos: is(false),
  bad_words: isEmptyArray,
  stop_token_ids: isEmptyArray,
  include_stop_str_in_output: is(false),
  skip_special_tokens: is(true),
  truncate_prompt_tokens: () => false,
  allowed_token_ids: () => false,
  logits_processors: () => false,
  repeat_penalty: is(1),
  typical_p: is(1),
  mirostat: is(0),
  dry_multiplier: is(0),
  xtc_probability: is(0),
  dynatemp_range: is(0),
  guided_regex: () => false,
  structured_outputs: () => false,
  json_schema: () => false,
}

/** Reads what the generating endpoints have in common, except `max_tokens` and the probabilities. Throws {@link RequestError}. */
export function readGeneration(members: Members): Omit<GenerationRequest, 'maxTokens' | 'logprobs' | 'topLogprobs' | 'ignored'> {
  const model = readModel(members)
  const sampling: Sampling = {
    temperature: members.number('temperature', 0, 2) ?? 1,
    topP: members.number('top_p', 0, 1) ?? 1,
    minP: members.number('min_p', 0, 1) ?? 0,
    topK: readTopK(members),
  }
  if (sampling.topP === 0) throw new RequestError('top_p must be above 0', { param: 'top_p' })
  const adjustments: Adjustments = {
    frequencyPenalty: members.number('frequency_penalty', -2, 2) ?? 0,
    presencePenalty: members.number('presence_penalty', -2, 2) ?? 0,
    repetitionPenalty: members.number('repetition_penalty', 0.1, 10) ?? 1,
    logitBias: readLogitBias(members.take('logit_bias')),
  }
  const stream = members.boolean('stream')
  return {
    model,
    sampling,
    adjustments,
    format: readAnswerFormat(members),
    n: members.integer('n', 1, maxChoices) ?? 1,
    stop: parseStop(members.take('stop')),
    stream,
    includeUsage: parseStreamOptions(members.take('stream_options'), stream),
    seed: readSeed(members.take('seed')),
  }
}

export function readModel(members: Members): string {
  const model = members.take('model')
  if (typeof model !== 'string' || model === '' || model.length > 256) throw new RequestError('model must be a non-empty string', { param: 'model' })
  return model
}

function readLogitBias(value: unknown): ReadonlyMap<number, number> {
  const param = 'logit_bias'
  if (value === undefined) return new Map()
  if (!isObject(value)) throw new RequestError('logit_bias must be an object', { param })
  const entries = Object.entries(value)
  if (entries.length > maxLogitBias)
    throw new RequestError(`expected at most ${maxLogitBias} entries in logit_bias, found ${entries.length}`, { param })
  return new Map(
    entries.map(([token, bias]) => {
      if (!/^(?:0|[1-9][0-9]{0,8})$/.test(token)) throw new RequestError('the names in logit_bias must be token ids', { param })
      if (typeof bias !== 'number' || !(bias >= -100 && bias <= 100))
        throw new RequestError('logit_bias must hold numbers from -100 to 100', { param })
      return [Number(token), bias]
    }),
  )
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
  return readBoolean(`${param}.include_usage`, includeUsage ?? undefined)
}

/** `top_k` 0 or -1 means all in several servers; here it is the widest set there is. */
function readTopK(members: Members): number {
  const topK = members.integer('top_k', -1, maxTopK)
  return topK === null || topK < 1 ? maxTopK : topK
}
