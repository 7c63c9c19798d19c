import { describe, expect, test } from 'vitest'
import type { Sampling } from '../../src/enclave/worker/engine/engine.ts'
import { type Adjustments, checkAdjustments, noAdjustments } from '../../src/enclave/worker/engine/sampling/adjustments.ts'
import { type Candidate, rank, uniform } from '../../src/enclave/worker/engine/sampling/sampler.ts'
import { Selection } from '../../src/enclave/worker/engine/sampling/selection.ts'

const greedy: Sampling = { temperature: 0, topK: 1024, topP: 1, minP: 0 }

/** Numbers below 1 that a failing case can be repeated with (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The steps of the specification one after the other, each with a list of its own. */
function plainChoice(logits: readonly Candidate[], { temperature, topK, topP, minP }: Sampling, u: number): number {
  const sorted = [...logits].sort((a, b) => b[1] - a[1] || a[0] - b[0])
  const [best] = sorted
  if (best === undefined) throw new Error('no logits')
  if (temperature === 0) return best[0]
  const weighed = sorted.slice(0, topK).map(([token, logit]) => ({ token, weight: Math.exp((logit - best[1]) / temperature) }))
  const total = weighed.reduce((sum, { weight }) => sum + weight, 0)
  const nucleus: typeof weighed = []
  let reached = 0
  for (const one of weighed) {
    if (nucleus.length > 0 && reached >= topP * total) break
    nucleus.push(one)
    reached += one.weight
  }
  const kept = nucleus.filter(({ weight }, i) => i === 0 || weight >= minP)
  const target = u * kept.reduce((sum, { weight }) => sum + weight, 0)
  let running = 0
  for (const { token, weight } of kept) {
    running += weight
    if (running > target) return token
  }
  return kept.at(-1)?.token ?? best[0]
}

/** Logits of a whole vocabulary, rounded so that equal ones are frequent. */
function vocabularyLogits(size: number, random: () => number): Candidate[] {
  return Array.from({ length: size }, (_, token): Candidate => [token, Math.round((random() - 0.6) * 200) / 10])
}

/** What the engine gives: the highest `top` raw logits, and those of `tokens`. */
function given(logits: readonly Candidate[], { top, tokens }: Selection): readonly Candidate[] {
  const asked = new Set(tokens)
  const ranked = rank(logits)
  return rank([...ranked.slice(0, top), ...ranked.slice(top).filter(([token]) => asked.has(token))])
}

/** The text of the specification, over the whole vocabulary. */
function reference(
  logits: readonly Candidate[],
  { frequencyPenalty, presencePenalty, repetitionPenalty, logitBias }: Adjustments,
  prompt: readonly number[],
  completion: readonly number[],
): Candidate[] {
  const prompted = new Set(prompt)
  return logits.map(([token, raw]) => {
    const count = completion.filter((other) => other === token).length
    let logit = raw
    if (count > 0 || prompted.has(token)) logit = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty
    logit -= frequencyPenalty * count
    if (count > 0) logit -= presencePenalty
    return [token, logit + (logitBias.get(token) ?? 0)]
  })
}

describe('S23: the choice is that of the whole vocabulary, although few logits are looked at', () => {
  test.each(Array.from({ length: 40 }, (_, i) => i))('random case %i', (seed) => {
    const random = numbers(seed)
    const size = 40 + Math.floor(random() * 2000)
    const token = (): number => Math.floor(random() * size)
    const promptTokens = Array.from({ length: 1 + Math.floor(random() * 60) }, token)
    const adjustments: Adjustments = {
      frequencyPenalty: random() < 0.4 ? 0 : random() * 4 - 2,
      presencePenalty: random() < 0.4 ? 0 : random() * 4 - 2,
      repetitionPenalty: random() < 0.4 ? 1 : 0.5 + random() * 2,
      logitBias: new Map(random() < 0.4 ? [] : Array.from({ length: 20 }, () => [token(), random() * 40 - 20])),
    }
    const sampling: Sampling = {
      temperature: random() < 0.3 ? 0 : random() * 2,
      topK: 1 + Math.floor(random() ** 3 * 1023),
      topP: random() < 0.5 ? 1 : random(),
      minP: random() < 0.5 ? 0 : random() / 4,
    }
    const draw = uniform(Uint8Array.of(seed, 1))
    const selection = new Selection({ sampling, adjustments, promptTokens, mask: null, draw: (position) => draw(0, position) })
    const completion: number[] = []
    for (let position = 0; position < 25; position++) {
      const logits = vocabularyLogits(size, random)
      const expected = plainChoice(reference(logits, adjustments, promptTokens, completion), sampling, draw(0, position))
      expect(selection.choose(given(logits, selection))).toBe(expected)
      completion.push(expected)
    }
  })
})

describe('how much is asked for', () => {
  const select = (sampling: Partial<Sampling>, adjustments: Partial<Adjustments> = {}): Selection =>
    new Selection({
      sampling: { ...greedy, ...sampling },
      adjustments: { ...noAdjustments, ...adjustments },
      promptTokens: [5, 6],
      mask: null,
      draw: () => 0,
    })

  test('greedy needs the highest logit only, top_k as many and some for ties', () => {
    expect(select({}).top).toBe(1)
    expect(select({ temperature: 1, topK: 40 }).top).toBe(72)
    expect(select({ temperature: 1 }).top).toBe(1056)
  })

  test('each token that an adjustment touches, itself and one more', () => {
    expect(select({}, { logitBias: new Map([[9, 1]]) })).toMatchObject({ tokens: [9], top: 34 })
    expect(select({}, { repetitionPenalty: 1.1 })).toMatchObject({ tokens: [5, 6], top: 35 })
    const penalised = select({}, { frequencyPenalty: 1 })
    expect(penalised).toMatchObject({ tokens: [], top: 1 })
    penalised.accept(3)
    penalised.accept(3)
    expect(penalised).toMatchObject({ tokens: [3], top: 34 })
  })
})

describe('adjustments', () => {
  const chosen = (
    adjustments: Partial<Adjustments>,
    completion: readonly number[],
    logits: readonly Candidate[],
    prompt: readonly number[] = [],
  ): number | null => {
    const selection = new Selection({
      sampling: greedy,
      adjustments: { ...noAdjustments, ...adjustments },
      promptTokens: prompt,
      mask: null,
      draw: () => 0,
    })
    for (const token of completion) selection.accept(token)
    return selection.choose(logits)
  }

  const close: readonly Candidate[] = [
    [1, 3],
    [2, 2],
  ]

  test('frequency counts, presence does not, both of the completion only', () => {
    expect(chosen({ frequencyPenalty: 0.6 }, [1], close)).toBe(1)
    expect(chosen({ frequencyPenalty: 0.6 }, [1, 1], close)).toBe(2)
    expect(chosen({ presencePenalty: 0.6 }, [1, 1, 1], close)).toBe(1)
    expect(chosen({ presencePenalty: 1.1 }, [1], close)).toBe(2)
    expect(chosen({ presencePenalty: 1.1, frequencyPenalty: 2 }, [], close, [1])).toBe(1)
  })

  test('repetition divides positive logits and multiplies negative ones, of the prompt too', () => {
    expect(chosen({ repetitionPenalty: 2 }, [], close, [1])).toBe(2)
    const negative: readonly Candidate[] = [
      [1, -2],
      [2, -3],
    ]
    expect(chosen({ repetitionPenalty: 2 }, [1], negative)).toBe(2)
    expect(chosen({ repetitionPenalty: 0.5 }, [2], negative)).toBe(2)
  })

  test('the bias comes last: repetition does not scale it', () => {
    expect(chosen({ repetitionPenalty: 10, logitBias: new Map([[1, 2]]) }, [1], close)).toBe(1)
    expect(chosen({ logitBias: new Map([[1, -1]]) }, [], close)).toBe(1)
    expect(chosen({ logitBias: new Map([[1, -1.1]]) }, [], close)).toBe(2)
  })

  test.each([
    { frequencyPenalty: 2.1 },
    { presencePenalty: Number.NaN },
    { repetitionPenalty: 0 },
    { logitBias: new Map([[10, 1]]) },
    { logitBias: new Map([[1, 101]]) },
    { logitBias: new Map(Array.from({ length: 257 }, (_, i) => [i % 9, 1] as const).map(([token, bias], i) => [token + i * 1000, bias])) },
  ])('out of range is TypeError: %o', (part) => {
    expect(() => checkAdjustments({ ...noAdjustments, ...part }, 10)).toThrow(TypeError)
  })
})
