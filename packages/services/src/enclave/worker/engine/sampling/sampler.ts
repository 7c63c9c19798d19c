import { createHash, createHmac, createSecretKey } from 'node:crypto'
import { concat, utf8 } from 'veritee/bytes'
import { maxTopK, type Sampling } from '../engine.ts'

/** A candidate: token id and raw logit. */
export type Candidate = readonly [token: number, logit: number]

/**
 * How a token is chosen, in this fixed order, so that anybody with the same logits chooses the same one. All arithmetic is in doubles.
 *
 * 1. Candidates are the `topK` highest raw logits; of equal logits the lower token id comes first.
 * 2. Temperature 0: the first candidate. Nothing else applies and no randomness is used.
 * 3. weight_i = exp((logit_i - logit_0) / temperature), so weight_0 = 1.
 * 4. top_p: the shortest prefix whose summed weight reaches topP times the sum of all candidates.
 * 5. min_p: of these, the candidates with weight >= minP.
 * 6. With u from {@link uniform}: the first candidate whose running sum exceeds u times the sum of those left.
 *
 * `candidates` come in any order and may be more than topK. Throws `TypeError` when there is none.
 */
export function choose(candidates: readonly Candidate[], sampling: Sampling, draw: () => number): number {
  return chooseRanked(rank(candidates), sampling, draw)
}

/** {@link choose} of candidates that {@link rank} has put in order. */
export function chooseRanked(ranked: readonly Candidate[], sampling: Sampling, draw: () => number): number {
  const first = ranked[0]
  if (first === undefined) throw new TypeError('choose: expected at least one candidate')
  // One candidate is chosen whatever u is.
  if (sampling.temperature === 0 || sampling.topK === 1) return first[0]

  const { temperature, topP, minP } = sampling
  const highest = first[1]
  const weights = new Float64Array(Math.min(ranked.length, sampling.topK))
  let total = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = Math.exp(((ranked[i] ?? first)[1] - highest) / temperature)
    weights[i] = weight
    total += weight
  }
  const enough = topP * total
  let kept = 0
  let count = 0
  for (const weight of weights) {
    // weights fall, so what min_p refuses is always a tail, and the first candidate (weight 1) always stays
    if (count > 0 && (kept >= enough || weight < minP)) break
    kept += weight
    count++
  }
  const target = draw() * kept
  let sum = 0
  for (let i = 0; i < count; i++) {
    sum += weights[i] ?? 0
    if (sum > target) return (ranked[i] ?? first)[0]
  }
  return (ranked[count - 1] ?? first)[0]
}

/** Highest logit first; of equal logits the lower token id first. What is in that order already is returned as it is: the engine sorts, except ties. */
export function rank(candidates: readonly Candidate[]): readonly Candidate[] {
  let before = candidates[0]
  for (const here of candidates) {
    if (before !== undefined && compareCandidates(before, here) > 0) return candidates.toSorted(compareCandidates)
    before = here
  }
  return candidates
}

/** Below 0 where `a` ranks before `b`. */
export function compareCandidates(a: Candidate, b: Candidate): number {
  return b[1] - a[1] || a[0] - b[0]
}

/**
 * The random number of one position (S23): the first 53 bits of HMAC-SHA-256(key, JCS {"choice":c,"position":p,"v":1}) over 2^53, with
 * key = sha256("veritee.sample.v1" || seed bytes). It depends on nothing else, so a replay may start at any position.
 */
export function uniform(seed: Uint8Array): (choice: number, position: number) => number {
  const key = createSecretKey(
    createHash('sha256')
      .update(concat(utf8('veritee.sample.v1'), seed))
      .digest(),
  )
  return (choice, position) => {
    // The JCS form, as both are safe integers.
    const mac = createHmac('sha256', key).update(`{"choice":${choice},"position":${position},"v":1}`).digest()
    return Number(mac.readBigUInt64BE() >> 11n) / 2 ** 53
  }
}

/**
 * Seed bytes of an OpenAI `seed`: the integer as 64-bit two's complement, most significant byte first.
 * Throws `TypeError` for anything but a safe integer, or one of 64 bits as a `bigint`.
 */
export function seedBytes(seed: number | bigint): Uint8Array {
  if (typeof seed === 'bigint' ? BigInt.asIntN(64, seed) !== seed : !Number.isSafeInteger(seed))
    throw new TypeError('seedBytes: expected an integer of 64 bits')
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigInt64(0, BigInt(seed))
  return bytes
}

/** Throws `TypeError` unless every parameter is in its range. */
export function checkSampling({ temperature, topK, topP, minP }: Sampling): void {
  if (!(temperature >= 0 && Number.isFinite(temperature))) throw new TypeError('sampling: temperature must be a number from 0')
  if (!(Number.isInteger(topK) && topK >= 1 && topK <= maxTopK)) throw new TypeError(`sampling: topK must be an integer from 1 to ${maxTopK}`)
  if (!(topP > 0 && topP <= 1)) throw new TypeError('sampling: topP must be above 0 and at most 1')
  if (!(minP >= 0 && minP <= 1)) throw new TypeError('sampling: minP must be from 0 to 1')
}
