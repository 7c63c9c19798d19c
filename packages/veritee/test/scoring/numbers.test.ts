import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Shape } from '../../src/bytes/index.ts'
import { formatNano, parseFine, parseNano } from '../../src/scoring/numbers/decimal.ts'
import { divide, isqrt, one, power } from '../../src/scoring/numbers/fixed.ts'
import { exp, half, ln, pow } from '../../src/scoring/numbers/real.ts'
import { divideShares, lowerMedian } from '../../src/scoring/numbers/shares.ts'
import { bound } from '../../src/scoring/rules/factors.ts'
import { refusal } from '../bytes/refusal.ts'
import * as other from './oracle/numbers.ts'

type Rows<T extends readonly unknown[]> = readonly T[]
interface Vectors {
  readonly div: Rows<[string, string, string]>
  readonly isqrt: Rows<[string, string]>
  readonly ln: Rows<[string, string]>
  readonly exp: Rows<[string, string]>
  readonly pow: Rows<[string, string, string]>
  readonly half: Rows<[number, number, string]>
  readonly bound: Rows<[string, string, string, string]>
  readonly shares: Rows<[string, string[], string[]]>
  readonly nano: Rows<[string, string]>
}
const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/scoring-numbers.json', import.meta.url), 'utf8')) as Vectors
const script = fileURLToPath(new URL('make-number-vectors.py', import.meta.url))
const python = spawnSync('python3', ['--version']).status === 0
const shape = new Shape('scoring_policy_malformed')

describe('numbers of scoring: the vectors of the specification', () => {
  it.skipIf(!python)('are what Python makes of the specification (needs python3)', () => {
    const made = spawnSync('python3', [script], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    expect(JSON.parse(made.stdout)).toEqual(vectors)
  })

  const both = [
    { name: 'library', div: divide, isqrt, ln, exp, pow, half },
    { name: 'second implementation', div: other.div, isqrt: other.isqrt, ln: other.ln, exp: other.exp, pow: other.pow, half: other.half },
  ]
  it.each(both)('$name', (of) => {
    for (const [a, b, c] of vectors.div) expect(of.div(BigInt(a), BigInt(b)), `${a} / ${b}`).toBe(BigInt(c))
    for (const [n, root] of vectors.isqrt) expect(of.isqrt(BigInt(n)), n).toBe(BigInt(root))
    for (const [x, y] of vectors.ln) expect(of.ln(BigInt(x)), `ln ${x}`).toBe(BigInt(y))
    // The second implementation has sixty digits in all, so that large results are beyond it.
    for (const [x, y] of vectors.exp.filter(([, result]) => of.name === 'library' || result.length < 40))
      expect(of.exp(BigInt(x)), `exp ${x}`).toBe(BigInt(y))
    for (const [x, y, z] of vectors.pow) expect(of.pow(BigInt(x), BigInt(y)), `${x} ^ ${y}`).toBe(BigInt(z))
    for (const [t, life, w] of vectors.half) expect(of.half(t, life), `half ${t} ${life}`).toBe(BigInt(w))
  })

  it('bounds, shares, decimals', () => {
    for (const [s, n, z, found] of vectors.bound)
      expect(bound({ successes: divide(BigInt(s), 10n ** 9n), trials: divide(BigInt(n), 10n ** 9n) }, BigInt(z))).toBe(BigInt(found))
    for (const [n, weights, found] of vectors.shares) expect(divideShares(BigInt(n), weights.map(BigInt))).toEqual(found.map(BigInt))
    for (const [x, text] of vectors.nano) {
      expect(formatNano(BigInt(x))).toBe(text)
      expect(parseNano(text, 'x', shape, 'any')).toBe(BigInt(x))
    }
  })
})

describe('numbers of scoring', () => {
  it('divide rounds half to even, of either sign', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }), fc.bigInt({ min: 1n, max: 10n ** 20n }), (a, b) => {
        const q = divide(a, b)
        const off = 2n * (a - q * b)
        expect(off <= b && -off <= b).toBe(true)
        if (off === b || -off === b) expect(q % 2n).toBe(0n)
      }),
    )
    expect(() => divide(1n, 0n)).toThrow(RangeError)
  })

  it('isqrt is the root rounded down', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 90n }), (n) => {
        const root = isqrt(n)
        expect(root * root <= n && (root + 1n) * (root + 1n) > n).toBe(true)
      }),
    )
    expect(() => isqrt(-1n)).toThrow(RangeError)
  })

  it('ln, pow and half agree with the second implementation', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 1n, max: 10n ** 36n }), fc.bigInt({ min: 1n, max: one }), fc.integer({ min: 0, max: 700_000 }), (x, y, t) => {
        expect(ln(x)).toBe(other.ln(x))
        expect(pow(x, y)).toBe(other.pow(x, y))
        expect(half(t, 86_400)).toBe(other.half(t, 86_400))
      }),
      { numRuns: 300 },
    )
  })

  it('are refused where there is no result', () => {
    for (const wrong of [() => ln(0n), () => ln(-1n), () => exp(1001n * one), () => pow(-1n, one), () => pow(one, 0n), () => pow(one, one + 1n)])
      expect(wrong).toThrow(RangeError)
    expect(exp(-1000n * one)).toBe(0n)
    expect(power(one / 2n, 3)).toBe(one / 8n)
  })

  it('shares always sum to what is shared, and more weight never gets less', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 10n ** 9n }),
        fc.array(fc.bigInt({ min: 0n, max: 10n ** 30n }), { minLength: 1, maxLength: 12 }),
        (n, weights) => {
          const found = divideShares(n, weights)
          const sum = weights.some((weight) => weight > 0n) ? n : 0n
          expect(found.reduce((a, b) => a + b, 0n)).toBe(sum)
          expect(found).toEqual(other.shares(n, weights))
          for (const [i, a] of weights.entries())
            for (const [j, b] of weights.entries()) if (a > b) expect((found[i] as bigint) >= (found[j] as bigint)).toBe(true)
        },
      ),
      { numRuns: 200 },
    )
    expect(() => divideShares(1n, [-1n])).toThrow(RangeError)
    expect([lowerMedian([]), lowerMedian([3n, 1n]), lowerMedian([3n, 1n, 2n])]).toEqual([null, 1n, 2n])
  })

  it.each(['1', '1.', '.5', '01.5', '-0.5', '0.5e1', '1.0000000000000000001', '1234567890.0', 0.5, null, ' 0.5'])(
    'a policy has no decimal %j',
    async (text) => {
      expect(await refusal(() => parseFine(text, 'x', shape))).toBe('scoring_policy_malformed')
    },
  )

  it.each(['1', '1.0', '01.000000000', '-0.000000000', '1.0000000000', '-1.000000000', 1])('a document has no number %j', async (text) => {
    expect(await refusal(() => parseNano(text, 'x', shape))).toBe('scoring_policy_malformed')
  })
})
