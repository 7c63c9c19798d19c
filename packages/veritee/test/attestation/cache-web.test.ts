import { describe, expect, it, vi } from 'vitest'
import { createVerifierCache, intelSgxRootCa } from '../../src/attestation/index.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { type Case, see, under, verdictOf } from './cache.ts'
import { at, evidenceOf, soon, tdEvidenceOf } from './synthetic.ts'
import { flipped, haveVectors, intel, load, pairs, vectorsNote } from './vectors.ts'

vi.mock('../../src/crypto/node.ts', () => import('../../src/crypto/web.ts'))

describe('the verifier over WebCrypto, where every primitive is a promise', () => {
  it('judges synthetic evidence, with a cache as without, one after another and at once', async () => {
    const platform = await createSimPlatform({ at })
    const honest: Case = { ...(await evidenceOf(platform)), at: soon }
    const cases = [honest, { ...(await tdEvidenceOf(platform)), at: soon }, under(honest, intelSgxRootCa)]
    for (let position = 3; position < honest.quote.length; position += 97) cases.push({ ...honest, quote: flipped(honest.quote, position) })
    const expected = await Promise.all(cases.map((one) => see(one)))
    expect(expected.slice(0, 3).map(verdictOf)).toEqual(['UpToDate', 'UpToDate', 'pck.root chain_untrusted'])
    const refused = expected.slice(3).filter((seen) => 'code' in seen)
    expect(refused.length).toBeGreaterThan(30)
    const cache = createVerifierCache()
    expect(await Promise.all(cases.map((one) => see(one, cache)))).toEqual(expected)
    for (const [index, one] of cases.entries()) expect(await see(one, cache)).toEqual(expected[index])
  })

  it.skipIf(!haveVectors)(`gives the verdicts of Intel's own library on real quotes${vectorsNote}`, async () => {
    const cache = createVerifierCache()
    for (const pair of pairs) {
      const { bytes, collateral, at: then } = load(pair)
      const one = { quote: bytes, collateral, trust: intel, at: then }
      const seen = await see(one)
      expect(verdictOf(seen)).toBe(pair.genuine ? pair.tcbStatus : 'crl.pck crl_signature_invalid')
      expect(await see(one, cache)).toEqual(seen)
      expect(await see(one, cache)).toEqual(seen)
    }
  })
})
