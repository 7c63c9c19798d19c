import { describe, expect, it } from 'vitest'
import { parseQeIdentity, parseTcbInfo, type QuoteClaims, type TcbInfo } from '../../src/attestation/index.ts'
import { createSimPlatform, type UnsignedDocument } from '../../src/attestation/sim/index.ts'
import { evaluateTcb } from '../../src/attestation/tcb/evaluate.ts'
import { platformStatuses } from '../../src/attestation/tcb/tcb-info.ts'
import { at, type Changes, claimsOf, components, jsonLevel, jsonModule, sharedVendor, synthesize, tdEvidenceOf, tdSvn } from './synthetic.ts'

const tcbOf = async (changes: Changes): Promise<QuoteClaims['tcb']> => (await claimsOf(await synthesize(changes), at)).tcb
const levels =
  (...tcbLevels: readonly Record<string, unknown>[]) =>
  (document: UnsignedDocument): UnsignedDocument => ({ ...document, tcbLevels })
const td = (index: number, svn: number): number[] => tdSvn.map((value, i) => (i === index ? svn : value))

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

describe('launch and current TCB in quotes of a simulated platform', async () => {
  const vendor = await sharedVendor()
  const cpuSvn = [12, 12, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  // Component 3 tells the state at launch (1) from the one now (2).
  const before = { teeTcbSvn: td(3, 1), teeTcbSvn2: td(3, 2) }
  const healthy = ['UpToDate', 'SWHardeningNeeded', 'ConfigurationNeeded', 'ConfigurationAndSWHardeningNeeded']
  const configuring = ['ConfigurationNeeded', 'ConfigurationAndSWHardeningNeeded', 'OutOfDateConfigurationNeeded']

  /** The formula of step 14, written a second time: by table, not by the verifier's conditions. */
  const advised = (launch: string, current: string): string => {
    if (!['OutOfDate', 'OutOfDateConfigurationNeeded'].includes(launch) || !healthy.includes(current)) return launch
    return [launch, current].some((status) => configuring.includes(status)) ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised'
  }

  it.each(platformStatuses)('launch %s against every current status, in both TD 1.5 bodies', async (launch) => {
    for (const [index, current] of platformStatuses.entries()) {
      const level = { components: cpuSvn, pceSvn: 16 }
      const tdxTcbLevels = [
        { ...level, tdxComponents: td(3, 2), status: current, tcbDate: new Date('2026-02-01T00:00:00Z'), advisories: ['INTEL-SA-00002'] },
        { ...level, tdxComponents: td(3, 1), status: launch, tcbDate: new Date('2025-02-01T00:00:00Z'), advisories: ['INTEL-SA-00001'] },
      ]
      const sim = await createSimPlatform({ at, vendor, tdxTcbLevels })
      const { tcb } = await claimsOf(await tdEvidenceOf(sim, before, index % 2 === 0 ? 'td15' : 'td15ex'))
      expect([launch, current, tcb.status, tcb.current.status]).toEqual([launch, current, advised(launch, current), current])
      // Only the status is compared: date and advisories stay those of each side, and the verdict's are those of the launch.
      expect(tcb).toMatchObject({ tcbDate: new Date('2025-02-01T00:00:00Z'), advisories: ['INTEL-SA-00001'] })
      expect(tcb.current).toMatchObject({ tcbDate: new Date('2026-02-01T00:00:00Z'), advisories: ['INTEL-SA-00002'] })
    }
  })

  it('the module’s level counts at launch and now: a module updated since then advises a relaunch', async () => {
    const identity = {
      id: 'TDX_03',
      mrsigner: '00'.repeat(48),
      attributes: '00'.repeat(8),
      attributesMask: 'FF'.repeat(8),
      levels: [6, 5].map((isvSvn) => ({ isvSvn, status: isvSvn === 6 ? 'UpToDate' : 'OutOfDate', tcbDate: at })),
    }
    const sim = await createSimPlatform({ at, vendor, tdxModuleIdentities: [identity] })
    const statuses = async (launch: number, current: number): Promise<readonly string[]> => {
      const { tcb } = await claimsOf(await tdEvidenceOf(sim, { teeTcbSvn: td(0, launch), teeTcbSvn2: td(0, current) }))
      return [tcb.status, tcb.current.status]
    }
    expect(await statuses(5, 6)).toEqual(['TDRelaunchAdvised', 'UpToDate'])
    expect(await statuses(6, 6)).toEqual(['UpToDate', 'UpToDate'])
    expect(await statuses(6, 5)).toEqual(['UpToDate', 'OutOfDate'])
    expect(await statuses(5, 5)).toEqual(['OutOfDate', 'OutOfDate'])
    expect(await statuses(4, 6)).toEqual(['NotSupported', 'NotSupported'])
    expect(await statuses(6, 4)).toEqual(['NotSupported', 'NotSupported'])
  })

  it('a current module of a major version that TCB info does not name is NotSupported', async () => {
    const sim = await createSimPlatform({ at, vendor })
    expect((await claimsOf(await tdEvidenceOf(sim, { teeTcbSvn2: td(1, 4) }))).tcb).toMatchObject({ status: 'NotSupported', tcbDate: null })
    // Without a version, [0] and [1] are components, and the level demands 3 of [1].
    expect((await claimsOf(await tdEvidenceOf(sim, { teeTcbSvn2: td(1, 0) }))).tcb.current.status).toBe('OutOfDate')
  })

  it('an out-of-date quoting enclave keeps both sides out of date', async () => {
    const tdQeLevels = [{ isvSvn: 7, status: 'OutOfDate', tcbDate: at }]
    const sim = await createSimPlatform({ at, vendor, tdQeLevels })
    expect((await claimsOf(await tdEvidenceOf(sim))).tcb).toMatchObject({ status: 'OutOfDate', current: { status: 'OutOfDate' } })
  })
})
