import { eventOf, requestLimits, spliceConstraints } from 'veritee/receipt'
import type { Fault } from 'veritee/scoring'
import type { Seen } from './seen.ts'

/** Seconds that the clocks of a worker and of this validator may be apart: those of honest machines are a second, and whoever confirms an answer of the epoch allows for as much. */
export const maxSkewSeconds = 300
/**
 * Bytes of an answer: for what is around it, waiting signs of a stream among it, and for each token, which is an event of a few hundred with the name of its model in it. Where log probabilities
 * are asked for, as many again for those of the token and of each alternative to it.
 */
const around = 65_536
const ofToken = 1024

/**
 * A fault that the worker's receipt shows beside when it was asked, Unix seconds by this validator's clock: that it says another time than that. Such a receipt is of no epoch in which others could run its answer again
 * (spec/confirmation.md), and of a time that its worker chose.
 */
export function signedTime({ receipt }: Pick<Seen, 'receipt'>, sent: number, ended: number): Fault | null {
  if (receipt === null) return null
  return receipt.servedAt < sent - maxSkewSeconds || receipt.servedAt > ended + maxSkewSeconds ? 'receipt_malformed' : null
}

/** A fault that the answer shows which the receipt is over: more bytes than the tokens which were asked for, or where no limit was given those that it counts, can have. It would be too long to be handed over. */
export function signedExcess({ receipt, answer, request }: Pick<Seen, 'receipt' | 'answer' | 'request'>): Fault | null {
  if (receipt === null || answer === null) return null
  const { max_tokens, max_completion_tokens, n, logprobs, top_logprobs } = spliceConstraints(request, requestLimits).value as {
    readonly [name: string]: unknown
  }
  const external = eventOf(receipt, 'veritee.external_engine')
  const counted = external === undefined ? (eventOf(receipt, 'veritee.inference')?.completion_tokens ?? 0) : external.completion_tokens
  const limits = [max_completion_tokens, max_tokens].filter((limit) => typeof limit === 'number')
  const tokens = limits.length === 0 ? counted : Math.min(...limits) * (typeof n === 'number' ? n : 1)
  // Some engines beside a worker do not tell how many they were.
  if (tokens === null) return null
  const shown = logprobs === true ? 2 + (typeof top_logprobs === 'number' ? top_logprobs : 0) : 1
  const most = around + ofToken * shown * tokens
  // As it is handed over, a string of JSON: most answers are far from it.
  const fits = 6 * answer.body.length + 2 <= most
  return fits || Buffer.byteLength(JSON.stringify(new TextDecoder('utf-8', { ignoreBOM: true }).decode(answer.body))) <= most
    ? null
    : 'answer_malformed'
}
