import { utf8 } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { HttpError } from '../../../http/errors.ts'
import { type CompletionDelta, RequestError } from '../engine/index.ts'

/** FastChat's error codes (fastchat/constants.py), those that a worker has reason to give. */
export const errorCodes = {
  validation: 40001,
  model: 40301,
  range: 40302,
  context: 40303,
  overloaded: 42903,
  internal: 50001,
} as const

/** One frame of `/worker_generate_stream`, and the whole answer of `/worker_generate`. Members that FastChat does not know pass through it. */
export interface Frame {
  /** All text so far, never only what is new; in a frame with an error, the reason. */
  readonly text: string
  readonly error_code: number
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number; readonly total_tokens: number }
  /** FastChat knows no other value; any other makes its API server fail. */
  readonly finish_reason: 'stop' | 'length' | null
  readonly logprobs: Logprobs | null
  /** In the last frame of an answer. */
  readonly veritee?: ProofNote
}

/** The way from the frame to the receipt. It is all the proof there is on this surface, and a FastChat API server drops it. */
export interface ProofNote {
  readonly verified: false
  readonly notice: string
  readonly receipt_id: string
  /** The key of the token digests of the receipt (spec/receipt-events.md). */
  readonly receipt_key: string
  readonly keyset_digest: string
}

export interface Logprobs {
  readonly text_offset: number[]
  readonly tokens: string[]
  readonly token_logprobs: number[]
  readonly top_logprobs: { [token: string]: number }[]
}

export const unverifiedNotice = 'not verified: FastChat carries no proof; fetch the receipt from the worker and check it against its attestation'

const noUsage = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }

export function usageOf(prompt: number, completion: number): Frame['usage'] {
  return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion }
}

/** Any failure as a frame. What is not an error about the request is told without its details: they could hold a prompt. */
export function errorFrame(error: unknown): Frame {
  const [code, text] = explain(error)
  return { text, error_code: code, usage: noUsage, finish_reason: null, logprobs: null }
}

function explain(error: unknown): readonly [number, string] {
  if (error instanceof RequestError) {
    if (error.code === 'context_length_exceeded') return [errorCodes.context, error.message]
    if (error.code === 'model_not_found') return [errorCodes.model, error.message]
    return [error.code === 'unsupported_value' || error.param === null ? errorCodes.validation : errorCodes.range, error.message]
  }
  if (error instanceof HttpError && error.status < 500) return [errorCodes.validation, error.message]
  if (error instanceof VeriteeError) {
    if (error.code === 'engine_busy') return [errorCodes.overloaded, error.message]
    if (error.code === 'context_overflow') return [errorCodes.context, error.message]
    if (error.code === 'malformed_json' || error.code === 'malformed_encoding') return [errorCodes.validation, error.message]
    return [errorCodes.internal, `${error.code}: ${error.message}`]
  }
  return [errorCodes.internal, 'the worker failed on this request']
}

/** The frame with the NUL that ends it: one write, since API servers before 0.2.30 take each chunk of the transport for whole frames. */
export function frameBytes(frame: Frame): Uint8Array {
  return utf8(`${JSON.stringify(frame)}\0`)
}

/** Adds what a delta brings to logprobs in the form of OpenAI's older completions. `textStart` is where the text of the delta begins. */
export function addLogprobs(logprobs: Logprobs, delta: CompletionDelta, textStart: number): void {
  let offset = textStart
  for (const { token, logprob, topLogprobs } of delta.logprobs ?? []) {
    logprobs.text_offset.push(offset)
    logprobs.tokens.push(token)
    logprobs.token_logprobs.push(logprob)
    // Two tokens may print alike; the more likely one comes first and stays.
    logprobs.top_logprobs.push(Object.fromEntries(topLogprobs.toReversed().map((top) => [top.token, top.logprob])))
    offset += token.length
  }
}
