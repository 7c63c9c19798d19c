import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkIds, intelSgxRootCa, parseQuote, verifyQuote } from '../../src/attestation/index.ts'
import { createSimPlatform, createSimVendor, type SimTcbLevel } from '../../src/attestation/sim/index.ts'
import { concat, toHex } from '../../src/bytes/index.ts'
import {
  at,
  claimsOf,
  daysLater,
  type Evidence,
  edited,
  enclave,
  evidenceOf,
  handmadeQuote,
  honestComponents,
  outcome,
  reportData,
  soon,
} from './synthetic-evidence.ts'

const level = (status: string, changes: Partial<SimTcbLevel> = {}): SimTcbLevel => ({
  components: honestComponents,
  pceSvn: 16,
  status,
  tcbDate: new Date('2026-02-01T00:00:00Z'),
  ...changes,
})

describe('a synthetic platform', async () => {
  const vendor = await createSimVendor(at)
  const platform = await createSimPlatform({ at, vendor, evaluationDataNumber: 23 })
  const evidence = await evidenceOf(platform)

  it('is UpToDate under its own root, with every claim as it was made, and simulated', async () => {
    const { claims, checks } = await verifyQuote(parseQuote(evidence.quote), evidence.collateral, { roots: [evidence.root] }, soon)
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
    expect(await outcome({ ...evidence, root: intelSgxRootCa })).toBe('chain_untrusted')
    expect(await outcome({ ...evidence, root: (await createSimVendor(at)).root.certificate })).toBe('chain_untrusted')
  })

  it("S15: stays simulated when its root is passed among Intel's", async () => {
    for (const roots of [[intelSgxRootCa, evidence.root] as const, [evidence.root, intelSgxRootCa] as const])
      expect((await verifyQuote(parseQuote(evidence.quote), evidence.collateral, { roots }, soon)).claims.simulated).toBe(true)
  })

  it('S15: a root of the same name and another key is another root', async () => {
    const impostor = await createSimVendor(at)
    const forged = await evidenceOf(
      await createSimPlatform({ at, vendor: { ...impostor, root: { ...impostor.root, certificate: vendor.root.certificate } } }),
    )
    expect(await outcome({ ...forged, root: evidence.root })).toBe('chain_invalid')
  })

  it('says when the enclave is in debug mode', async () => {
    const quote = await platform.quote({ ...enclave, debug: true }, reportData)
    expect((await claimsOf({ ...evidence, quote })).debug).toBe(true)
  })

  it('P21: counts bytes after the quote and signs nothing over them', async () => {
    const claims = await claimsOf({ ...evidence, quote: concat(evidence.quote, new Uint8Array([0, 1, 2])) })
    expect(claims).toMatchObject({ trailingBytes: 3, tcb: { status: 'UpToDate' } })
  })

  it('P16: takes authentication data of any length', async () => {
    for (const length of [0, 1, 32, 1000, 65_535])
      expect(await outcome(await evidenceOf(await createSimPlatform({ at, qeAuthData: new Uint8Array(length).fill(9) }))), String(length)).toBe(
        'UpToDate',
      )
  })
})

describe('TCB levels of a synthetic platform', async () => {
  const vendor = await createSimVendor(at)
  const statusWith = async (tcbLevels: readonly SimTcbLevel[]): Promise<string> =>
    outcome(await evidenceOf(await createSimPlatform({ at, vendor, tcbLevels })))

  const all = [
    'UpToDate',
    'SWHardeningNeeded',
    'ConfigurationNeeded',
    'ConfigurationAndSWHardeningNeeded',
    'OutOfDate',
    'OutOfDateConfigurationNeeded',
    'Revoked',
  ]
  it.each(all)('P28: %s is reported as itself', async (status) => {
    expect(await statusWith([level(status)])).toBe(status)
  })

  it('P12: no matching level is NotSupported, with no date', async () => {
    const evidence = await evidenceOf(await createSimPlatform({ at, vendor, tcbLevels: [level('UpToDate', { pceSvn: 17 })] }))
    expect((await claimsOf(evidence)).tcb).toMatchObject({ status: 'NotSupported', tcbDate: null, advisories: [] })
  })

  it('every component counts: one too low anywhere falls to the next level', async () => {
    for (let index = 0; index < 16; index++) {
      const components = honestComponents.map((svn, i) => (i === index ? svn + 1 : svn))
      if (components.some((svn) => svn > 255)) continue
      expect(await statusWith([level('UpToDate', { components }), level('OutOfDate')]), String(index)).toBe('OutOfDate')
    }
    expect(await statusWith([level('UpToDate', { pceSvn: 17 }), level('OutOfDate')])).toBe('OutOfDate')
  })

  it('the order of the levels does not matter', async () => {
    const levels = [level('UpToDate'), level('OutOfDate', { pceSvn: 5 }), level('Revoked', { pceSvn: 1 })]
    expect(await statusWith(levels)).toBe('UpToDate')
    expect(await statusWith([...levels].reverse())).toBe('UpToDate')
  })

  it('P11: components come from the PCK certificate, not from the report', async () => {
    const platform = await createSimPlatform({ at, vendor })
    const low = honestComponents.map(() => 0)
    const boasting = await handmadeQuote(vendor, platform, { components: low, reportCpuSvn: new Uint8Array(16).fill(255) })
    const modest = await handmadeQuote(vendor, platform, { reportCpuSvn: new Uint8Array(16) })
    const evidence = await evidenceOf(platform)
    expect(await outcome({ ...evidence, quote: boasting })).toBe('OutOfDate')
    expect(await outcome({ ...evidence, quote: modest })).toBe('UpToDate')
  })

  const malformed: [string, readonly SimTcbLevel[]][] = [
    ['an unknown status', [level('Fine')]],
    ['a status in another case', [level('uptodate')]],
    ['a status only TDX can have', [level('TDRelaunchAdvised')]],
    ['no levels', []],
    ['a level twice', [level('UpToDate'), level('OutOfDate')]],
    ['an SVN of 256', [level('UpToDate', { components: [256, ...honestComponents.slice(1)] })]],
    ['a negative SVN', [level('UpToDate', { components: [-1, ...honestComponents.slice(1)] })]],
    ['a fractional SVN', [level('UpToDate', { components: [1.5, ...honestComponents.slice(1)] })]],
    ['15 components', [level('UpToDate', { components: honestComponents.slice(1) })]],
    ['17 components', [level('UpToDate', { components: [...honestComponents, 0] })]],
    ['a PCESVN of 65536', [level('UpToDate', { pceSvn: 65_536 })]],
  ]
  it.each(malformed)('P25: %s is refused, although signed', async (_, levels) => {
    expect(await statusWith(levels)).toBe('collateral_malformed')
  })

  const convergence: Record<string, Record<string, string>> = {
    UpToDate: { UpToDate: 'UpToDate', OutOfDate: 'OutOfDate', Revoked: 'Revoked' },
    SWHardeningNeeded: { UpToDate: 'SWHardeningNeeded', OutOfDate: 'OutOfDate', Revoked: 'Revoked' },
    ConfigurationNeeded: { UpToDate: 'ConfigurationNeeded', OutOfDate: 'OutOfDateConfigurationNeeded', Revoked: 'Revoked' },
    ConfigurationAndSWHardeningNeeded: {
      UpToDate: 'ConfigurationAndSWHardeningNeeded',
      OutOfDate: 'OutOfDateConfigurationNeeded',
      Revoked: 'Revoked',
    },
    OutOfDate: { UpToDate: 'OutOfDate', OutOfDate: 'OutOfDate', Revoked: 'Revoked' },
    OutOfDateConfigurationNeeded: { UpToDate: 'OutOfDateConfigurationNeeded', OutOfDate: 'OutOfDateConfigurationNeeded', Revoked: 'Revoked' },
    Revoked: { UpToDate: 'Revoked', OutOfDate: 'Revoked', Revoked: 'Revoked' },
  }
  const pairs = Object.entries(convergence).flatMap(([platform, row]) =>
    Object.entries(row).map(([qe, expected]) => [platform, qe, expected] as const),
  )
  it.each(pairs)('platform %s with quoting enclave %s is %s', async (platform, qe, expected) => {
    const tcbLevels = [level(platform, { advisories: ['INTEL-SA-00002', 'INTEL-SA-00001'] })]
    const qeLevels = [{ isvSvn: 10, status: qe, tcbDate: new Date('2025-01-01T00:00:00Z'), advisories: ['INTEL-SA-00003', 'INTEL-SA-00001'] }]
    const { tcb } = await claimsOf(await evidenceOf(await createSimPlatform({ at, vendor, tcbLevels, qeLevels })))
    expect(tcb).toMatchObject({ status: expected, tcbDate: new Date('2025-01-01T00:00:00Z') })
    expect(tcb.advisories).toEqual(['INTEL-SA-00001', 'INTEL-SA-00002', 'INTEL-SA-00003'])
    expect(tcb.launch).toEqual(tcb.current)
  })

  it('P12: a quoting enclave below every level is NotSupported', async () => {
    const qeLevels = [{ isvSvn: 11, status: 'UpToDate', tcbDate: at }]
    expect(await outcome(await evidenceOf(await createSimPlatform({ at, vendor, qeLevels })))).toBe('NotSupported')
  })

  it('a quoting enclave level takes the first SVN it reaches, whatever the order', async () => {
    const tcbDate = at
    const levels = [11, 9, 10, 8].map((isvSvn) => ({ isvSvn, status: isvSvn === 10 ? 'UpToDate' : 'Revoked', tcbDate }))
    expect(await outcome(await evidenceOf(await createSimPlatform({ at, vendor, qeLevels: levels })))).toBe('UpToDate')
  })

  it('the evaluation number is the lower of the two documents', async () => {
    const evidence = await evidenceOf(await createSimPlatform({ at, vendor, evaluationDataNumber: 20 }))
    const lower = await edited(evidence.collateral, 'qeIdentity', (document) => ({ ...document, tcbEvaluationDataNumber: 17 }), vendor.tcbSigning)
    expect((await claimsOf({ ...evidence, collateral: lower })).tcb.evaluationDataNumber).toBe(17)
  })
})

describe('the quoting enclave of a synthetic platform', async () => {
  const vendor = await createSimVendor(at)
  const platform = await createSimPlatform({ at, vendor })
  const honest = await evidenceOf(platform)
  const withQe = async (qeReport: object): Promise<string> => outcome(await evidenceOf(await createSimPlatform({ at, vendor, qeReport })))

  it('P1: must be the one the QE identity names', async () => {
    const attributes = (flags: string): Uint8Array => Uint8Array.from(Buffer.from(`${flags}00000000000000e700000000000000`, 'hex'))
    expect(await withQe({ mrsigner: '11'.repeat(32) })).toBe('qe_identity_mismatch')
    expect(await withQe({ isvProdId: 2 })).toBe('qe_identity_mismatch')
    expect(await withQe({ miscSelect: 1 })).toBe('qe_identity_mismatch')
    expect(await withQe({ attributes: attributes('17') }), 'DEBUG').toBe('qe_identity_mismatch')
    expect(await withQe({ attributes: attributes('05') }), 'no PROVISION_KEY').toBe('qe_identity_mismatch')
    expect(await withQe({ attributes: attributes('11') }), 'MODE64BIT is outside the mask').toBe('UpToDate')
    expect(await withQe({ mrenclave: '11'.repeat(32) }), 'MRENCLAVE is not part of the identity').toBe('UpToDate')
  })

  it('P9: an identity for TDX does not serve for SGX', async () => {
    const collateral = await edited(honest.collateral, 'qeIdentity', (document) => ({ ...document, id: 'TD_QE' }), vendor.tcbSigning)
    expect(await outcome({ ...honest, collateral })).toBe('qe_identity_mismatch')
  })

  it('must bind the attestation key, and nothing more', async () => {
    expect(await withQe({ reportData: new Uint8Array(64) })).toBe('qe_report_data_mismatch')
    for (const index of [32, 63]) {
      const tail = await handmadeQuote(vendor, platform, {
        alterQeReport: (report) => ({ ...report, reportData: report.reportData.map((octet, i) => (i === index ? 1 : octet)) }),
      })
      expect(await outcome({ ...honest, quote: tail }), String(index)).toBe('qe_report_data_mismatch')
    }
  })

  it('must be certified by the PCK key', async () => {
    for (const qeSigner of [vendor.platformCa, vendor.root, vendor.tcbSigning])
      expect(await outcome({ ...honest, quote: await handmadeQuote(vendor, platform, { qeSigner }) })).toBe('qe_report_signature_invalid')
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
