import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { sumProbe } from '../../src/validator/probe.ts'
import { type AuditRecord, scoreRound, wilsonLowerBound } from '../../src/validator/score.ts'

const record = (worker: string | null, verdict: AuditRecord['verdict']): AuditRecord => ({
  probe: 0,
  worker,
  verdict,
  reason: null,
  receipt: null,
  simulated: true,
})

// Expected values: computed apart, in decimal arithmetic of 40 digits.
describe('Wilson lower bound in integers of 1e-9', () => {
  test('agrees with floating point to the last unit or two, and never exceeds it by more', () => {
    const z = 1.96
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5000 }), fc.nat(5000), (n, k) => {
        const passed = Math.min(k, n)
        const float = (passed + (z * z) / 2 - z * Math.sqrt((passed * (n - passed)) / n + (z * z) / 4)) / (n + z * z)
        expect(Math.abs(wilsonLowerBound(passed, n) - float * 1e9)).toBeLessThan(3)
      }),
    )
  })

  test.for([
    [0, 1, 0],
    [1, 1, 206_543_291],
    [3, 3, 438_493_918],
    [50, 100, 403829828],
  ] as const)('%i of %i', ([passed, audits, expected]) => {
    expect(Math.abs(wilsonLowerBound(passed, audits) - expected)).toBeLessThanOrEqual(1)
  })

  test('more passes never score less, more failures never more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.nat(300), (n, k) => {
        const passed = Math.min(k, n)
        expect(wilsonLowerBound(passed + 1, n + 1)).toBeGreaterThanOrEqual(wilsonLowerBound(passed, n))
        expect(wilsonLowerBound(passed, n + 1)).toBeLessThanOrEqual(wilsonLowerBound(passed, n))
      }),
    )
  })

  test.for([
    [1, 0],
    [2, 1],
    [-1, 3],
    [0.5, 1],
  ] as const)('%f of %f is a wrong argument', ([passed, audits]) => {
    expect(() => wilsonLowerBound(passed, audits)).toThrow(TypeError)
  })
})

describe('scoring a round', () => {
  test('no evidence, no score: inconclusive and unattributable audits count neither way', () => {
    expect(scoreRound([record('w', 'inconclusive'), record('w', 'unattributable'), record(null, 'fail')])).toEqual([])
    expect(scoreRound([record('w', 'pass'), record('w', 'inconclusive')])).toEqual(scoreRound([record('w', 'pass')]))
  })

  test('a worker that fails audits scores below one that passes them', () => {
    const scores = scoreRound([record('good', 'pass'), record('good', 'pass'), record('bad', 'pass'), record('bad', 'fail')])
    expect(scores.map(({ worker }) => worker)).toEqual(['bad', 'good'])
    expect(scores[0]?.score).toBeLessThan(scores[1]?.score ?? 0)
  })

  test('is a pure function of the records, in whatever order', () => {
    const verdicts = fc.constantFrom<AuditRecord['verdict']>('pass', 'fail', 'inconclusive', 'unattributable')
    const records = fc.array(
      fc.tuple(fc.constantFrom('a', 'b', 'c'), verdicts).map(([worker, verdict]) => record(worker, verdict)),
      { maxLength: 60 },
    )
    fc.assert(
      fc.property(records, (list) => {
        expect(scoreRound([...list].reverse())).toEqual(scoreRound(list))
      }),
    )
  })
})

test('probes follow from the seed alone, and stay within what the demo model knows', () => {
  const seed = new Uint8Array(32).fill(7)
  const probes = Array.from({ length: 200 }, (_, i) => sumProbe(seed, i))
  expect(probes).toEqual(Array.from({ length: 200 }, (_, i) => sumProbe(seed, i)))
  expect(new Set(probes.map(({ prompt }) => prompt)).size).toBeGreaterThan(100)
  expect(sumProbe(createHash('sha256').update('other').digest(), 0)).not.toEqual(probes[0])
  for (const { expected } of probes) {
    const [, a, b, sum] = /^(\d+) \+ (\d+) = (\d+)\.$/.exec(expected) ?? []
    expect(Number(a) + Number(b)).toBe(Number(sum))
    expect(Number(sum)).toBeLessThan(50)
  }
})
