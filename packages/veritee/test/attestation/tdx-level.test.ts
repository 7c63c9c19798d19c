import { describe, expect, it } from 'vitest'
import { parseTcbInfo, type QuoteClaims } from '../../src/attestation/index.ts'
import { createSimPlatform, type SimModuleIdentity, type SimTcbLevel, type SimTd, type UnsignedDocument } from '../../src/attestation/sim/index.ts'
import { platformStatuses } from '../../src/attestation/tcb/tcb-info.ts'
import {
  at,
  type Changes,
  claimsOf,
  components,
  jsonLevel,
  jsonModule,
  judged,
  outcome,
  sharedVendor,
  synthesize,
  tdEvidenceOf,
  tdSvn,
} from './synthetic.ts'

const tcbOf = async (changes: Changes): Promise<QuoteClaims['tcb']> => (await claimsOf(await synthesize(changes), at)).tcb
const failureOf = async (changes: Changes): Promise<string> => judged(await synthesize(changes), at)

const levels =
  (...tcbLevels: readonly Record<string, unknown>[]) =>
  (document: UnsignedDocument): UnsignedDocument => ({ ...document, tcbLevels })
const higher = (index: number): number[] => components.map((svn, i) => (i === index ? svn + 1 : svn))
const td = (index: number, svn: number): number[] => tdSvn.map((value, i) => (i === index ? svn : value))

describe('a TD against its TCB info', () => {
  const tdx = (body: Partial<SimTd> = {}): Changes => ({ version: 5, td: { kind: 'td15', ...body } })
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
    for (const unknown of ['ConfigurationNeeded', 'Unrecognized', 'toString', '']) {
      expect((await tcbOf({ ...tdx(), ...modules([6, unknown]) })).status, unknown).toBe('NotSupported')
      expect((await tcbOf({ ...tdx(), ...modules([6, 'UpToDate'], [5, unknown]) })).status, `${unknown} below`).toBe('UpToDate')
    }
  })

  it('P14: module ids are hexadecimal and compared without case', async () => {
    const body = tdx({ teeTcbSvn: td(1, 0x1b) })
    for (const [id, expected] of [
      ['TDX_1B', 'UpToDate'],
      ['tdx_1b', 'UpToDate'],
      ['TDX_27', 'tdx.module tdx_module_mismatch'],
      ['TDX_1', 'tdx.module tdx_module_mismatch'],
    ] as const)
      expect(await failureOf({ ...body, ...info({ tdxModuleIdentities: [jsonModule(id, [[6, 'UpToDate']])] }) }), id).toBe(expected)
  })

  it('P8: the module must be signed by whom its identity names', async () => {
    const mrsigner = '77'.repeat(48)
    const signed = tdx({ mrsignerSeam: '77'.repeat(48) })
    const module = { mrsigner, attributes: '00'.repeat(8), attributesMask: '00'.repeat(8) }
    expect(await failureOf(signed)).toBe('tdx.module tdx_module_mismatch')
    // With an identity for the version, tdxModule does not count.
    expect(await failureOf({ ...signed, ...info({ tdxModule: module }) })).toBe('tdx.module tdx_module_mismatch')
    expect(await failureOf({ ...signed, ...info({ tdxModuleIdentities: [{ ...jsonModule('TDX_03', [[6, 'UpToDate']]), mrsigner }] }) })).toBe(
      'UpToDate',
    )
    // Without a version, only tdxModule counts.
    const old = tdx({ teeTcbSvn: td(1, 0), mrsignerSeam: '77'.repeat(48) })
    const oldLevels = { tcbLevels: [jsonLevel(components, 13, 'UpToDate', td(1, 0))] }
    expect(await failureOf({ ...old, ...info({ ...oldLevels, tdxModule: module }) })).toBe('UpToDate')
    expect(await failureOf({ ...old, ...info(oldLevels) })).toBe('tdx.module tdx_module_mismatch')
  })

  it('SEAM attributes must be zero, also where the identity states the same non-zero ones', async () => {
    const body = tdx({ seamAttributes: '0100000000000000' })
    expect(await failureOf(body)).toBe('tdx.module tdx_module_mismatch')
    const identity = { ...jsonModule('TDX_03', [[6, 'UpToDate']]), attributes: '0100000000000000' }
    expect(await failureOf({ ...body, ...info({ tdxModuleIdentities: [identity] }) })).toBe('tdx.module tdx_module_mismatch')
    expect(await failureOf({ ...tdx(), ...info({ tdxModuleIdentities: [identity] }) })).toBe('tdx.module tdx_module_mismatch')
  })

  it('debug is any TUD bit', async () => {
    for (const [first, expected] of [
      ['00', false],
      ['01', true],
      ['80', true],
    ] as const)
      expect((await claimsOf(await synthesize(tdx({ tdAttributes: `${first}00001000000000` })), at)).debug).toBe(expected)
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

/** A platform whose TDX documents are given: SGX components and PCESVN are the simulator's own. */
describe('a simulated TDX platform', async () => {
  const vendor = await sharedVendor()
  const cpuSvn = [12, 12, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  const tcbDate = new Date('2026-02-01T00:00:00Z')
  const level = (status: string, changes: Partial<SimTcbLevel> = {}): SimTcbLevel => ({
    components: cpuSvn,
    tdxComponents: tdSvn,
    pceSvn: 16,
    status,
    tcbDate,
    advisories: ['INTEL-SA-00002', 'INTEL-SA-00001'],
    ...changes,
  })
  const identity = (id: string, status = 'UpToDate', isvSvn = 6): SimModuleIdentity => ({
    id,
    mrsigner: '00'.repeat(48),
    attributes: '00'.repeat(8),
    attributesMask: 'FF'.repeat(8),
    levels: [{ isvSvn, status, tcbDate: new Date('2025-03-01T00:00:00Z'), advisories: ['INTEL-SA-00004'] }],
  })
  const at03 = (status: string, isvSvn = 6): readonly SimModuleIdentity[] => [identity('TDX_03', status, isvSvn)]
  const qe = (status: string, isvSvn = 7) => [
    { isvSvn, status, tcbDate: new Date('2025-01-01T00:00:00Z'), advisories: ['INTEL-SA-00003', 'INTEL-SA-00001'] },
  ]

  const converged = (platform: string, module: string, enclave: string): string => {
    const others = [module, enclave]
    if (others.includes('Revoked')) return 'Revoked'
    if (!others.includes('OutOfDate')) return platform
    if (platform === 'UpToDate' || platform === 'SWHardeningNeeded') return 'OutOfDate'
    return platform.startsWith('Configuration') ? 'OutOfDateConfigurationNeeded' : platform
  }

  it.each(platformStatuses)('platform %s converges with every status of module and quoting enclave', async (platform) => {
    for (const module of ['UpToDate', 'OutOfDate', 'Revoked'])
      for (const quoting of ['UpToDate', 'OutOfDate', 'Revoked']) {
        const sim = await createSimPlatform({
          at,
          vendor,
          tdxTcbLevels: [level(platform)],
          tdxModuleIdentities: at03(module),
          tdQeLevels: qe(quoting),
        })
        const { tcb } = await claimsOf(await tdEvidenceOf(sim))
        const expected = converged(platform, module, quoting)
        expect([module, quoting, tcb.status]).toEqual([module, quoting, expected])
        expect(tcb).toMatchObject({ tcbDate: new Date('2025-01-01T00:00:00Z'), launch: { status: expected }, current: { status: expected } })
        expect(tcb.advisories).toEqual(['INTEL-SA-00001', 'INTEL-SA-00002', 'INTEL-SA-00003', 'INTEL-SA-00004'])
      }
  })

  it.each([
    ['platform components', { tdxTcbLevels: [level('UpToDate', { components: cpuSvn.map((svn, i) => (i === 3 ? svn + 1 : svn)) })] }],
    ['PCESVN', { tdxTcbLevels: [level('UpToDate', { pceSvn: 17 })] }],
    ['TDX components', { tdxTcbLevels: [level('UpToDate', { tdxComponents: td(2, 3) })] }],
    ['module', { tdxModuleIdentities: at03('UpToDate', 7) }],
    ['quoting enclave', { tdQeLevels: qe('UpToDate', 8) }],
  ])('P12: NotSupported where nothing matches the %s, in every body', async (_, standing) => {
    const sim = await createSimPlatform({ at, vendor, ...standing })
    const nothing = { status: 'NotSupported', tcbDate: null, advisories: [] }
    for (const body of ['td10', 'td15', 'td15ex'] as const)
      expect((await claimsOf(await tdEvidenceOf(sim, {}, body))).tcb, body).toMatchObject({ ...nothing, launch: nothing, current: nothing })
  })

  it('P14, P8: the module identity is chosen by TEE_TCB_SVN[1] in hexadecimal, whatever the case and the other identities', async () => {
    const others = [identity('TDX_01', 'Revoked'), identity('TDX_10', 'Revoked'), identity('TDX_26', 'Revoked'), identity('TDX_1', 'Revoked')]
    for (const id of ['TDX_1A', 'tdx_1a', 'Tdx_1a']) {
      const sim = await createSimPlatform({ at, vendor, teeTcbSvn: td(1, 0x1a), tdxModuleIdentities: [...others, identity(id)] })
      expect(await outcome(await tdEvidenceOf(sim)), id).toBe('UpToDate')
    }
    for (const tdxModuleIdentities of [others, null]) {
      const sim = await createSimPlatform({ at, vendor, teeTcbSvn: td(1, 0x1a), tdxModuleIdentities })
      expect(await judged(await tdEvidenceOf(sim))).toBe('tdx.module tdx_module_mismatch')
    }
  })

  it('P8: without a module version no identity is chosen, and none is needed', async () => {
    for (const tdxModuleIdentities of [null, [identity('TDX_00', 'Revoked')], [identity('TDX_03', 'Revoked', 0)]]) {
      const sim = await createSimPlatform({ at, vendor, teeTcbSvn: td(1, 0), tdxModuleIdentities })
      for (const body of ['td10', 'td15'] as const) expect(await outcome(await tdEvidenceOf(sim, {}, body))).toBe('UpToDate')
    }
  })

  it('P8: the module is checked at launch: signer and attributes, against the chosen identity or else tdxModule', async () => {
    const signer = '5a'.repeat(48)
    const foreign = { mrsigner: signer, attributes: '00'.repeat(8), attributesMask: '00'.repeat(8) }
    const sim = await createSimPlatform({ at, vendor, tdxModule: foreign })
    expect(await judged(await tdEvidenceOf(sim, { mrsignerSeam: signer })), 'tdxModule is not for this module').toBe('tdx.module tdx_module_mismatch')
    expect(await judged(await tdEvidenceOf(sim))).toBe('UpToDate')
    const old = await createSimPlatform({ at, vendor, teeTcbSvn: td(1, 0), tdxModule: foreign })
    expect(await judged(await tdEvidenceOf(old, { mrsignerSeam: signer }))).toBe('UpToDate')
    expect(await judged(await tdEvidenceOf(old))).toBe('tdx.module tdx_module_mismatch')
    for (let index = 0; index < 8; index++) {
      const seamAttributes = Buffer.from(Uint8Array.from({ length: 8 }, (_, i) => (i === index ? 0x80 : 0))).toString('hex')
      expect(await judged(await tdEvidenceOf(sim, { seamAttributes })), String(index)).toBe('tdx.module tdx_module_mismatch')
    }
    for (let index = 0; index < 48; index += 47) {
      const mrsignerSeam = Buffer.from(Uint8Array.from({ length: 48 }, (_, i) => (i === index ? 1 : 0))).toString('hex')
      expect(await judged(await tdEvidenceOf(sim, { mrsignerSeam })), String(index)).toBe('tdx.module tdx_module_mismatch')
    }
  })

  it('P13: TCB info without TDX components is refused, not compared with nothing', async () => {
    const { tdxComponents: _, ...bare } = level('UpToDate')
    const sim = await createSimPlatform({ at, vendor, tdxTcbLevels: [bare] })
    expect(await judged(await tdEvidenceOf(sim))).toBe('tcb-info.format collateral_malformed')
  })

  it('levels that differ in TDX components alone are two levels, tried from the highest', async () => {
    const listed = [level('OutOfDate', { tdxComponents: td(2, 1) }), level('UpToDate'), level('Revoked', { tdxComponents: td(2, 0) })]
    const sim = await createSimPlatform({ at, vendor, tdxTcbLevels: listed })
    for (const [svn, status] of [
      [9, 'UpToDate'],
      [2, 'UpToDate'],
      [1, 'OutOfDate'],
      [0, 'Revoked'],
    ] as const)
      expect(await outcome(await tdEvidenceOf(sim, { teeTcbSvn: td(2, svn) }, 'td10')), String(svn)).toBe(status)
    expect(parseTcbInfo(sim.tdxCollateral.tcbInfo).levels.map(({ status }) => status)).toEqual(['UpToDate', 'OutOfDate', 'Revoked'])
  })

  it('P9: neither the documents nor the quoting enclave of SGX serve for a TD, nor the other way round', async () => {
    const sim = await createSimPlatform({ at, vendor })
    const evidence = await tdEvidenceOf(sim)
    const { tcbInfo, tcbInfoSignature, qeIdentity, qeIdentitySignature } = sim.collateral
    expect(await judged({ ...evidence, collateral: sim.collateral })).toBe('tcb-info.match tcb_info_mismatch')
    expect(await judged({ ...evidence, collateral: { ...sim.tdxCollateral, tcbInfo, tcbInfoSignature } })).toBe('tcb-info.match tcb_info_mismatch')
    expect(await judged({ ...evidence, collateral: { ...sim.tdxCollateral, qeIdentity, qeIdentitySignature } })).toBe(
      'qe-identity.match qe_identity_mismatch',
    )
    const quote = await sim.quote({ mrenclave: '00'.repeat(32), mrsigner: '00'.repeat(32), isvProdId: 0, isvSvn: 0 }, new Uint8Array(64))
    expect(await judged({ ...evidence, quote })).toBe('tcb-info.match tcb_info_mismatch')
    const impostor = await createSimPlatform({ at, vendor, tdQeReport: { isvProdId: 1 } })
    expect(await judged(await tdEvidenceOf(impostor))).toBe('qe.identity qe_identity_mismatch')
  })
})
