import { describe, expect, it } from 'vitest'
import { loadCorpus, makeCorpus } from '../../../../bench/soak/corpus.ts'
import { policies, receipts } from '../../../../bench/soak/documents.ts'
import { soak } from '../../../../bench/soak/soak.ts'
import { parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import { parsePolicy } from '../../src/policy/index.ts'
import { parseReceipt } from '../../src/receipt/index.ts'

const all = loadCorpus()
/** The frozen seeds alone: the same run with and without the real vectors. */
const corpus = { ...all, evidence: all.evidence.slice(0, all.evidence.length - all.real) }

describe('the soak in a reduced form', () => {
  it('its seeds are accepted, so that changes start from what passes', async () => {
    expect(corpus.evidence.length).toBe(7)
    for (const { quote, collateral, root, at } of all.evidence)
      await expect(verifyQuote(parseQuote(quote), collateral, { roots: [root] }, at)).resolves.toBeDefined()
    for (const text of policies) expect(parsePolicy(text).roles).toBeDefined()
    for (const text of receipts) expect(parseReceipt(text).events.length).toBe(12)
  })

  it('P25, P26: nothing but coded refusals, nothing accepted with other claims, nothing slow', async () => {
    const { findings, targets } = await soak({ corpus: all, seed: 2026, iterations: 25_000 })
    expect(findings).toEqual([])
    for (const [name, { inputs, accepted, refused }] of Object.entries(targets)) {
      expect(inputs, name).toBeGreaterThan(0)
      expect(Object.keys(refused).length, name).toBeGreaterThan(0)
      if (!['verifyQuote', 'parseReceipt'].includes(name)) expect(accepted, name).toBeGreaterThan(0)
    }
  })

  it('is repeated exactly by seed and iteration', async () => {
    const comparable = ({ targets }: Awaited<ReturnType<typeof soak>>): unknown =>
      Object.entries(targets).map(([name, { slowestMs: _, ...counts }]) => [name, counts])
    const [first, again] = [await soak({ corpus, seed: 5, iterations: 2000 }), await soak({ corpus, seed: 5, iterations: 2000 })]
    expect(comparable(first)).toEqual(comparable(again))
    const [start, rest] = [await soak({ corpus, seed: 5, iterations: 500 }), await soak({ corpus, seed: 5, iterations: 1500, from: 500 })]
    for (const [name, { inputs, bytes }] of Object.entries(first.targets))
      expect([inputs, bytes]).toEqual([
        (start.targets[name]?.inputs ?? 0) + (rest.targets[name]?.inputs ?? 0),
        (start.targets[name]?.bytes ?? 0) + (rest.targets[name]?.bytes ?? 0),
      ])
    expect(comparable(await soak({ corpus, seed: 6, iterations: 2000 }))).not.toEqual(comparable(first))
  })

  it('fresh seeds have the form of the frozen ones', async () => {
    const fresh = JSON.parse(await makeCorpus(new Date('2026-05-06T07:08:09Z'))) as { quotes: { name: string }[] }
    expect(fresh.quotes.map(({ name }) => name)).toEqual([...corpus.evidence.map(({ name }) => name), 'type-1', 'type-2', 'type-3', 'type-4'])
  })
})
