import { describe, expect, it } from 'vitest'
import { parseQeIdentity, parseQuote, parseTcbInfo, type QuoteClaims } from '../../src/attestation/index.ts'
import type { SgxReportFields, UnsignedDocument } from '../../src/attestation/sim/index.ts'
import { evaluateTcb } from '../../src/attestation/tcb/evaluate.ts'
import { checkQeIdentity } from '../../src/attestation/tcb/qe-identity.ts'
import { platformStatuses } from '../../src/attestation/tcb/tcb-info.ts'
import { at, type Changes, claimsOf, components, jsonLevel, judged, synthesize } from './synthetic.ts'

const tcbOf = async (changes: Changes): Promise<QuoteClaims['tcb']> => (await claimsOf(await synthesize(changes), at)).tcb
const failureOf = async (changes: Changes): Promise<string> => judged(await synthesize(changes), at)

const levels =
  (...tcbLevels: readonly Record<string, unknown>[]) =>
  (document: UnsignedDocument): UnsignedDocument => ({ ...document, tcbLevels })
const lower = (index: number, by = 1): number[] => components.map((svn, i) => (i === index ? svn - by : svn))
const higher = (index: number): number[] => components.map((svn, i) => (i === index ? svn + 1 : svn))
const qeLevels = (...list: readonly (readonly [number, string])[]): Pick<Changes, 'qeIdentity'> => ({
  qeIdentity: (document) => ({
    ...document,
    tcbLevels: list.map(([isvsvn, tcbStatus]) => ({ tcb: { isvsvn }, tcbDate: '2025-04-01T00:00:00Z', tcbStatus, advisoryIDs: ['INTEL-SA-QE'] })),
  }),
})

describe('platform levels', () => {
  it('every one of the 16 components counts', async () => {
    for (let index = 0; index < 16; index++) {
      const tcbInfo = levels(jsonLevel(higher(index), 13, 'UpToDate'), jsonLevel(components, 13, 'OutOfDate'))
      expect((await tcbOf({ tcbInfo })).status, `component ${index}`).toBe('OutOfDate')
    }
  })

  it('PCESVN counts', async () => {
    const tcbInfo = levels(jsonLevel(components, 14, 'UpToDate'), jsonLevel(components, 13, 'ConfigurationNeeded'))
    expect((await tcbOf({ tcbInfo })).status).toBe('ConfigurationNeeded')
    expect((await tcbOf({ tcbInfo, pceSvn: 14 })).status).toBe('UpToDate')
  })

  it('levels are tried from the highest, whatever their order in the text', async () => {
    const high = jsonLevel(components, 13, 'UpToDate')
    const middle = jsonLevel(lower(0), 13, 'OutOfDate')
    const low = jsonLevel(
      components.map(() => 0),
      0,
      'Revoked',
    )
    for (const order of [
      [high, middle, low],
      [low, middle, high],
      [middle, low, high],
    ])
      expect((await tcbOf({ tcbInfo: levels(...order) })).status).toBe('UpToDate')
    expect((await tcbOf({ tcbInfo: levels(low, middle, high), components: lower(0) })).status).toBe('OutOfDate')
    expect((await tcbOf({ tcbInfo: levels(low, middle, high), components: lower(0, 2) })).status).toBe('Revoked')
  })

  it('P11: the CPU SVN is the PCK certificate’s, whatever the body says', async () => {
    const boasting = await claimsOf(await synthesize({ body: { cpuSvn: new Uint8Array(16).fill(255) }, components: lower(0) }), at)
    expect(boasting.body).toMatchObject({ cpuSvn: 'ff'.repeat(16) })
    expect(boasting.tcb.status).toBe('NotSupported')
    expect((await tcbOf({ body: { cpuSvn: new Uint8Array(16) } })).status).toBe('UpToDate')
  })

  it('P12: below every level is NotSupported', async () => {
    expect(await tcbOf({ components: lower(1) })).toMatchObject({ status: 'NotSupported', tcbDate: null, advisories: [] })
  })

  it.each(platformStatuses)('P28: the status %s is returned as itself, neither thrown nor softened', async (status) => {
    const tcb = await tcbOf({ tcbInfo: levels(jsonLevel(components, 13, status)), ...qeLevels([8, 'UpToDate']) })
    expect(tcb).toMatchObject({ status, advisories: ['INTEL-SA-QE', `INTEL-SA-${status}`].sort(), tcbDate: new Date('2025-04-01T00:00:00Z') })
  })

  it('P19: TCB info of version 2 says the same as version 3', async () => {
    const tcbInfo = (document: UnsignedDocument): UnsignedDocument => {
      const { id: _, ...rest } = document
      const named = Object.fromEntries(components.map((svn, i) => [`sgxtcbcomp${String(i + 1).padStart(2, '0')}svn`, svn]))
      const level = { tcb: { ...named, pcesvn: 13 }, tcbDate: '2025-06-01T00:00:00Z', tcbStatus: 'SWHardeningNeeded' }
      return { ...rest, version: 2, tcbLevels: [level] }
    }
    expect((await tcbOf({ tcbInfo })).status).toBe('SWHardeningNeeded')
    expect((await tcbOf({ tcbInfo, components: lower(4) })).status).toBe('NotSupported')
  })
})

describe('TCB info is for one platform family', () => {
  it.each([
    ['FMSPC', { fmspc: '00906ed50001' }],
    ['PCE id', { pceId: '0001' }],
  ])('another %s', async (_, change) => {
    expect(await failureOf({ tcbInfo: (document) => ({ ...document, ...change }) })).toBe('tcb-info.match tcb_info_mismatch')
  })
})

describe('the quoting enclave’s level', () => {
  it('converges with the platform’s: every pair', async () => {
    const expected = {
      UpToDate: 'OutOfDate',
      SWHardeningNeeded: 'OutOfDate',
      ConfigurationNeeded: 'OutOfDateConfigurationNeeded',
      ConfigurationAndSWHardeningNeeded: 'OutOfDateConfigurationNeeded',
      OutOfDate: 'OutOfDate',
      OutOfDateConfigurationNeeded: 'OutOfDateConfigurationNeeded',
      Revoked: 'Revoked',
    } as const
    for (const status of platformStatuses) {
      const tcbInfo = levels(jsonLevel(components, 13, status))
      const outOfDate = await tcbOf({ tcbInfo, ...qeLevels([9, 'UpToDate'], [8, 'OutOfDate']) })
      expect([status, outOfDate.status]).toEqual([status, expected[status]])
      expect((await tcbOf({ tcbInfo, ...qeLevels([8, 'Revoked']) })).status).toBe('Revoked')
      expect((await tcbOf({ tcbInfo, ...qeLevels([1, 'Revoked'], [8, 'UpToDate']) })).status).toBe(status)
    }
  })

  it('below every level is NotSupported', async () => {
    expect((await tcbOf(qeLevels([9, 'UpToDate']))).status).toBe('NotSupported')
  })

  it.each(['ConfigurationNeeded', 'SWHardeningNeeded', 'Fine'])('the status %s is refused', async (status) => {
    expect(await failureOf(qeLevels([8, status]))).toBe('qe-identity.format collateral_malformed')
  })
})

describe('QE report against QE identity', () => {
  it.each([
    ['MRSIGNER', { mrsigner: 'd2'.repeat(32) }],
    ['ISVPRODID', { isvProdId: 2 }],
    ['MISCSELECT', { miscSelect: 1 }],
    ['ATTRIBUTES: debug', { attributes: Uint8Array.from([0x17, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0]) }],
    ['ATTRIBUTES: no PROVISION_KEY', { attributes: Uint8Array.from([0x05, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0]) }],
  ] as const)('P1: another %s', async (_, qeReport) => {
    expect(await failureOf({ qeReport })).toBe('qe.identity qe_identity_mismatch')
  })

  it('attributes outside the mask, and MRENCLAVE, are free', async () => {
    const qeReport = { attributes: Uint8Array.from([0x15, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]) }
    expect(await failureOf({ qeReport })).toBe('UpToDate')
    expect(await failureOf({ qeReport: { mrenclave: '99'.repeat(32) } })).toBe('UpToDate')
  })

  it('P16: QE authentication data of any length', async () => {
    for (const length of [0, 1, 31, 33, 1000, 65_535])
      expect(await failureOf({ qeAuthData: new Uint8Array(length).fill(length & 0xff) })).toBe('UpToDate')
  })

  it('the second half of the QE report data must be zero', async () => {
    for (const index of [32, 63]) {
      const marked = (data: Uint8Array): Uint8Array => data.map((octet, i) => (i === index ? 1 : octet))
      const qeReport = (report: SgxReportFields): SgxReportFields => ({ ...report, reportData: marked(report.reportData) })
      expect(await failureOf({ qeReport }), String(index)).toBe('qe-report.data qe_report_data_mismatch')
    }
    expect(await failureOf({ qeReport: { reportData: new Uint8Array(64) } })).toBe('qe-report.data qe_report_data_mismatch')
  })
})

describe('values that parsing rules out still fail closed', () => {
  it('components that are not there reach no level', async () => {
    const { collateral } = await synthesize({ tcbInfo: levels(jsonLevel(new Array(16).fill(0), 0, 'UpToDate')) })
    const [info, identity] = [parseTcbInfo(collateral.tcbInfo), parseQeIdentity(collateral.qeIdentity)]
    const svns = { pceSvn: 13, qeIsvSvn: 8 }
    expect(evaluateTcb(info, identity, { ...svns, sgxComponents: new Uint8Array(16) }, null, null).launch.status).toBe('UpToDate')
    expect(evaluateTcb(info, identity, { ...svns, sgxComponents: new Uint8Array(15) }, null, null).launch.status).toBe('NotSupported')
  })

  it('a mask that ends early hides what it should show', async () => {
    const { quote, collateral } = await synthesize()
    const identity = parseQeIdentity(collateral.qeIdentity)
    const { qeReport } = parseQuote(quote)
    expect(() => checkQeIdentity(identity, qeReport)).not.toThrow()
    expect(() => checkQeIdentity({ ...identity, attributesMask: new Uint8Array(0) }, qeReport)).toThrow(
      expect.objectContaining({ code: 'qe_identity_mismatch' }),
    )
  })
})
