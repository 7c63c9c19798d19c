import type { IncomingMessage } from 'node:http'
import type { Outcome } from 'veritee/receipt'
import type { HttpError } from '../../http/errors.ts'

/**
 * Who may ask for what, and what it came to: the seam for API keys, limits and accounts. A controller without one serves everybody.
 * Refusals come without a receipt: a stranger must not be able to make this enclave sign and store.
 */
export interface Access {
  /** Before a byte of the body is read, so that nobody holds memory here without a right to it. Gives the refusal, or null. */
  authenticate?(incoming: IncomingMessage): HttpError | null | Promise<HttpError | null>
  /** Once model and length of the body are known, before anything is routed. `answerTokens`: the most that is asked for, of all choices; null where nothing is said, or it cannot be read. */
  admit(incoming: IncomingMessage, model: string, promptBytes: number, answerTokens: number | null): Grant | HttpError | Promise<Grant | HttpError>
}

/** One admitted request. */
export interface Grant {
  /** Whose turn in a queue it takes; never sent or shown. */
  readonly tenant: string
  /** What is kept of earlier requests is found with the same salt only. Where it is not given, the tenant. */
  readonly salt?: string
  /** For the response: what is left of the limits. */
  readonly headers?: { readonly [name: string]: string }
  /** Called once for each grant, when the answer is over, whatever became of it. It must not throw. */
  settle(facts: Settlement): void
}

/** What became of a request. */
export interface Settlement {
  readonly receiptId: string
  readonly model: string
  readonly outcome: Outcome | 'refused'
  /** From the worker's receipt, verified; null where there is none. */
  readonly usage: Usage | null
}

/** Token counts that a worker signed. */
export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
}
