import { beforeEach, describe, expect, it, vi } from 'vitest'
import { createVerifierCache, intelSgxRootCa, type VerifierCache } from '../../src/attestation/index.ts'
import { createSimPlatform, createSimVendor, type SimPlatform } from '../../src/attestation/sim/index.ts'
import type { Crypto } from '../../src/crypto/types.ts'
import { type Case, see, under, verdictOf } from './cache.ts'
import { at, daysLater, enclave, evidenceOf, reportData, soon } from './synthetic.ts'

const work = vi.hoisted(() => ({ imports: 0, verifications: 0 }))
vi.mock('../../src/crypto/node.ts', async (original) => {
  const node = await original<Crypto>()
  return {
    ...node,
    importP256: async (publicKey: Uint8Array) => {
      work.imports++
      const key = await node.importP256(publicKey)
      if (key === null) return null
      return {
        verify: (signature: Uint8Array, message: Uint8Array) => {
          work.verifications++
          return key.verify(signature, message)
        },
      }
    },
  }
})
beforeEach(() => {
  work.imports = 0
  work.verifications = 0
})

/** Signature verifications and key imports of one verification, and its verdict. */
async function workOf(one: Case, cache?: VerifierCache): Promise<string> {
  const before = { ...work }
  const verdict = verdictOf(await see(one, cache))
  return `${verdict}: ${work.verifications - before.verifications} verifications, ${work.imports - before.imports} imports`
}

const everything = 'UpToDate: 9 verifications, 5 imports'
const onlyTheQuote = 'UpToDate: 1 verifications, 0 imports'

const vendor = await createSimVendor(at)
const platforms = await Promise.all(Array.from({ length: 4 }, () => createSimPlatform({ at, vendor })))
const [first, second] = platforms as [SimPlatform, SimPlatform, ...SimPlatform[]]
const caseOf = async (platform: SimPlatform): Promise<Case> => ({ ...(await evidenceOf(platform)), collateral: first.collateral, at: soon })
const one = await caseOf(first)

describe('what a verification costs', () => {
  it('without a cache: each distinct signature once, each distinct key once, every time', async () => {
    expect(await workOf(one)).toBe(everything)
    expect(await workOf(one)).toBe(everything)
  })

  it('the first time with a cache, the same; then the signature of the quote', async () => {
    const cache = createVerifierCache()
    expect(await workOf(one, cache)).toBe(everything)
    expect(await workOf(one, cache)).toBe(onlyTheQuote)
    expect(await workOf({ ...one, quote: await first.quote(enclave, reportData.toReversed()) }, cache)).toBe(onlyTheQuote)
    expect(await workOf({ ...one, at: daysLater(3) }, cache)).toBe(onlyTheQuote)
    expect(await workOf({ ...one, collateral: structuredClone(one.collateral) }, cache)).toBe(onlyTheQuote)
  })

  it('another platform under cached collateral: its PCK certificate, its quoting enclave, its quote', async () => {
    const cache = createVerifierCache()
    await see(one, cache)
    expect(await workOf(await caseOf(second), cache)).toBe('UpToDate: 3 verifications, 2 imports')
    expect(await workOf(await caseOf(second), cache)).toBe(onlyTheQuote)
  })

  it('new lists and documents of a known vendor: their four signatures', async () => {
    const cache = createVerifierCache()
    await see(one, cache)
    const platform = await createSimPlatform({ at, vendor })
    const other = { ...(await evidenceOf(platform)), at: soon }
    await see(other, cache)
    const renewed = await platform.refreshCollateral(daysLater(1))
    expect(await workOf({ ...other, collateral: renewed, at: daysLater(2) }, cache)).toBe('UpToDate: 5 verifications, 0 imports')
  })
})

describe('what is not kept', () => {
  it('S15: anything under another list of roots', async () => {
    const cache = createVerifierCache()
    await see(one, cache)
    expect(await workOf(under(one, vendor.root.certificate, intelSgxRootCa), cache)).toBe(everything)
    expect(await workOf(under(one, intelSgxRootCa, vendor.root.certificate), cache)).toBe(everything)
    expect(await workOf(one, cache)).toBe(onlyTheQuote)
  })

  it('anything that only a refused verification has met', async () => {
    const cache = createVerifierCache()
    const quote = new Uint8Array(one.quote)
    // The last byte of the body: all other checks pass.
    quote[431] = (quote[431] as number) ^ 1
    expect(await workOf({ ...one, quote }, cache)).toBe('quote.signature quote_signature_invalid: 9 verifications, 5 imports')
    expect(await workOf({ ...one, quote }, cache)).toBe('quote.signature quote_signature_invalid: 9 verifications, 5 imports')
    expect(await workOf(one, cache)).toBe(everything)
    for (const other of platforms.slice(1)) {
      const refused = await caseOf(other)
      refused.quote[431] = (refused.quote[431] as number) ^ 1
      expect(await workOf(refused, cache)).toBe('quote.signature quote_signature_invalid: 3 verifications, 2 imports')
    }
    expect(await workOf(one, cache)).toBe(onlyTheQuote)
  })

  it('more than maxEntries: what was not used goes, what was used stays', async () => {
    const cache = createVerifierCache({ maxEntries: 16 })
    await see(one, cache)
    const others = await Promise.all(Array.from({ length: 24 }, async () => caseOf(await createSimPlatform({ at, vendor }))))
    for (const other of others) {
      await see(other, cache)
      expect(await workOf(one, cache)).toBe(onlyTheQuote)
    }
    expect(await workOf(others.at(-1) as Case, cache)).toBe(onlyTheQuote)
    expect(await workOf(others[0] as Case, cache)).toBe('UpToDate: 3 verifications, 2 imports')
    const large = createVerifierCache()
    for (const other of others) await see(other, large)
    for (const other of others) expect(await workOf(other, large)).toBe(onlyTheQuote)
  })

  it('more than eight lists of roots, nor anything after clear', async () => {
    const cache = createVerifierCache()
    await see(one, cache)
    for (let i = 1; i < 8; i++) await see(under(one, ...rootsOf(i)), cache)
    expect(await workOf(one, cache)).toBe(onlyTheQuote)
    for (let i = 8; i < 16; i++) await see(under(one, ...rootsOf(i)), cache)
    expect(await workOf(one, cache)).toBe(everything)
    cache.clear()
    expect(await workOf(one, cache)).toBe(everything)
  })
})

it('calls that run at the same time share a cache and disturb nothing', async () => {
  const cache = createVerifierCache()
  const cases = await Promise.all([...platforms, ...platforms].map(caseOf))
  const expected = await Promise.all(cases.map((each) => see(each)))
  expect(await Promise.all(cases.map((each) => see(each, cache)))).toEqual(expected)
  expect(await Promise.all(cases.map((each) => workOf(each, cache)))).toHaveLength(8)
  for (const each of cases) expect(await workOf(each, cache)).toBe(onlyTheQuote)
})

/** The vendor's root and as many copies of Intel's. */
function rootsOf(copies: number): [Uint8Array, ...Uint8Array[]] {
  return [vendor.root.certificate, ...Array.from({ length: copies }, () => intelSgxRootCa)]
}
