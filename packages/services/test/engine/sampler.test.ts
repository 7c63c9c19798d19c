import { describe, expect, test } from 'vitest'
import { type Candidate, checkSampling, choose, seedBytes, uniform } from '../../src/enclave/worker/engine/sampling/sampler.ts'

const all = { temperature: 1, topK: 1024, topP: 1, minP: 0 }
const candidates: readonly Candidate[] = [
  [5, Math.log(0.1)],
  [2, Math.log(0.4)],
  [9, Math.log(0.3)],
  [1, Math.log(0.2)],
]
const never = (): number => {
  throw new Error('no randomness expected')
}

describe('S23: randomness', () => {
  // Computed with another implementation of HMAC-SHA-256 from the definition in spec/receipt-events.md.
  test.each([
    ['0000000000000007', 0, 0, 4_967_843_515_697_834],
    ['0000000000000007', 0, 1, 3_008_410_845_896_022],
    ['0000000000000007', 3, 1_000_000, 4_384_069_493_738_189],
    ['00000000000000000000000000000000', 0, 0, 7_761_640_300_680_274],
  ])('seed %s choice %d position %d', (seed, choice, position, bits) => {
    expect(uniform(Uint8Array.from(Buffer.from(seed, 'hex')))(choice, position)).toBe(bits / 2 ** 53)
  })

  test('an integer seed is its 64-bit two\u2019s complement, big-endian', () => {
    expect([...seedBytes(7)]).toEqual([0, 0, 0, 0, 0, 0, 0, 7])
    expect([...seedBytes(-1)]).toEqual(Array(8).fill(255))
    expect([...seedBytes(2 ** 53 - 1)]).toEqual([0, 0x1f, 255, 255, 255, 255, 255, 255])
    expect(() => seedBytes(0.5)).toThrow(TypeError)
    expect(() => seedBytes(2 ** 53)).toThrow(TypeError)
    expect(() => seedBytes(2n ** 63n)).toThrow(TypeError)
  })
})

describe('choose', () => {
  test('temperature 0 takes the highest logit without randomness, of equal ones the lowest id', () => {
    expect(choose(candidates, { ...all, temperature: 0 }, never)).toBe(2)
    expect(
      choose(
        [
          [7, 1],
          [3, 1],
          [4, 0],
        ],
        { ...all, temperature: 0 },
        never,
      ),
    ).toBe(3)
  })

  test.each([
    [0, 2],
    [0.399, 2],
    [0.401, 9],
    [0.699, 9],
    [0.701, 1],
    [0.899, 1],
    [0.901, 5],
    [1 - 2 ** -53, 5],
  ])('u %d walks the candidates by falling probability', (u, token) => {
    expect(choose(candidates, all, () => u)).toBe(token)
  })

  test('top_k cuts first, then the rest share', () => {
    expect(choose(candidates, { ...all, topK: 2 }, () => 0.999)).toBe(9)
    expect(choose(candidates, { ...all, topK: 2 }, () => 0.57)).toBe(2)
    expect(choose(candidates, { ...all, topK: 2 }, () => 0.58)).toBe(9)
  })

  test('top_p keeps the candidate that reaches the sum, and at least one', () => {
    expect(choose(candidates, { ...all, topP: 0.65 }, () => 0.999)).toBe(9)
    expect(choose(candidates, { ...all, topP: 0.71 }, () => 0.999)).toBe(1)
    expect(choose(candidates, { ...all, topP: 1e-9 }, () => 0.999)).toBe(2)
  })

  test('min_p is relative to the most likely candidate', () => {
    expect(choose(candidates, { ...all, minP: 0.3 }, () => 0.999)).toBe(1)
    expect(choose(candidates, { ...all, minP: 0.6 }, () => 0.999)).toBe(9)
    expect(choose(candidates, { ...all, minP: 1 }, () => 0.999)).toBe(2)
  })

  test('temperature comes before top_p: a lower one makes the first candidate enough', () => {
    expect(choose(candidates, { ...all, topP: 0.5 }, () => 0.999)).toBe(9)
    expect(choose(candidates, { ...all, topP: 0.5, temperature: 0.1 }, () => 0.999)).toBe(2)
  })

  test('an extreme temperature neither overflows nor divides by zero', () => {
    expect(choose(candidates, { ...all, temperature: 1e-300 }, () => 0.999)).toBe(2)
    expect(
      choose(
        [
          [1, 88],
          [2, -1e30],
        ],
        all,
        () => 0.999,
      ),
    ).toBe(1)
  })

  test('frequencies follow the probabilities', () => {
    const draw = uniform(Uint8Array.of(1))
    const counts = new Map<number, number>()
    for (let i = 0; i < 20_000; i++) {
      const token = choose(candidates, all, () => draw(0, i))
      counts.set(token, (counts.get(token) ?? 0) + 1)
    }
    for (const [token, logit] of candidates) expect((counts.get(token) ?? 0) / 20_000).toBeCloseTo(Math.exp(logit), 1.5)
  })

  test('no candidate is a TypeError', () => {
    expect(() => choose([], all, () => 0)).toThrow(TypeError)
  })
})

test.each([{ temperature: -1 }, { temperature: Number.POSITIVE_INFINITY }, { topK: 0 }, { topK: 1025 }, { topP: 0 }, { topP: 1.01 }, { minP: -0.1 }])(
  'parameters out of range are TypeError: %o',
  (part) => {
    expect(() => checkSampling({ ...all, ...part })).toThrow(TypeError)
  },
)
