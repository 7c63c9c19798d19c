import { type Calibration, countNear } from './calibration.ts'
import { finishReasonOf, tellsSame } from './calls.ts'
import type { Claim } from './claim.ts'
import { Ended, type ReplayCheck, type ReplayReport } from './report.ts'
import type { Rerun } from './rerun.ts'
import { isTokensOf } from './tokens.ts'

const tokensId = 'replay.tokens'

export function countTokens(reruns: readonly Rerun[]): NonNullable<ReplayReport['tokens']> {
  const equalOf = ({ known, claimed, margins, position, result }: Rerun): number =>
    known === null ? (position ?? Math.min(claimed.tokens, result.completionTokens.length)) : margins.filter((margin) => margin === 0).length
  return { total: sum(reruns, ({ claimed }) => claimed.tokens), equal: sum(reruns, equalOf), near: null }
}

/** Level 1. Throws {@link Ended}. */
export function checkEqual({ receiptKey }: Claim, reruns: readonly Rerun[], checks: ReplayCheck[]): void {
  for (const { claimed, result, position } of reruns) {
    const { completionTokens } = result
    if (position !== null) throw new Ended('token_differs', tokensId, `token ${position} of ${claimed.tokens} is another one here`)
    checkLength(claimed.tokens, completionTokens.length)
    if (receiptKey !== null && !isTokensOf(receiptKey, completionTokens, claimed.hmac))
      throw new Ended('token_differs', tokensId, 'the digest in the receipt is over other tokens, which write the same text')
  }
  if (receiptKey !== null)
    checks.push({ id: tokensId, status: 'pass', detail: `${sum(reruns, ({ claimed }) => claimed.tokens)} tokens, every one equal` })
}

/** Of the tokens that are known, how many are near. */
export function countNearTokens({ asked: { request } }: Claim, reruns: readonly Rerun[], calibration: Calibration): number {
  return sum(reruns, ({ margins }) => countNear(margins, request.sampling.temperature === 0, calibration))
}

/** Level 2. Throws {@link Ended}. */
export function checkNear(near: number, reruns: readonly Rerun[], calibration: Calibration, checks: ReplayCheck[]): void {
  const total = sum(reruns, ({ claimed }) => claimed.tokens)
  for (const { known, claimed, result } of reruns) {
    if (known === null)
      throw new Ended('tokens_unknown', tokensId, 'which tokens the answer had cannot be known; ask with logprobs, and keep the receipt key')
    checkLength(claimed.tokens, result.completionTokens.length)
  }
  if (total < calibration.min_tokens)
    throw new Ended('too_few_tokens', tokensId, `expected at least ${calibration.min_tokens} tokens, found ${total}`)
  const told = `${near} of ${total} tokens are near`
  if (near < Number(calibration.min_share) * total) throw new Ended('too_far', tokensId, `${told}; expected a share of ${calibration.min_share}`)
  checks.push({ id: tokensId, status: 'pass', detail: told })
}

function checkLength(expected: number, found: number): void {
  if (found !== expected) throw new Ended('outcome_differs', tokensId, `expected ${expected} tokens, the answer ends here after ${found}`)
}

/** The text that the tokens write, the end of each answer, and the digest over the tokens of all. Throws {@link Ended}. */
export function checkText({ asked, inference, receiptKey }: Claim, reruns: readonly Rerun[], checks: ReplayCheck[]): void {
  for (const { claimed, result, newReader } of reruns) {
    const { answer, outcome } = claimed
    const aborted = outcome === 'aborted'
    if (!tellsSame(answer, result.text, newReader(), { endpoint: asked.endpoint, stream: asked.request.stream, aborted }))
      throw new Ended('text_differs', 'replay.text', 'these tokens write another text than the response holds')
    if (!aborted && (result.outcome !== outcome || finishReasonOf(result, newReader()) !== answer.finishReason))
      throw new Ended('outcome_differs', 'replay.outcome', `expected ${result.outcome}, found ${outcome}, finish_reason ${answer.finishReason}`)
  }
  const all = reruns.flatMap(({ result }) => result.completionTokens)
  if (receiptKey !== null && !isTokensOf(receiptKey, all, inference.completion_tokens_hmac))
    throw new Ended('token_differs', tokensId, 'the digest over all answers is over other tokens')
  const worst = (['error', 'aborted', 'length', 'complete'] as const).find((outcome) => reruns.some(({ claimed }) => claimed.outcome === outcome))
  if (inference.outcome !== worst) throw new Ended('outcome_differs', 'replay.outcome', `expected ${worst}, found ${inference.outcome}`)
  const isAborted = inference.outcome === 'aborted'
  checks.push({ id: 'replay.text', status: 'pass', detail: isAborted ? 'what was sent is a beginning of it' : 'the same text' })
  checks.push({ id: 'replay.outcome', status: 'pass', detail: inference.outcome })
  // Other tokens may write the same text, so equal text alone does not show that every token is equal.
  if (receiptKey === null)
    throw new Ended('key_missing', tokensId, 'text and number of tokens are equal; which tokens they were takes the receipt key')
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0)
}
