import { createHash, createHmac } from 'node:crypto'
import { concat, jcs, utf8 } from 'veritee/bytes'
import { maxTopK, type Sampling } from './engine.ts'

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
  const sorted = rank(candidates).slice(0, sampling.temperature === 0 ? 1 : sampling.topK)
  const [first] = sorted
  if (first === undefined) throw new TypeError('choose: expected at least one candidate')
  if (sampling.temperature === 0) return first[0]

  let total = 0
  const weights = sorted.map(([, logit]) => {
    const weight = Math.exp((logit - first[1]) / sampling.temperature)
    total += weight
    return weight
  })
  let kept = 0
  let count = 0
  for (const weight of weights) {
    // weights fall, so what min_p refuses is always a tail, and the first candidate (weight 1) always stays
    if (count > 0 && (kept >= sampling.topP * total || weight < sampling.minP)) break
    kept += weight
    count++
  }
  const target = draw() * kept
  let sum = 0
  for (let i = 0; i < count; i++) {
    sum += weights[i] ?? 0
    const [token] = sorted[i] ?? first
    if (sum > target) return token
  }
  return (sorted[count - 1] ?? first)[0]
}

/** Highest logit first; of equal logits the lower token id first. */
export function rank(candidates: readonly Candidate[]): Candidate[] {
  return [...candidates].sort((a, b) => b[1] - a[1] || a[0] - b[0])
}

/**
 * The random number of one position (S23): the first 53 bits of HMAC-SHA-256(key, JCS {"choice":c,"position":p,"v":1}) over 2^53, with
 * key = sha256("veritee.sample.v1" || seed bytes). It depends on nothing else, so a replay may start at any position.
 */
export function uniform(seed: Uint8Array): (choice: number, position: number) => number {
  const key = createHash('sha256')
    .update(concat(utf8('veritee.sample.v1'), seed))
    .digest()
  return (choice, position) => {
    const mac = createHmac('sha256', key)
      .update(jcs({ choice, position, v: 1 }))
      .digest()
    return Number(mac.readBigUInt64BE() >> 11n) / 2 ** 53
  }
}

/**
 * Seed bytes of an OpenAI `seed`: the integer as 64-bit two's complement, most significant byte first.
 * Throws `TypeError` for anything but a safe integer.
 */
export function seedBytes(seed: number): Uint8Array {
  if (!Number.isSafeInteger(seed)) throw new TypeError('seedBytes: expected a safe integer')
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
