import { toHex } from 'veritee/bytes'
import type { ExternalEngineEvent, Outcome } from 'veritee/receipt'
import { decimal, seedBytes } from '../engine/index.ts'
import { tokensHmac } from '../served-model.ts'
import type { EngineAnswer } from './chunk.ts'
import type { Rewrite } from './kinds/rewrite.ts'
import type { UpstreamRequest } from './request.ts'
import type { PlacedModel } from './upstream-model.ts'

export interface UpstreamFacts {
  readonly placed: PlacedModel
  readonly request: UpstreamRequest
  readonly rewrite: Rewrite
  readonly answer: EngineAnswer
  readonly outcome: Outcome
  /** The receipt's key (rule S6). */
  readonly receiptKey: Uint8Array
}

/** Members that are whole numbers; the others are written as decimals. */
const whole = ['top_k', 'max_tokens', 'max_completion_tokens', 'n', 'top_logprobs']

/** What the receipt says of one inference by an external engine (spec/receipt-events.md). */
export function externalEngineEvent({ placed, request, rewrite, answer, outcome, receiptKey }: UpstreamFacts): ExternalEngineEvent {
  const hmac = (tokens: readonly number[] | null): string | null => (tokens === null ? null : tokensHmac(receiptKey, tokens))
  const set = rewrite.patch.flatMap(({ path, value }) => (typeof value === 'number' && path !== '/seed' ? [[path.slice(1), value] as const] : []))
  const sampling = Object.entries({ ...request.sampling, ...Object.fromEntries(set) })
  return {
    type: 'veritee.external_engine',
    ...placed.external,
    prompt_tokens: answer.usage?.prompt ?? null,
    completion_tokens: answer.usage?.completion ?? null,
    prompt_tokens_hmac: hmac(answer.promptTokens),
    completion_tokens_hmac: hmac(answer.completionTokens),
    parameters: {
      ...Object.fromEntries(
        sampling.map(([name, value]) => [name, whole.includes(name) && Number.isSafeInteger(value) && value >= 0 ? value : decimal(value)]),
      ),
      stop: request.stop,
      seed_source: rewrite.seedSource,
    },
    passed_parameters: request.passed,
    seed: toHex(seedBytes(rewrite.seed)),
    outcome,
  }
}
