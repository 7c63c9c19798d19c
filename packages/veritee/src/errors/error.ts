import { type ErrorCode, type ErrorKind, kindOf } from './codes.ts'

/** An error about data. `message` says what was expected and what came; it never holds a secret, a prompt or a completion. */
export class VeriteeError extends Error {
  override readonly name: string = 'VeriteeError'
  readonly code: ErrorCode
  readonly kind: ErrorKind

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.kind = kindOf(code)
  }
}

/** Shorthand for throwing sites: `throw fail('quote_malformed', ...)`. */
export function fail(code: ErrorCode, message: string, cause?: unknown): VeriteeError {
  return new VeriteeError(code, message, cause === undefined ? undefined : { cause })
}
