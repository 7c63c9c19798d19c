import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { QuoteClaims, TcbStatus, Verified } from '../../src/attestation/index.ts'
import { type EvidencePolicy, evaluate, type Verdict } from '../../src/policy/index.ts'
import { asGenuine, at, bodyOf, demanding, lenient, sgxClaims, soon, variant } from './documents.ts'

let simulated: Verified<QuoteClaims>
let claims: Verified<QuoteClaims>
let policy: EvidencePolicy
beforeAll(async () => {
  simulated = await sgxClaims()
  claims = asGenuine(simulated)
  policy = demanding(claims)
})

const judge = (changes: Partial<QuoteClaims>, demands: Partial<EvidencePolicy> = {}, when = soon): Verdict =>
  evaluate(variant(claims, changes), { ...policy, ...demands }, when)
const outcome = ({ error }: Verdict): string => error?.code ?? 'accepted'
const check = (verdict: Verdict, id: string): string => verdict.checks.find((entry) => entry.id === id)?.status ?? 'absent'
const platform = (changes: Partial<QuoteClaims['platform']>): Partial<QuoteClaims> => ({ platform: { ...claims.platform, ...changes } })
const sgx = (changes: object): Partial<QuoteClaims> => ({ body: { ...bodyOf(claims, 'sgx'), ...changes } })
function tcb(status: TcbStatus, changes: Partial<QuoteClaims['tcb']> = {}): Partial<QuoteClaims> {
  const level = { status, tcbDate: claims.tcb.tcbDate, advisories: [], ...changes }
  return { tcb: { ...claims.tcb, ...level, launch: level, current: changes.current ?? level } }
}

describe('evaluation of SGX claims', () => {
  it('accepts what meets every demand, and lists every check', () => {
    const verdict = judge({})
    expect(verdict).toMatchObject({ verdict: 'accepted', scope: 'policy', simulated: false, error: null })
    expect(verdict.checks.map(({ id, status }) => `${id} ${status}`)).toEqual([
      'policy.tee pass',
      'policy.simulated pass',
      'policy.debug pass',
      'policy.identity pass',
      'policy.attributes pass',
      'policy.tcb-status pass',
      'policy.advisories pass',
      'policy.evaluation-number pass',
      'policy.collateral-age pass',
      'policy.fmspc pass',
      'policy.ppid pass',
      'policy.dynamic-platform pass',
      'policy.cached-keys pass',
      'policy.smt pass',
      'policy.physical pass',
      'policy.release waived',
      'policy.log waived',
      'policy.role waived',
      'policy.models waived',
      'policy.engine waived',
      'policy.operator waived',
      'policy.attestation-age waived',
      'policy.channel waived',
    ])
    expect(verdict.tcb).toEqual({
      status: 'UpToDate',
      tcbDate: claims.tcb.tcbDate?.toISOString().replace('.000Z', 'Z'),
      evaluationDataNumber: claims.tcb.evaluationDataNumber,
      advisories: [],
    })
  })
  it('warns that a quote alone does not show role, models, engine, operator, age and channel', () => {
    expect(judge({}).warnings.join('\n')).toMatch(/role, models, engine, operator, attestation age or channel/)
  })

  it.each<[string, () => Partial<QuoteClaims>, string, string]>([
    ['simulated evidence', () => ({ simulated: true }), 'policy_simulated', 'policy.simulated'],
    ['debug mode', () => ({ debug: true }), 'policy_debug', 'policy.debug'],
    ['another MRENCLAVE', () => sgx({ mrenclave: 'a2'.repeat(32) }), 'policy_identity', 'policy.identity'],
    ['another attribute bit', () => sgx({ attributes: `07${bodyOf(claims, 'sgx').attributes.slice(2)}` }), 'policy_attributes', 'policy.attributes'],
    ['a status that is not listed', () => tcb('SWHardeningNeeded'), 'policy_tcb_status', 'policy.tcb-status'],
    ['an advisory that is not listed', () => tcb('UpToDate', { advisories: ['INTEL-SA-1'] }), 'policy_advisory', 'policy.advisories'],
    [
      'an older evaluation',
      () => tcb('UpToDate', { evaluationDataNumber: claims.tcb.evaluationDataNumber - 1 }),
      'policy_evaluation_number',
      'policy.evaluation-number',
    ],
    [
      'old collateral',
      () => ({ collateral: { ...claims.collateral, earliestIssue: new Date(soon.getTime() - 30 * 86_400_000 - 1000) } }),
      'policy_collateral_age',
      'policy.collateral-age',
    ],
    ['another FMSPC', () => platform({ fmspc: '00906ed50001' }), 'policy_platform', 'policy.fmspc'],
    ['a denied FMSPC', () => platform({ fmspc: 'ffffffffffff' }), 'policy_platform', 'policy.fmspc'],
    ['another PPID', () => platform({ ppid: '00'.repeat(16) }), 'policy_platform', 'policy.ppid'],
    ['a dynamic platform', () => platform({ dynamicPlatform: true }), 'policy_platform', 'policy.dynamic-platform'],
    ['cached keys', () => platform({ cachedKeys: true }), 'policy_platform', 'policy.cached-keys'],
    ['SMT', () => platform({ smtEnabled: true }), 'policy_platform', 'policy.smt'],
    ['flags that the certificate does not state', () => platform({ smtEnabled: null }), 'policy_platform', 'policy.smt'],
  ])('rejects %s with its own code, and keeps on checking', (_, change, code, id) => {
    const verdict = judge(change())
    expect([outcome(verdict), check(verdict, id), verdict.verdict]).toEqual([code, 'fail', 'rejected'])
    expect(verdict.checks.at(-1)?.id).toBe('policy.channel')
  })

  it('waives by name: each "any" shows as waived, and nothing else is left unchecked', () => {
    const verdict = evaluate(simulated, lenient(simulated), soon)
    expect(outcome(verdict)).toBe('accepted')
    expect(verdict.checks.filter(({ status }) => status !== 'waived').map(({ id }) => id)).toEqual([
      'policy.debug',
      'policy.identity',
      'policy.tcb-status',
    ])
  })
  it('S15: simulated evidence is never accepted unless the policy says allow, and then the verdict says SIMULATED', () => {
    expect(outcome(evaluate(simulated, { ...lenient(simulated), simulated: 'refuse' }, soon))).toBe('policy_simulated')
    const allowed = evaluate(simulated, lenient(simulated), soon)
    expect(allowed).toMatchObject({ verdict: 'accepted', simulated: true })
    expect(check(allowed, 'policy.simulated')).toBe('waived')
    expect(allowed.warnings.join('\n')).toContain('SIMULATED')
  })
  it('debug mode is waived by name only, and warned of', () => {
    const verdict = judge({ debug: true }, { debug: 'any' })
    expect([outcome(verdict), check(verdict, 'policy.debug')]).toEqual(['accepted', 'waived'])
    expect(verdict.warnings.join('\n')).toContain('DEBUG')
  })
  it('warns of unsigned bytes behind the quote and of each status below UpToDate', () => {
    const verdict = judge(
      { trailingBytes: 7, ...tcb('SWHardeningNeeded', { advisories: ['INTEL-SA-1'] }) },
      { tcb: { ...policy.tcb, statuses: ['SWHardeningNeeded'], advisories: 'any' } },
    )
    expect(outcome(verdict)).toBe('accepted')
    expect(verdict.warnings.join('\n')).toMatch(/SWHardeningNeeded \(INTEL-SA-1\)[\s\S]*7 unsigned bytes/)
  })
})

describe('identities', () => {
  const signer = (changes: object = {}): Exclude<EvidencePolicy['identity'], string> => [
    { mrsigner: 'b2'.repeat(32), isvProdId: 3, minIsvSvn: 4, ...changes },
  ]
  it('S14: MRSIGNER counts with its product and minimum version only', () => {
    expect(outcome(judge({}, { identity: signer() }))).toBe('accepted')
    expect(outcome(judge({}, { identity: signer({ minIsvSvn: 3 }) }))).toBe('accepted')
    expect(outcome(judge({}, { identity: signer({ minIsvSvn: 5 }) }))).toBe('policy_identity')
    expect(outcome(judge({}, { identity: signer({ isvProdId: 2 }) }))).toBe('policy_identity')
    expect(outcome(judge({}, { identity: signer({ mrsigner: 'b3'.repeat(32) }) }))).toBe('policy_identity')
  })
  it('any one of the listed identities is enough', () => {
    expect(outcome(judge({}, { identity: [{ mrenclave: '00'.repeat(32) }, ...signer()] }))).toBe('accepted')
    expect(outcome(judge({}, { identity: [] }))).toBe('policy_identity')
  })
  it('an identity of a TD never matches an enclave, whatever its registers', () => {
    const any = 'any' as const
    const td = { mrtd: 'a1'.repeat(48), rtmr0: any, rtmr1: any, rtmr2: any, rtmr3: any, mrseam: any }
    expect(outcome(judge({}, { identity: [td] }))).toBe('policy_identity')
  })
})

describe('TCB status', () => {
  const grace = 1000
  const statuses: EvidencePolicy['tcb'] = { statuses: ['UpToDate'], advisories: 'any', minTcbEvaluationDataNumber: 'any', gracePeriod: grace }
  const dated = (status: TcbStatus, secondsAgo: number): Verdict =>
    judge(tcb(status, { tcbDate: new Date(soon.getTime() - secondsAgo * 1000) }), { tcb: statuses })

  it.each([
    ['OutOfDate', grace, 'accepted'],
    ['OutOfDate', grace + 0.001, 'policy_tcb_status'],
    ['OutOfDateConfigurationNeeded', grace, 'accepted'],
    ['OutOfDateConfigurationNeeded', grace + 1, 'policy_tcb_status'],
    ['SWHardeningNeeded', 1, 'policy_tcb_status'],
    ['TDRelaunchAdvised', 1, 'policy_tcb_status'],
    ['Revoked', 1, 'policy_tcb_status'],
    ['NotSupported', 1, 'policy_tcb_status'],
    ['Unrecognized', 1, 'policy_tcb_status'],
  ] as const)('%s, %d s after its date under a grace period of 1000 s: %s', (status, age, expected) => {
    const verdict = dated(status, age)
    expect(outcome(verdict)).toBe(expected)
    if (expected === 'accepted') expect(check(verdict, 'policy.tcb-status')).toBe('waived')
  })
  it('there is no grace without a period or without a date', () => {
    expect(outcome(judge(tcb('OutOfDate', { tcbDate: soon }), { tcb: { ...statuses, gracePeriod: 0 } }))).toBe('policy_tcb_status')
    expect(outcome(judge(tcb('OutOfDate', { tcbDate: null }), { tcb: statuses }))).toBe('policy_tcb_status')
  })
  it.each(['Revoked', 'NotSupported', 'Unrecognized'] as const)('S14: %s is refused even under a policy made in code that lists it', (status) => {
    expect(outcome(judge(tcb(status), { tcb: { ...statuses, statuses: ['UpToDate', status], gracePeriod: 10 ** 9 } }))).toBe('policy_tcb_status')
  })
  it('judges the current TCB of a TD beside that of its launch', () => {
    const current = { status: 'Revoked' as const, tcbDate: null, advisories: [] }
    expect(outcome(judge(tcb('UpToDate', { current })))).toBe('policy_tcb_status')
    expect(outcome(judge(tcb('UpToDate', { current: { ...current, status: 'UpToDate', advisories: ['INTEL-SA-2'] } })))).toBe('policy_advisory')
  })
  it('an impossible time accepts nothing that depends on it', () => {
    expect(outcome(judge({}, {}, new Date(Number.NaN)))).toBe('policy_collateral_age')
  })
})

describe('demands that cannot be met silently', () => {
  it('S21: a policy that names a log judges evidence without it, and the verdict says so', () => {
    const named = evaluate(claims, { ...policy, log: { origin: 'o', key: 'k', witnesses: ['w'], quorum: 1 } }, soon)
    const logOf = (verdict: typeof named) => verdict.checks.find(({ id }) => id === 'policy.log')
    expect(logOf(named)).toEqual({ id: 'policy.log', status: 'waived', detail: 'not judged here: receipts show it' })
    expect(logOf(evaluate(claims, policy, soon))).toEqual({ id: 'policy.log', status: 'waived', detail: 'no log is demanded' })
  })
  it('S25: a trusted site passes for the machines it lists, and for none where a policy made in code lists none', () => {
    const noList = { ...policy.platform, ppid: { allow: 'any' as const, deny: [] } }
    const verdict = judge({}, { platform: noList })
    expect([outcome(verdict), check(verdict, 'policy.physical')]).toEqual(['policy_platform', 'fail'])
    expect(check(judge(platform({ ppid: '00'.repeat(16) })), 'policy.physical')).toBe('fail')
  })
  it('S25: a machine that its owner could have opened is warned of', () => {
    const verdict = judge({}, { physical: 'any' })
    expect(verdict.warnings).toContain("the machine's owner could have opened it")
    expect(check(verdict, 'policy.physical')).toBe('waived')
  })
  it('a deny list works under allow: "any" and beats an allow list', () => {
    const denied = { allow: 'any' as const, deny: [claims.platform.fmspc] }
    expect(outcome(judge({}, { platform: { ...policy.platform, fmspc: denied } }))).toBe('policy_platform')
    const both = { allow: [claims.platform.fmspc], deny: [claims.platform.fmspc] }
    expect(outcome(judge({}, { platform: { ...policy.platform, fmspc: both } }))).toBe('policy_platform')
  })
})

describe('property', () => {
  const other: readonly (readonly [string, (p: EvidencePolicy) => Partial<EvidencePolicy>])[] = [
    ['policy_tee', () => ({ tee: ['tdx'] })],
    ['policy_identity', () => ({ identity: [{ mrenclave: '00'.repeat(32) }] })],
    ['policy_attributes', (p) => ({ attributes: p.attributes === 'any' ? 'any' : { ...p.attributes, value: '04'.padEnd(32, '0') } })],
    ['policy_tcb_status', (p) => ({ tcb: { ...p.tcb, statuses: ['ConfigurationNeeded'] } })],
    ['policy_evaluation_number', (p) => ({ tcb: { ...p.tcb, minTcbEvaluationDataNumber: claims.tcb.evaluationDataNumber + 1 } })],
    ['policy_collateral_age', () => ({ maxCollateralAge: Math.floor((soon.getTime() - at.getTime()) / 1000) - 1 })],
    ['policy_platform', (p) => ({ platform: { ...p.platform, fmspc: { allow: ['000000000000'], deny: [] } } })],
    ['policy_platform', (p) => ({ platform: { ...p.platform, ppid: { allow: ['00'.repeat(16)], deny: [] } } })],
    ['policy_platform', (p) => ({ platform: { ...p.platform, fmspc: { ...p.platform.fmspc, deny: [claims.platform.fmspc] } } })],
  ]
  it('a policy that accepts rejects after a change of any demanded field, and of any set of them, with the code of the first', () => {
    fc.assert(
      fc.property(fc.subarray([...other.keys()], { minLength: 1 }), (chosen) => {
        let demands = policy
        // Two changes of one field would undo each other: later ones see earlier ones.
        for (const i of chosen) demands = { ...demands, ...other[i]?.[1](demands) }
        const verdict = evaluate(claims, demands, soon)
        expect(verdict.verdict).toBe('rejected')
        expect(outcome(verdict)).toBe(other[chosen[0] ?? 0]?.[0])
      }),
    )
  })
  it('a waiver never turns acceptance into rejection, and a demand never the reverse', () => {
    const strict = demanding(claims)
    const loose = lenient(claims)
    fc.assert(
      fc.property(fc.subarray(Object.keys(strict)), (names) => {
        const mixed = { ...strict, ...Object.fromEntries(names.map((name) => [name, loose[name as keyof EvidencePolicy]])) }
        // The one pair that belongs together: a trusted site needs its list.
        fc.pre(mixed.physical === 'any' || mixed.platform.ppid.allow !== 'any')
        expect(outcome(evaluate(claims, mixed, soon))).toBe('accepted')
      }),
    )
  })
})
