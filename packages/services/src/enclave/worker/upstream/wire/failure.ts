import { VeriteeError } from 'veritee/errors'
import { HttpError, toHttpError } from '../../../../http/errors.ts'

/** What went wrong between worker and engine. Nothing that the engine wrote is in it: its words could hold a prompt, a path or an address. */
export type FailureKind =
  /** No connection, or the engine says that it is not ready. */
  | 'unreachable'
  /** No answer, no next byte, or no end in time. */
  | 'timeout'
  /** It refused this request: the client's doing. */
  | 'refused'
  /** The same, because prompt and answer do not fit the context. */
  | 'context'
  /** It has too much to do. */
  | 'busy'
  /** It failed, said so, or spoke something else than its protocol. */
  | 'failed'

export class EngineFailure extends Error {
  override readonly name = 'EngineFailure'
  readonly kind: FailureKind
  /** `message` is ours, and goes to the client. */
  constructor(kind: FailureKind, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options)
    this.kind = kind
  }
}

/** The failure as the client is told, in OpenAI's shape. */
export function failureAnswer(error: unknown): HttpError {
  if (error instanceof VeriteeError && error.code === 'response_too_large') return toHttpError(error)
  if (!(error instanceof EngineFailure))
    return new HttpError(502, 'server_error', 'the engine could not be used', { code: 'engine_failed', cause: error })
  const { kind, message } = error
  switch (kind) {
    case 'unreachable':
      return new HttpError(503, 'server_error', message, { code: 'engine_unavailable', headers: { 'retry-after': '5' } })
    case 'timeout':
      return new HttpError(504, 'server_error', message, { code: 'engine_failed' })
    case 'refused':
      return new HttpError(400, 'invalid_request_error', message, { code: 'engine_refused' })
    case 'context':
      return new HttpError(400, 'invalid_request_error', message, { code: 'context_length_exceeded', param: 'messages' })
    case 'busy':
      return new HttpError(429, 'rate_limit_error', message, { code: 'engine_busy', headers: { 'retry-after': '1' } })
    case 'failed':
      return new HttpError(502, 'server_error', message, { code: 'engine_failed' })
  }
}

const contextWords = /context[ _](?:length|size|window)|exceeds? the (?:available|model'?s?) context|maximum (?:model )?(?:context|input) length/i

/**
 * The failure behind an error status. `text` is the engine's answer as far as it was read: it only tells whether the context was too short, for
 * which every engine has words of its own; none of it is passed on.
 */
export function statusFailure(status: number, text: string): EngineFailure {
  if ([400, 413, 422].includes(status))
    return contextWords.test(text)
      ? new EngineFailure('context', 'prompt and answer do not fit the context of the model')
      : new EngineFailure('refused', 'the engine refused a member of this request or its value')
  if (status === 429) return new EngineFailure('busy', 'too many requests wait for the engine; retry later')
  if (status === 503) return new EngineFailure('unreachable', 'the engine is not ready; retry later')
  // A redirect leads out of what is attested, a missing credential or model is this worker's configuration: none of it is the client's.
  return new EngineFailure('failed', `the engine answered with status ${status}`)
}
