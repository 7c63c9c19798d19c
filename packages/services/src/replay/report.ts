import type { EngineFacts } from 'veritee/receipt'

/** Why an answer does not follow from what its receipt says. */
export type Fault =
  | 'keyset_differs'
  | 'signature_invalid'
  | 'request_differs'
  | 'response_differs'
  | 'weights_differ'
  | 'template_differs'
  | 'profile_differs'
  | 'parameters_differ'
  | 'prompt_differs'
  | 'token_differs'
  | 'text_differs'
  | 'vectors_differ'
  | 'outcome_differs'
  | 'too_far'

/** Why nothing was established either way. */
export type Obstacle =
  | 'no_inference'
  | 'no_answer'
  | 'request_unknown'
  | 'parameters_unknown'
  | 'key_missing'
  | 'tokens_unknown'
  | 'engine_differs'
  | 'not_canonical'
  | 'calibration_differs'
  | 'too_few_tokens'

export interface ReplayCheck {
  readonly id: string
  readonly status: 'pass' | 'fail' | 'waived'
  /** Digests, numbers and names; never text of a prompt or an answer. */
  readonly detail: string
}

/** The result of replaying one answer; docs/replay.md says what each verdict means and what it does not. */
export interface ReplayReport {
  readonly version: 'veritee.replay.v1'
  readonly verdict: 'pass' | 'fail' | 'inconclusive'
  /** 1: every token equal, bit by bit. 2: near enough, by a calibration. null: it did not come to a comparison. */
  readonly level: 1 | 2 | null
  /** null exactly for `pass`. */
  readonly reason: Fault | Obstacle | null
  readonly receiptId: string
  /** Of the receipt, under the keyset of the worker's report; without a report nobody checked it. */
  readonly signature: 'valid' | 'invalid' | 'not checked'
  /** The answer (or input, of vectors), and in it the token, that differs first, counted from 0; null where none does, or where that is not known. */
  readonly choice: number | null
  readonly position: number | null
  /** Tokens of the answer by its receipt, those that were chosen here too, and at level 2 those that are near. */
  readonly tokens: { readonly total: number; readonly equal: number; readonly near: number | null } | null
  readonly engines: { readonly receipt: EngineFacts; readonly here: EngineFacts } | null
  readonly checks: readonly ReplayCheck[]
}

/** Ends a replay before its end. Not an error: the caller turns it into a report. */
export class Ended {
  readonly reason: Fault | Obstacle
  readonly check: ReplayCheck

  constructor(reason: Fault | Obstacle, id: string, detail: string) {
    this.reason = reason
    this.check = { id, status: isFault(reason) ? 'fail' : 'waived', detail }
  }
}

/** Whoever made the answer may have had a larger context than is here: that shows nothing. */
export function endedByContext(contextSize: number): Ended {
  return new Ended('request_unknown', 'replay.request', `prompt and answer do not fit the context here, which holds ${contextSize} tokens`)
}

const faults: readonly (Fault | Obstacle)[] = [
  'keyset_differs',
  'signature_invalid',
  'request_differs',
  'response_differs',
  'weights_differ',
  'template_differs',
  'profile_differs',
  'parameters_differ',
  'prompt_differs',
  'token_differs',
  'text_differs',
  'vectors_differ',
  'outcome_differs',
  'too_far',
] satisfies readonly Fault[]

export function isFault(reason: Fault | Obstacle): reason is Fault {
  return faults.includes(reason)
}

/** What the checks say of the signature. */
export function signatureOf(checks: readonly ReplayCheck[]): ReplayReport['signature'] {
  const status = checks.find(({ id }) => id === 'replay.signature')?.status
  return status === 'pass' ? 'valid' : status === 'fail' ? 'invalid' : 'not checked'
}
