import { type ErrorCode, VeriteeError } from '../../errors.ts'
import type { Verdict } from '../../policy/index.ts'
import { clientNextStep } from './next-step.ts'
import type { ProofError } from './proof.ts'

/** An error of the client, told apart by who must act. `next` is what to do; `expected` and `found` are null where the message does not tell them apart. */
export abstract class ClientError extends VeriteeError {
  readonly expected: string | null
  readonly found: string | null
  readonly next: string
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options)
    const parts = /expected ([\s\S]+?), found ([\s\S]+)$/.exec(message)
    this.expected = parts?.[1] ?? null
    this.found = parts?.[2] ?? null
    this.next = clientNextStep(code, this.kind)
  }
}

/** Your command, policy or code is wrong. Nothing was sent. */
export class ConfigurationError extends ClientError {
  override readonly name = 'ConfigurationError'
}

/** Something needed did not answer or could not be had: try again, or provide it. */
export class UnavailableError extends ClientError {
  override readonly name = 'UnavailableError'
}

/** Something is not genuine: stop. */
export class UntrustedError extends ClientError {
  override readonly name = 'UntrustedError'
}

/** The evidence is genuine, and the policy does not want it. `verdict` lists every check, where a service as a whole was judged. */
export class RejectedError extends ClientError {
  override readonly name = 'RejectedError'
  readonly verdict: Verdict | null
  constructor(code: ErrorCode, message: string, verdict: Verdict | null, options?: { cause?: unknown }) {
    super(code, message, options)
    this.verdict = verdict
  }
}

/** An error of the library as one of the four classes, the original as its cause. Anything else, such as an abort, is given back as it is. */
export function typedError(error: unknown): unknown {
  if (error instanceof ClientError || !(error instanceof VeriteeError)) return error
  const { code, message } = error
  const options = { cause: error }
  switch (error.kind) {
    case 'configuration':
      return new ConfigurationError(code, message, options)
    case 'unavailable':
      return new UnavailableError(code, message, options)
    case 'untrusted':
      return new UntrustedError(code, message, options)
    case 'rejected':
      return new RejectedError(code, message, null, options)
  }
}

/** The same for a proof. What is no error of this library has no code of its own: it is told as an answer that could not be had. */
export function proofError(error: unknown): ProofError {
  const typed = typedError(error)
  if (typed instanceof ClientError) {
    const { code, kind, message, expected, found, next } = typed
    return { code, kind, message, expected, found, next }
  }
  const message = error instanceof Error ? error.message || error.name : 'unexpected failure'
  return {
    code: 'service_unavailable',
    kind: 'unavailable',
    message,
    expected: null,
    found: null,
    next: clientNextStep('service_unavailable', 'unavailable'),
  }
}
