import { createHash, createHmac, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  auditSeed,
  closingRound,
  isSelected,
  openingRound,
  probeSeed,
  quicknet,
  seedCommitment,
  timeOfRound,
} from '../../src/scoring/beacon/index.ts'

const seed = new Uint8Array(32).fill(1)
const randomness = new Uint8Array(32).fill(2)
const validator = 'ab'.repeat(32)

describe('S16: the seeds of an epoch', () => {
  it('the commitment is SHA-256 over one text, which no other epoch, seed or validator has', async () => {
    const text = `{"epoch":7,"purpose":"veritee.seed.v1","seed":"${'01'.repeat(32)}","validator":"${validator}"}`
    expect(await seedCommitment({ epoch: 7, seed, validator })).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  })

  it.each([
    ['probe', probeSeed],
    ['audit', auditSeed],
  ] as const)('the seed of %s, by Node alone', async (purpose, derive) => {
    const input = Buffer.concat([Buffer.from(purpose), Buffer.from('0000000000000007', 'hex'), randomness])
    expect(Buffer.from(await derive(seed, 7, randomness)).toString('hex')).toBe(createHmac('sha256', seed).update(input).digest('hex'))
  })

  it('probes and organic audits never share a seed, nor do two epochs or two rounds', async () => {
    const all = [
      await probeSeed(seed, 1, randomness),
      await auditSeed(seed, 1, randomness),
      await probeSeed(seed, 2, randomness),
      await probeSeed(seed, 1, new Uint8Array(32)),
    ]
    expect(new Set(all.map((one) => Buffer.from(one).toString('hex'))).size).toBe(all.length)
  })

  it('selects about the part that is asked for, all at one and none at zero', async () => {
    const leaves = Array.from({ length: 4000 }, (_, i) => new Uint8Array(createHash('sha256').update(`leaf ${i}`).digest()))
    const chosen = async (probability: bigint): Promise<number> =>
      (await Promise.all(leaves.map((leaf) => isSelected(seed, leaf, probability)))).filter(Boolean).length
    expect(await chosen(0n)).toBe(0)
    expect(await chosen(10n ** 18n)).toBe(leaves.length)
    // 4000 draws at one in ten: five deviations are 95.
    expect(Math.abs((await chosen(10n ** 17n)) - 400)).toBeLessThan(95)
  })

  it('what is selected at a probability is selected at any larger one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.bigInt({ min: 0n, max: 10n ** 18n }), fc.bigInt({ min: 0n, max: 10n ** 18n }), async (a, b) => {
        const leaf = new Uint8Array(randomBytes(32))
        const [low, high] = a < b ? [a, b] : [b, a]
        if (await isSelected(seed, leaf, low)) expect(await isSelected(seed, leaf, high)).toBe(true)
      }),
    )
  })

  it('the opening round is not before the epoch, and the closing one at least a minute after its last checkpoint', () => {
    fc.assert(
      fc.property(fc.integer({ min: quicknet.genesis_time, max: 2_000_000_000 }), (at) => {
        expect(timeOfRound(quicknet, openingRound(quicknet, at))).toBeGreaterThanOrEqual(at)
        expect(timeOfRound(quicknet, closingRound(quicknet, at))).toBeGreaterThanOrEqual(at + 60)
      }),
    )
  })

  it.each([
    ['a short seed', () => seedCommitment({ epoch: 0, seed: new Uint8Array(31), validator })],
    ['a short round', () => probeSeed(seed, 0, new Uint8Array(0))],
    ['no epoch', () => probeSeed(seed, -1, randomness)],
  ])('%s is a wrong argument', async (_, run) => {
    await expect((async () => run())()).rejects.toThrow(TypeError)
  })
})
