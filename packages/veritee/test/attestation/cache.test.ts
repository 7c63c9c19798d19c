import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Collateral, createVerifierCache, intelSgxRootCa, verifyQuote } from '../../src/attestation/index.ts'
import { createSimPlatform, createSimVendor, type SimPlatform, type SimVendor, signDocument } from '../../src/attestation/sim/index.ts'
import { type Case, see, under, verdictOf } from './cache.ts'
import { at, daysLater, edited, evidenceOf, soon, tdEvidenceOf } from './synthetic.ts'
import { flipped, haveVectors, intel, load, pairs, vectorsNote } from './vectors.ts'

async function machine(vendor?: SimVendor): Promise<{ readonly vendor: SimVendor; readonly platform: SimPlatform; readonly honest: Case }> {
  const own = vendor ?? (await createSimVendor(at))
  const platform = await createSimPlatform({ at, vendor: own })
  return { vendor: own, platform, honest: { ...(await evidenceOf(platform)), at: soon } }
}

/** Evidence of every kind, each under its own roots, under others' roots and under both. */
async function manyCases(): Promise<readonly Case[]> {
  const { vendor, platform, honest } = await machine()
  const second = await machine(vendor)
  const stranger = await machine()
  const simRoot = vendor.root.certificate
  const simulated: Case[] = [
    honest,
    { ...(await tdEvidenceOf(platform)), at: soon },
    second.honest,
    // Another platform's collateral is for the same family.
    { ...honest, collateral: second.honest.collateral },
    { ...stranger.honest },
    { ...honest, collateral: await platform.refreshCollateral(daysLater(1), { revoked: ['pck'] }), at: daysLater(2) },
  ]
  const real: Case[] = pairs.map((pair) => {
    const { bytes, collateral, at: then } = load(pair)
    return { quote: bytes, collateral, trust: intel, at: then }
  })
  const ownRoots = [...simulated, ...real]
  return ownRoots.flatMap((one) => [
    one,
    under(one, intelSgxRootCa),
    under(one, simRoot),
    under(one, intelSgxRootCa, simRoot),
    { ...one, at: new Date(one.at.getTime() + 400 * 86_400_000) },
    { ...one, at: new Date(one.at.getTime() - 4000 * 86_400_000) },
  ])
}

describe(`with a cache as without${vectorsNote}`, () => {
  it('S15: every evidence in random order under every root through one cache gives the verdict, claims and checks of no cache', async () => {
    const cases = await manyCases()
    const expected = await Promise.all(cases.map((one) => see(one)))
    expect(new Set(expected.map(verdictOf)).size).toBeGreaterThan(haveVectors ? 10 : 4)
    const shared = createVerifierCache()
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(cases.length - 1), { minLength: 10, maxLength: 60 }),
        fc.constantFrom(1, 2, 5, 256),
        fc.boolean(),
        async (order, maxEntries, parallel) => {
          const cache = createVerifierCache({ maxEntries })
          const wanted = order.map((index) => expected[index])
          const judge = (index: number) => see(cases[index] as Case, cache)
          if (parallel) expect(await Promise.all(order.map(judge))).toEqual(wanted)
          else for (const [position, index] of order.entries()) expect(await judge(index)).toEqual(wanted[position])
          for (const [position, index] of order.entries()) expect(await see(cases[index] as Case, shared)).toEqual(wanted[position])
        },
      ),
      { numRuns: 25 },
    )
  })

  it('S15: what was accepted under one root is not accepted under another', async () => {
    const { honest } = await machine()
    const cache = createVerifierCache()
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
    expect(verdictOf(await see(under(honest, intelSgxRootCa), cache))).toBe('pck.root chain_untrusted')
    const other = await machine()
    expect(verdictOf(await see(under(honest, other.vendor.root.certificate), cache))).toBe('pck.root chain_untrusted')
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
  })

  it('S15: a root changed in place is another root', async () => {
    const { honest, vendor } = await machine()
    const root = new Uint8Array(vendor.root.certificate)
    const cache = createVerifierCache()
    expect(verdictOf(await see(under(honest, root), cache))).toBe('UpToDate')
    root[root.length - 1] = (root.at(-1) as number) ^ 1
    expect(verdictOf(await see(under(honest, root), cache))).toBe('pck.root chain_untrusted')
    root[root.length - 1] = (root.at(-1) as number) ^ 1
    expect(verdictOf(await see(under(honest, root), cache))).toBe('UpToDate')
  })

  it('S15: simulated is computed anew: the same cache says so under both root lists', async () => {
    const { honest, vendor } = await machine()
    const cache = createVerifierCache()
    for (const one of [honest, under(honest, intelSgxRootCa, vendor.root.certificate), honest]) {
      const seen = await see(one, cache)
      expect('claims' in seen && seen.claims.simulated).toBe(true)
    }
  })
})

describe('a cached accept does not outlive', () => {
  const ms = (date: Date, by: number): Date => new Date(date.getTime() + by)

  async function judgedAround(one: Case, end: Date): Promise<readonly string[]> {
    const cache = createVerifierCache()
    const verdicts: string[] = []
    for (const when of [soon, end, ms(end, 1000), soon]) {
      const seen = await see({ ...one, at: when }, cache)
      expect(seen).toEqual(await see({ ...one, at: when }))
      verdicts.push(verdictOf(seen))
    }
    return verdicts
  }

  it('nextUpdate of the revocation lists', async () => {
    const { honest } = await machine()
    expect(await judgedAround(honest, daysLater(30))).toEqual(['UpToDate', 'UpToDate', 'crl.root crl_expired', 'UpToDate'])
  })

  it.each([
    ['tcbInfo', 'tcb-info.window tcb_info_expired'],
    ['qeIdentity', 'qe-identity.window qe_identity_expired'],
  ] as const)('nextUpdate of %s', async (which, failure) => {
    const { honest, vendor } = await machine()
    const nextUpdate = daysLater(10).toISOString().replace('.000Z', 'Z')
    const collateral = await edited(honest.collateral, which, (document) => ({ ...document, nextUpdate }), vendor.tcbSigning)
    expect(await judgedAround({ ...honest, collateral }, daysLater(10))).toEqual(['UpToDate', 'UpToDate', failure, 'UpToDate'])
  })

  it('notAfter of the PCK certificate, of its authority and of the TCB signer', async () => {
    const end = daysLater(5)
    const platform = await createSimPlatform({ at, alterPck: (profile) => ({ ...profile, notAfter: end }) })
    const pck: Case = { ...(await evidenceOf(platform)), at: soon }
    expect(await judgedAround(pck, end)).toEqual(['UpToDate', 'UpToDate', 'pck.window certificate_expired', 'UpToDate'])
    const short = { platformCa: 'pck.window', tcbSigning: 'tcb-info.chain', root: 'pck.window' } as const
    for (const [name, check] of Object.entries(short)) {
      const { honest } = await machine(await createSimVendor(at, { [name]: (profile: object) => ({ ...profile, notAfter: end }) }))
      expect(await judgedAround(honest, end)).toEqual(['UpToDate', 'UpToDate', `${check} certificate_expired`, 'UpToDate'])
    }
  })

  it('nor does it reach back before anything was issued', async () => {
    const { honest } = await machine()
    const cache = createVerifierCache()
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
    expect(verdictOf(await see({ ...honest, at: ms(at, -1000) }, cache))).toBe('crl.root crl_expired')
    expect(verdictOf(await see({ ...honest, at: daysLater(-2) }, cache))).toBe('pck.window certificate_not_yet_valid')
  })
})

describe('new collateral is judged as new', () => {
  it.each([
    ['pck', 'pck.revocation certificate_revoked'],
    ['intermediate', 'pck.revocation certificate_revoked'],
    ['tcbSigning', 'tcb-info.chain certificate_revoked'],
  ] as const)('S15: a list that newly revokes (%s) is obeyed although the chain was cached', async (who, failure) => {
    const { honest, platform } = await machine()
    const cache = createVerifierCache()
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
    const revoking = await platform.refreshCollateral(soon, { revoked: [who] })
    const one = { ...honest, collateral: revoking, at: daysLater(1) }
    expect(verdictOf(await see(one, cache))).toBe(failure)
    // Only the list was exchanged, everything else is as cached.
    const mixed: Collateral = { ...honest.collateral, rootCaCrl: revoking.rootCaCrl, pckCrl: revoking.pckCrl }
    expect(verdictOf(await see({ ...honest, collateral: mixed, at: daysLater(1) }, cache))).toBe(failure)
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
  })

  it('a new TCB evaluation changes the status of a cached platform', async () => {
    const { honest, platform } = await machine()
    const cache = createVerifierCache()
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
    const zeros = new Array<number>(16).fill(0)
    const tcbLevels = [{ components: zeros, pceSvn: 0, status: 'OutOfDate', tcbDate: new Date('2025-01-01T00:00:00Z') }]
    const later = await platform.refreshCollateral(soon, { tcbLevels, evaluationDataNumber: 21 })
    expect(verdictOf(await see({ ...honest, collateral: later, at: daysLater(1) }, cache))).toBe('OutOfDate')
    expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
  })

  it('a document with the signature of another one is refused although both are cached', async () => {
    const { honest, vendor } = await machine()
    const other = await edited(honest.collateral, 'tcbInfo', (document) => ({ ...document, tcbEvaluationDataNumber: 99 }), vendor.tcbSigning)
    const cache = createVerifierCache()
    for (const collateral of [honest.collateral, other]) expect(verdictOf(await see({ ...honest, collateral }, cache))).toBe('UpToDate')
    const swapped: Collateral = { ...other, tcbInfoSignature: honest.collateral.tcbInfoSignature }
    expect(verdictOf(await see({ ...honest, collateral: swapped }, cache))).toBe('tcb-info.signature tcb_info_signature_invalid')
    // A second signature over the same text is as good as the first.
    const again = await signDocument(JSON.parse(honest.collateral.tcbInfo) as Record<string, unknown>, vendor.tcbSigning)
    expect(verdictOf(await see({ ...honest, collateral: { ...honest.collateral, tcbInfoSignature: again.signature } }, cache))).toBe('UpToDate')
  })
})

describe('a tampered copy is no hit', () => {
  const texts = ['pckCrlIssuerChain', 'tcbInfoIssuerChain', 'tcbInfo', 'qeIdentityIssuerChain', 'qeIdentity'] as const
  const bytes = ['rootCaCrl', 'pckCrl', 'tcbInfoSignature', 'qeIdentitySignature'] as const

  it.each([...texts, ...bytes])('one byte of %s', async (name) => {
    const { honest } = await machine()
    const cache = createVerifierCache()
    await see(honest, cache)
    const value = honest.collateral[name]
    await fc.assert(
      fc.asyncProperty(fc.nat(value.length - 1), fc.integer({ min: 1, max: 127 }), async (position, mask) => {
        const changed =
          typeof value === 'string'
            ? value.slice(0, position) + String.fromCharCode(value.charCodeAt(position) ^ mask) + value.slice(position + 1)
            : flipped(value, position, mask)
        const one = { ...honest, collateral: { ...honest.collateral, [name]: changed } }
        const seen = await see(one, cache)
        expect(seen).toEqual(await see(one))
        // PEM text has more than one form: a line may end elsewhere. Of everything else, each byte counts.
        if (name === 'tcbInfo' || name === 'qeIdentity' || typeof value !== 'string') expect('code' in seen).toBe(true)
        expect(verdictOf(await see(honest, cache))).toBe('UpToDate')
      }),
      { numRuns: 60 },
    )
  })

  it('one byte of the quote, its PCK chain included', async () => {
    const { honest } = await machine()
    const cache = createVerifierCache()
    await see(honest, cache)
    await fc.assert(
      fc.asyncProperty(fc.nat(honest.quote.length - 1), fc.integer({ min: 1, max: 255 }), async (position, mask) => {
        const one = { ...honest, quote: flipped(honest.quote, position, mask) }
        expect(await see(one, cache)).toEqual(await see(one))
      }),
      { numRuns: 200 },
    )
  })

  it('bytes that are changed in place after they were cached', async () => {
    const { honest } = await machine()
    const cache = createVerifierCache()
    const collateral: Collateral = {
      ...honest.collateral,
      rootCaCrl: new Uint8Array(honest.collateral.rootCaCrl),
      tcbInfoSignature: new Uint8Array(honest.collateral.tcbInfoSignature),
    }
    const one = { ...honest, collateral }
    expect(verdictOf(await see(one, cache))).toBe('UpToDate')
    for (const [array, failure] of [
      [collateral.tcbInfoSignature, 'tcb-info.signature tcb_info_signature_invalid'],
      [collateral.rootCaCrl, 'crl.root crl_signature_invalid'],
    ] as const) {
      const last = array.length - 1
      array[last] = (array[last] as number) ^ 1
      expect(verdictOf(await see(one, cache))).toBe(failure)
      array[last] = (array[last] as number) ^ 1
    }
    expect(verdictOf(await see(one, cache))).toBe('UpToDate')
  })

  it('nor does a caller reach what is kept through what is returned', async () => {
    const { honest } = await machine()
    const cache = createVerifierCache()
    const first = await see(honest, cache)
    const kept = structuredClone(first)
    if (!('claims' in first)) throw new TypeError('expected claims')
    first.claims.collateral.earliestExpiration.setTime(0)
    first.claims.tcb.tcbDate?.setTime(0)
    ;(first.claims.tcb.advisories as string[]).push('INTEL-SA-FORGED')
    ;(first.checks as unknown[]).length = 0
    expect(await see(honest, cache)).toEqual(kept)
  })
})

describe('arguments', () => {
  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '8'])('maxEntries of %s is a TypeError', (maxEntries) => {
    expect(() => createVerifierCache({ maxEntries: maxEntries as number })).toThrow(TypeError)
  })

  it('a cache that was made by something else is a TypeError', async () => {
    const { honest } = await machine()
    const forged = { compartment: () => null, clear: () => undefined } as never
    await expect(verifyQuote({ bytes: honest.quote } as never, honest.collateral, honest.trust, soon, { cache: forged })).rejects.toThrow(TypeError)
  })
})
