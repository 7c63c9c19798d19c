import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkIds, createVerifierCache, intelSgxRootCa, parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import { createSimPlatform, createSimVendor } from '../../src/attestation/sim/index.ts'
import { concat, toHex } from '../../src/bytes/index.ts'
import { at, claimsOf, daysLater, type Evidence, enclave, evidenceOf, outcome, reportData, sharedVendor, soon, synthesize } from './synthetic.ts'

describe('a synthetic platform', async () => {
  const vendor = await createSimVendor(at)
  const platform = await createSimPlatform({ at, vendor, evaluationDataNumber: 23 })
  const evidence = await evidenceOf(platform)

  it('is UpToDate under its own root, with every claim as it was made, and simulated', async () => {
    const { claims, checks } = await verifyQuote(parseQuote(evidence.quote), evidence.collateral, evidence.trust, soon)
    expect(claims).toMatchObject({
      quoteVersion: 3,
      body: { tee: 'sgx', ...enclave, attributes: '0500000000000000e700000000000000', miscSelect: '00000000' },
      debug: false,
      reportData: toHex(reportData),
      platform: {
        ppid: platform.ppid,
        fmspc: '53494d000000',
        pceId: '0000',
        pceSvn: 16,
        ca: 'platform',
        dynamicPlatform: true,
        cachedKeys: true,
        smtEnabled: false,
      },
      tcb: { status: 'UpToDate', advisories: [], evaluationDataNumber: 23, tcbDate: new Date('2026-02-05T00:00:00Z') },
      simulated: true,
      collateral: { earliestIssue: at, latestIssue: at, earliestExpiration: daysLater(30) },
      trailingBytes: 0,
    })
    expect(claims.platform.platformInstanceId).toMatch(/^[0-9a-f]{32}$/)
    expect(checks.map(({ id }) => id)).toEqual(checkIds.filter((id) => id !== 'tdx.module'))
    expect(checks.every(({ status }) => status === 'pass')).toBe(true)
  })

  it('is UpToDate on a processor CA too, and then has no platform claims', async () => {
    const claims = await claimsOf(await evidenceOf(await createSimPlatform({ at, ca: 'processor' })))
    expect(claims.platform).toMatchObject({ ca: 'processor', platformInstanceId: null, dynamicPlatform: null, cachedKeys: null, smtEnabled: null })
    expect(claims.tcb.status).toBe('UpToDate')
  })

  it("S15: is never genuine under Intel's root, nor under another simulator's", async () => {
    expect(await outcome({ ...evidence, trust: { roots: [intelSgxRootCa] } })).toBe('chain_untrusted')
    expect(await outcome({ ...evidence, trust: { roots: [(await createSimVendor(at)).root.certificate] } })).toBe('chain_untrusted')
  })

  it("S15: stays simulated when its root is passed among Intel's", async () => {
    for (const roots of [[intelSgxRootCa, platform.root] as const, [platform.root, intelSgxRootCa] as const])
      expect((await verifyQuote(parseQuote(evidence.quote), evidence.collateral, { roots }, soon)).claims.simulated).toBe(true)
  })

  it('S15: a root of the same name and another key is another root', async () => {
    const impostor = await createSimVendor(at)
    const forged = await evidenceOf(
      await createSimPlatform({ at, vendor: { ...impostor, root: { ...impostor.root, certificate: vendor.root.certificate } } }),
    )
    expect(await outcome({ ...forged, trust: evidence.trust })).toBe('chain_invalid')
  })

  it('S15: no root, a root that is no bytes and an invalid date are TypeErrors, not empty checks', async () => {
    const quote = parseQuote(evidence.quote)
    for (const roots of [[], ['intel'], [null], undefined, 'x'])
      await expect(verifyQuote(quote, evidence.collateral, { roots } as unknown as typeof evidence.trust, soon)).rejects.toThrow(TypeError)
    for (const date of [new Date(Number.NaN), soon.getTime(), soon.toISOString(), undefined])
      await expect(verifyQuote(quote, evidence.collateral, evidence.trust, date as Date)).rejects.toThrow(TypeError)
  })

  it('a piece of collateral of the wrong type is a TypeError, not a verdict on the quote', async () => {
    for (const wrong of [undefined, null, 7, 'x', [1, 2], new Uint8Array(8)])
      for (const [name, value] of Object.entries(evidence.collateral)) {
        if (typeof wrong === typeof value && (typeof wrong === 'string' || wrong instanceof Uint8Array)) continue
        const collateral = { ...evidence.collateral, [name]: wrong }
        await expect(verifyQuote(evidence.quote, collateral, evidence.trust, soon), name).rejects.toThrow(TypeError)
        const cache = createVerifierCache()
        await verifyQuote(evidence.quote, evidence.collateral, evidence.trust, soon, { cache })
        await expect(verifyQuote(evidence.quote, collateral, evidence.trust, soon, { cache }), name).rejects.toThrow(TypeError)
      }
  })

  it('a quote is its bytes or what was parsed of them; anything else is a TypeError', async () => {
    const parsed = await verifyQuote(parseQuote(concat(evidence.quote, new Uint8Array(5))), evidence.collateral, evidence.trust, soon)
    expect(parsed).toEqual(await verifyQuote(concat(evidence.quote, new Uint8Array(5)), evidence.collateral, evidence.trust, soon))
    for (const wrong of [undefined, null, 'quote', [...evidence.quote], {}, { bytes: [...evidence.quote] }, evidence.quote.buffer])
      await expect(verifyQuote(wrong as unknown as Uint8Array, evidence.collateral, evidence.trust, soon)).rejects.toThrow(TypeError)
  })

  it('bytes that are no quote are refused by the first check', async () => {
    await expect(verifyQuote(evidence.quote.subarray(0, 100), evidence.collateral, evidence.trust, soon)).rejects.toMatchObject({
      code: 'quote_malformed',
      checks: [{ id: 'quote.format', status: 'fail' }],
    })
  })

  it('says when the enclave is in debug mode', async () => {
    const quote = await platform.quote({ ...enclave, debug: true }, reportData)
    expect((await claimsOf({ ...evidence, quote })).debug).toBe(true)
  })

  it('P21: counts bytes after the quote and signs nothing over them', async () => {
    const claims = await claimsOf({ ...evidence, quote: concat(evidence.quote, new Uint8Array([0, 1, 2])) })
    expect(claims).toMatchObject({ trailingBytes: 3, tcb: { status: 'UpToDate' } })
  })
})

describe('the quoting enclave of a synthetic platform', async () => {
  const vendor = await sharedVendor()
  const platform = await createSimPlatform({ at, vendor })
  const honest = await evidenceOf(platform)

  it('must be certified by the PCK key', async () => {
    for (const qeSigner of [vendor.platformCa, vendor.root, vendor.tcbSigning])
      expect(await outcome(await synthesize({ qeSigner }))).toBe('qe_report_signature_invalid')
  })

  it('does not let one quote borrow from another', async () => {
    const other = await createSimPlatform({ at, vendor })
    const theirs = await other.quote(enclave, reportData)
    const splice = (from: number, to: number): Uint8Array =>
      concat(honest.quote.subarray(0, from), theirs.subarray(from, to), honest.quote.subarray(to))
    expect(await outcome({ ...honest, quote: splice(436, 500) }), 'signature').toBe('quote_signature_invalid')
    expect(await outcome({ ...honest, quote: splice(500, 564) }), 'attestation key').toBe('qe_report_data_mismatch')
    expect(await outcome({ ...honest, quote: splice(564, 948) }), 'QE report').toBe('qe_report_signature_invalid')
    expect(await outcome({ ...honest, quote: splice(436, 564) }), 'signature and key').toBe('qe_report_data_mismatch')
    expect(await outcome({ ...honest, quote: splice(436, 1012) }), 'all but the chain').toBe('qe_report_signature_invalid')
    const another = await platform.quote({ ...enclave, isvSvn: 99 }, reportData)
    expect(await outcome({ ...honest, quote: concat(another.subarray(0, 432), honest.quote.subarray(432)) }), 'body').toBe('quote_signature_invalid')
  })
})

describe('one changed byte', async () => {
  const evidence: Evidence = await evidenceOf(await createSimPlatform({ at }))
  const { quote, collateral } = evidence
  const flip = (bytes: Uint8Array, index: number, mask: number): Uint8Array => bytes.map((octet, i) => (i === index ? octet ^ mask : octet))
  const mask = fc.integer({ min: 1, max: 255 })
  const isRefused = async (changed: Partial<Evidence>): Promise<void> => {
    // Codes are lower case; an acceptance would show as a TCB status, which is not.
    expect(await outcome({ ...evidence, ...changed })).toMatch(/^[a-z_]+$/)
  }

  it('anywhere in the signed header and report is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(431), mask, (index, bits) => isRefused({ quote: flip(quote, index, bits) })),
      { numRuns: 400 },
    )
  })

  it('anywhere in the rest of the quote is refused, up to the line end and NUL after the chain', async () => {
    const index = fc.integer({ min: 432, max: quote.length - 3 })
    await fc.assert(
      fc.asyncProperty(index, mask, (i, bits) => isRefused({ quote: flip(quote, i, bits) })),
      { numRuns: 400 },
    )
  })

  it('anywhere in a quote cut short is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(quote.length - 2), (length) => isRefused({ quote: quote.subarray(0, length) })),
      { numRuns: 200 },
    )
  })

  it.each(['rootCaCrl', 'pckCrl', 'tcbInfoSignature', 'qeIdentitySignature'] as const)('anywhere in %s is refused', async (piece) => {
    const bytes = collateral[piece]
    const property = fc.asyncProperty(fc.nat(bytes.length - 1), mask, (index, bits) =>
      isRefused({ collateral: { ...collateral, [piece]: flip(bytes, index, bits) } }),
    )
    await fc.assert(property, { numRuns: 150 })
  })

  it.each(['tcbInfo', 'qeIdentity', 'tcbInfoIssuerChain', 'qeIdentityIssuerChain', 'pckCrlIssuerChain'] as const)(
    'anywhere in %s is refused',
    async (piece) => {
      const text = collateral[piece]
      const property = fc.asyncProperty(fc.nat(text.length - 1), fc.integer({ min: 1, max: 127 }), (index, bits) => {
        const changed = text.slice(0, index) + String.fromCharCode(text.charCodeAt(index) ^ bits) + text.slice(index + 1)
        return isRefused({ collateral: { ...collateral, [piece]: changed } })
      })
      await fc.assert(property, { numRuns: 150 })
    },
  )
})
