import { fail } from 'veritee/errors'
import type { GeneratedToken } from '../engine.ts'
import type { Candidate } from './sampler.ts'

/**
 * What is told of a chosen token. Probabilities are the model's own, of the raw logits: logit - highest - ln(sum of exp(logit - highest)) over the
 * whole vocabulary; null where nobody asked. `candidates` are ranked and hold the highest logit and the token. Throws `engine_failed` for logits
 * that are no numbers.
 */
export function describe(token: number, candidates: readonly Candidate[], totalWeight: number | undefined, top: number | undefined): GeneratedToken {
  const highest = candidates[0]?.[1] ?? Number.NaN
  if (!Number.isFinite(highest)) throw broken()
  if (top === undefined) return { token, logprob: null, top: [] }
  const chosen = candidates.find(([id]) => id === token)?.[1] ?? Number.NaN
  if (!Number.isFinite(chosen) || totalWeight === undefined) throw broken()
  const base = highest + Math.log(totalWeight)
  // Rounding may put a certainty slightly above 1.
  const logprob = (logit: number): number => Math.min(0, logit - base)
  return { token, logprob: logprob(chosen), top: candidates.slice(0, top).map(([id, logit]) => ({ token: id, logprob: logprob(logit) })) }
}

function broken(): Error {
  return fail('engine_failed', 'expected finite logits; the model or the engine is broken')
}
