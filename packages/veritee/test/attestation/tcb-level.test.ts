import { describe, expect, it } from 'vitest'
import { parseQuote, parseTcbInfo, type QuoteClaims, type TcbInfo, verifyQuote } from '../../src/attestation/index.ts'
import type { UnsignedDocument } from '../../src/attestation/sim/index.ts'
import { evaluateTcb } from '../../src/attestation/tcb/evaluate.ts'
import { parseQeIdentity } from '../../src/attestation/tcb/qe-identity.ts'
import { platformStatuses } from '../../src/attestation/tcb/tcb-info.ts'
import { type Changes, components, jsonLevel, jsonModule, synthesize, syntheticAt, tdSvn } from './synthetic.ts'
import { failure } from './vectors.ts'

async function tcbOf(changes: Changes): Promise<QuoteClaims['tcb']> {
  const { quote, collateral, trust } = await synthesize(changes)
  return (await verifyQuote(parseQuote(quote), collateral, trust, syntheticAt)).claims.tcb
}

async function failureOf(changes: Changes): Promise<string> {
  const { quote, collateral, trust } = await synthesize(changes)
  return failure(quote, collateral, syntheticAt, trust)
}

const levels =
  (...tcbLevels: readonly Record<string, unknown>[]) =>
  (document: UnsignedDocument): UnsignedDocument => ({ ...document, tcbLevels })
const lower = (index: number, by = 1): number[] => components.map((svn, i) => (i === index ? svn - by : svn))
const higher = (index: number): number[] => components.map((svn, i) => (i === index ? svn + 1 : svn))
const td = (index: number, svn: number): number[] => tdSvn.map((value, i) => (i === index ? svn : value))
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
    const { quote, collateral, trust } = await synthesize({ body: { cpuSvn: new Uint8Array(16).fill(255) }, components: lower(0) })
    const { claims } = await verifyQuote(parseQuote(quote), collateral, trust, syntheticAt)
    expect(claims.body).toMatchObject({ cpuSvn: 'ff'.repeat(16) })
    expect(claims.tcb.status).toBe('NotSupported')
  })

  it('P12: below every level is NotSupported', async () => {
    expect(await tcbOf({ components: lower(1) })).toMatchObject({ status: 'NotSupported', tcbDate: null, advisories: [] })
  })

  it.each(platformStatuses)('the status %s is returned, not thrown', async (status) => {
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
  it('converges with the platform’s', async () => {
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
  ] as const)('another %s', async (_, qeReport) => {
    expect(await failureOf({ qeReport })).toBe('qe.identity qe_identity_mismatch')
  })

  it('attributes outside the mask are free', async () => {
    const qeReport = { attributes: Uint8Array.from([0x15, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]) }
    expect(await failureOf({ qeReport })).toBe('accepted')
  })

  it('P16: QE authentication data of any length', async () => {
    for (const length of [0, 1, 31, 33, 1000, 65_535])
      expect(await failureOf({ qeAuthData: new Uint8Array(length).fill(length & 0xff) })).toBe('accepted')
  })

  it('the second half of the QE report data must be zero', async () => {
    expect(await failureOf({ qeReportTail: 1 })).toBe('qe-report.data qe_report_data_mismatch')
    expect(await failureOf({ qeReport: { reportData: new Uint8Array(64) } })).toBe('qe-report.data qe_report_data_mismatch')
  })
})

describe('TDX', () => {
  const tdx = (body: Record<string, unknown> = {}): Changes => ({ version: 5, td: { kind: 'td15', ...body } })
  const info = (change: Record<string, unknown>) => ({ tcbInfo: (document: UnsignedDocument) => ({ ...document, ...change }) })

  it('P7: with a module version, components 0 and 1 are not compared with levels', async () => {
    const tcbInfo = levels(jsonLevel(components, 13, 'UpToDate', td(0, 200)), jsonLevel(components, 13, 'OutOfDate', td(0, 0)))
    expect((await tcbOf({ ...tdx(), tcbInfo })).status).toBe('UpToDate')
    const byIndex1 = levels(jsonLevel(components, 13, 'UpToDate', td(1, 9)))
    expect((await tcbOf({ ...tdx(), tcbInfo: byIndex1 })).status).toBe('UpToDate')
  })

  it('P7: without a module version, all 16 are compared', async () => {
    const body = tdx({ teeTcbSvn: td(1, 0) })
    const svns = [td(1, 0), [7, 0, ...tdSvn.slice(2)]]
    const tcbInfo = levels(...svns.map((svn, i) => jsonLevel(components, 13, i === 0 ? 'OutOfDate' : 'UpToDate', svn)))
    expect((await tcbOf({ ...body, tcbInfo })).status).toBe('OutOfDate')
  })

  it('components 2 to 15 are compared on the level that fits the SGX components', async () => {
    for (let index = 2; index < 16; index++) {
      const tcbInfo = levels(jsonLevel(components, 13, 'UpToDate', td(index, (tdSvn[index] ?? 0) + 1)), jsonLevel(components, 13, 'OutOfDate', tdSvn))
      expect((await tcbOf({ ...tdx(), tcbInfo })).status, `component ${index}`).toBe('OutOfDate')
    }
    // One level fits the SGX part only, the other the TDX part only: neither matches.
    const split = levels(jsonLevel(components, 13, 'UpToDate', td(2, 9)), jsonLevel(higher(0), 13, 'UpToDate', tdSvn))
    expect((await tcbOf({ ...tdx(), tcbInfo: split })).status).toBe('NotSupported')
  })

  it('P8: the module’s own level counts', async () => {
    const modules = (...list: readonly (readonly [number, string])[]) => info({ tdxModuleIdentities: [jsonModule('TDX_03', list)] })
    expect((await tcbOf({ ...tdx(), ...modules([7, 'UpToDate'], [6, 'OutOfDate']) })).status).toBe('OutOfDate')
    expect((await tcbOf({ ...tdx(), ...modules([2, 'OutOfDate'], [5, 'UpToDate']) })).status).toBe('UpToDate')
    expect((await tcbOf({ ...tdx(), ...modules([6, 'Revoked']) })).status).toBe('Revoked')
    expect((await tcbOf({ ...tdx(), ...modules([7, 'UpToDate']) })).status).toBe('NotSupported')
    expect(await failureOf({ ...tdx(), ...modules([6, 'ConfigurationNeeded']) })).toBe('tcb-info.format collateral_malformed')
  })

  it('P14: module ids are hexadecimal and compared without case', async () => {
    const body = tdx({ teeTcbSvn: td(1, 0x1b) })
    for (const [id, expected] of [
      ['TDX_1B', 'accepted'],
      ['tdx_1b', 'accepted'],
      ['TDX_27', 'tdx.module tdx_module_mismatch'],
      ['TDX_1', 'tdx.module tdx_module_mismatch'],
    ] as const)
      expect(await failureOf({ ...body, ...info({ tdxModuleIdentities: [jsonModule(id, [[6, 'UpToDate']])] }) }), id).toBe(expected)
  })

  it('P8: the module must be signed by whom its identity names', async () => {
    const mrsigner = '77'.repeat(48)
    const signed = tdx({ mrSignerSeam: new Uint8Array(48).fill(0x77) })
    const module = { mrsigner, attributes: '00'.repeat(8), attributesMask: '00'.repeat(8) }
    expect(await failureOf(signed)).toBe('tdx.module tdx_module_mismatch')
    // With an identity for the version, tdxModule does not count.
    expect(await failureOf({ ...signed, ...info({ tdxModule: module }) })).toBe('tdx.module tdx_module_mismatch')
    expect(await failureOf({ ...signed, ...info({ tdxModuleIdentities: [{ ...jsonModule('TDX_03', [[6, 'UpToDate']]), mrsigner }] }) })).toBe(
      'accepted',
    )
    // Without a version, only tdxModule counts.
    const old = tdx({ teeTcbSvn: td(1, 0), mrSignerSeam: new Uint8Array(48).fill(0x77) })
    const oldLevels = { tcbLevels: [jsonLevel(components, 13, 'UpToDate', td(1, 0))] }
    expect(await failureOf({ ...old, ...info({ ...oldLevels, tdxModule: module }) })).toBe('accepted')
    expect(await failureOf({ ...old, ...info(oldLevels) })).toBe('tdx.module tdx_module_mismatch')
  })

  it('SEAM attributes must be zero, also where the identity states the same non-zero ones', async () => {
    const body = tdx({ seamAttributes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) })
    expect(await failureOf(body)).toBe('tdx.module tdx_module_mismatch')
    const identity = { ...jsonModule('TDX_03', [[6, 'UpToDate']]), attributes: '0100000000000000' }
    expect(await failureOf({ ...body, ...info({ tdxModuleIdentities: [identity] }) })).toBe('tdx.module tdx_module_mismatch')
    expect(await failureOf({ ...tdx(), ...info({ tdxModuleIdentities: [identity] }) })).toBe('tdx.module tdx_module_mismatch')
  })

  it('debug is any TUD bit', async () => {
    for (const [first, expected] of [
      [0, false],
      [1, true],
      [0x80, true],
    ] as const) {
      const { quote, collateral, trust } = await synthesize(tdx({ tdAttributes: Uint8Array.of(first, 0, 0, 0x10, 0, 0, 0, 0) }))
      expect((await verifyQuote(parseQuote(quote), collateral, trust, syntheticAt)).claims.debug).toBe(expected)
    }
  })

  it('TCB info for SGX and of version 2 is not for a TD', async () => {
    const sgx = (document: UnsignedDocument): UnsignedDocument => {
      const { tdxModule: _, tdxModuleIdentities: __, ...rest } = document
      return { ...rest, id: 'SGX' }
    }
    expect(await failureOf({ ...tdx(), tcbInfo: sgx })).toBe('tcb-info.match tcb_info_mismatch')
    expect(await failureOf({ ...tdx(), qeIdentity: (document) => ({ ...document, id: 'QE' }) })).toBe('qe-identity.match qe_identity_mismatch')
  })
})

describe('launch and current TCB', () => {
  // Component 2 picks the level: 9 is the first state, 5 the second.
  const evaluate = (launch: string, current: string): { launch: string; current: string } => {
    const old = td(2, 5)
    const now = td(2, 9)
    const base = {
      id: 'TDX',
      version: 3,
      issueDate: '2026-01-01T00:00:00Z',
      nextUpdate: '2026-02-01T00:00:00Z',
      fmspc: '00'.repeat(6),
      pceId: '0000',
    }
    const module = { mrsigner: '00'.repeat(48), attributes: '00'.repeat(8), attributesMask: '00'.repeat(8) }
    const document = {
      ...base,
      tcbType: 0,
      tcbEvaluationDataNumber: 1,
      tdxModule: module,
      tdxModuleIdentities: [jsonModule('TDX_03', [[0, 'UpToDate']])],
      tcbLevels: [jsonLevel(components, 13, current, now), jsonLevel(components, 13, launch, old)],
    }
    const info: TcbInfo = parseTcbInfo(JSON.stringify(document))
    const identity = parseQeIdentity(
      JSON.stringify({
        ...{ id: 'TD_QE', version: 2, issueDate: base.issueDate, nextUpdate: base.nextUpdate, tcbEvaluationDataNumber: 1 },
        ...{ miscselect: '00'.repeat(4), miscselectMask: '00'.repeat(4), attributes: '00'.repeat(16), attributesMask: '00'.repeat(16) },
        ...{ mrsigner: '00'.repeat(32), isvprodid: 2, tcbLevels: [{ tcb: { isvsvn: 0 }, tcbDate: '2025-01-01T00:00:00Z', tcbStatus: 'UpToDate' }] },
      }),
    )
    const svns = { sgxComponents: Uint8Array.from(components), pceSvn: 13, qeIsvSvn: 0 }
    const found = evaluateTcb(info, identity, svns, Uint8Array.from(old), Uint8Array.from(now))
    return { launch: found.launch.status, current: found.current.status }
  }
  const healed = ['UpToDate', 'SWHardeningNeeded', 'ConfigurationNeeded', 'ConfigurationAndSWHardeningNeeded']

  it('all 49 pairs', () => {
    for (const launch of platformStatuses)
      for (const current of platformStatuses) {
        const advised = (launch === 'OutOfDate' || launch === 'OutOfDateConfigurationNeeded') && healed.includes(current)
        const configuration = launch.includes('Configuration') || current.includes('Configuration')
        const expected = advised ? (configuration ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised') : launch
        expect([launch, current, evaluate(launch, current)]).toEqual([launch, current, { launch: expected, current }])
      }
  })

  it('only bodies with a second TEE_TCB_SVN have a current TCB of their own', async () => {
    const tcbInfo = levels(jsonLevel(components, 13, 'UpToDate', td(2, 9)), jsonLevel(components, 13, 'OutOfDate', tdSvn))
    const body = { teeTcbSvn: tdSvn, teeTcbSvn2: td(2, 9) }
    for (const kind of ['td15', 'td15ex'] as const)
      expect(await tcbOf({ version: 5, td: { kind, ...body }, tcbInfo })).toMatchObject({
        status: 'TDRelaunchAdvised',
        launch: { status: 'TDRelaunchAdvised', advisories: ['INTEL-SA-OutOfDate'] },
        current: { status: 'UpToDate', advisories: ['INTEL-SA-UpToDate'] },
      })
    expect(await tcbOf({ version: 5, td: { kind: 'td10', ...body }, tcbInfo })).toMatchObject({
      status: 'OutOfDate',
      current: { status: 'OutOfDate' },
    })
  })

  it('a launch or a current TCB that matches nothing makes both NotSupported', async () => {
    const old = { kind: 'td15', teeTcbSvn: td(2, 0), teeTcbSvn2: tdSvn } as const
    const newer = { kind: 'td15', teeTcbSvn: tdSvn, teeTcbSvn2: td(1, 4) } as const
    for (const body of [old, newer])
      expect(await tcbOf({ version: 5, td: body })).toMatchObject({
        status: 'NotSupported',
        launch: { status: 'NotSupported' },
        current: { status: 'NotSupported' },
      })
  })
})
