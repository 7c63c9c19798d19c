import type { Choice, Sampling } from '../enclave/worker/engine/index.ts'

/**
 * How far a token is from the one that was chosen here, for an engine whose logits differ in their last bits. 0 where it is the same. Greedy: the
 * distance of its raw logit from the highest. Sampled: the distance of the random number from the part of [0, 1) in which this token would have been
 * drawn; 1 where it is no candidate at all.
 */
export function marginOf({ token: chosen, candidates, draw }: Choice, token: number, sampling: Sampling): number {
  if (chosen === token) return 0
  if (sampling.temperature === 0) {
    const logitOf = (wanted: number): number => candidates.find(([id]) => id === wanted)?.[1] ?? Number.NEGATIVE_INFINITY
    return logitOf(chosen) - logitOf(token)
  }
  // The steps of choose() in sampler.ts, with the bounds of every token kept.
  const { temperature, topK, topP, minP } = sampling
  const best = candidates[0]?.[1] ?? 0
  const weights = candidates.slice(0, topK).map(([id, logit]) => ({ id, weight: Math.exp((logit - best) / temperature) }))
  const total = weights.reduce((sum, { weight }) => sum + weight, 0)
  let kept = 0
  let bounds: readonly [number, number] | null = null
  for (const [i, { id, weight }] of weights.entries()) {
    if (i > 0 && (kept >= topP * total || weight < minP)) break
    if (id === token) bounds = [kept, kept + weight]
    kept += weight
  }
  if (bounds === null) return 1
  const [from, to] = bounds
  const u = draw()
  return Math.max(from / kept - u, u - to / kept, 0)
}
