import { beforeAll, describe, expect, it } from 'vitest'
import type { QuoteClaims, TcbStatus, TdxClaims, Verified } from '../../src/attestation/index.ts'
import { type EvidencePolicy, evaluate, evaluateGenuineness, type Identity, type Verdict } from '../../src/policy/index.ts'
import { asGenuine, bodyOf, demanding, lenient, sgxClaims, soon, tdxClaims, variant } from './documents.ts'

const outcome = ({ error }: Verdict): string => error?.code ?? 'accepted'
const check = (verdict: Verdict, id: string): string => verdict.checks.find((entry) => entry.id === id)?.status ?? 'absent'

let claims: Verified<QuoteClaims>
let policy: EvidencePolicy
let sgx: Verified<QuoteClaims>
beforeAll(async () => {
  claims = asGenuine(await tdxClaims())
  policy = demanding(claims)
  sgx = asGenuine(await sgxClaims())
})
const judge = (changes: Partial<TdxClaims>, demands: Partial<EvidencePolicy> = {}): Verdict =>
  evaluate(variant(claims, { body: { ...bodyOf(claims, 'tdx'), ...changes } }), { ...policy, ...demands }, soon)
const demandsOf = (changes: Partial<Exclude<EvidencePolicy['tdx'], 'any'>>): Partial<EvidencePolicy> => {
  if (policy.tdx === 'any') throw new Error('expected TDX demands')
  return { tdx: { ...policy.tdx, ...changes } }
}

describe('evaluation of TDX claims', () => {
  it('accepts what meets every demand', () => {
    const verdict = judge({})
    expect(outcome(verdict)).toBe('accepted')
    for (const id of ['policy.tee', 'policy.identity', 'policy.td-attributes', 'policy.xfam', 'policy.sept-ve-disable', 'policy.mrservicetd'])
      expect(check(verdict, id)).toBe('pass')
    expect(check(verdict, 'policy.attributes')).toBe('absent')
  })
  it.each(['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'] as const)('rejects another %s', (register) => {
    expect(outcome(judge({ [register]: 'ee'.repeat(48) }))).toBe('policy_identity')
  })
  it.each(['rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'] as const)(
    '%s: "any" is listed as waived, and only where that identity matched',
    (register) => {
      const [wanted] = policy.identity as readonly Identity[]
      const identity = [{ mrenclave: '00'.repeat(32) }, { ...wanted, [register]: 'any' } as Identity]
      const verdict = judge({ [register]: 'ee'.repeat(48) }, { identity })
      expect([outcome(verdict), check(verdict, `policy.identity.${register}`)]).toEqual(['accepted', 'waived'])
      expect(check(judge({}), `policy.identity.${register}`)).toBe('absent')
    },
  )
  it('an identity of an enclave never matches a TD', () => {
    expect(outcome(judge({}, { identity: [{ mrenclave: bodyOf(claims, 'tdx').mrtd.slice(0, 64) }] }))).toBe('policy_identity')
    expect(outcome(judge({}, { tee: ['sgx'] }))).toBe('policy_tee')
  })
  it.each<[string, Partial<TdxClaims>]>([
    ['TD attributes', { tdAttributes: '0000001001000000' }],
    ['XFAM', { xfam: 'e700000000000001' }],
    ['a service TD that is not listed', { mrServiceTd: '01'.repeat(48) }],
    ['a service TD that is not stated', { mrServiceTd: null }],
  ])('rejects %s', (_, changes) => {
    expect(outcome(judge(changes))).toBe('policy_attributes')
  })
  it('SEPT_VE_DISABLE is bit 28, and demanded on its own', () => {
    const free = demandsOf({ attributes: 'any' })
    for (const [attributes, expected] of [
      ['0000001000000000', 'accepted'],
      ['0000000000000000', 'policy_attributes'],
      ['ffffffefffffffff', 'policy_attributes'],
      ['0000100000000000', 'policy_attributes'],
      ['1000000000000000', 'policy_attributes'],
    ] as const)
      expect(outcome(judge({ tdAttributes: attributes }, free)), attributes).toBe(expected)
  })
  it('waives by name', () => {
    const loose = judge(
      { mrServiceTd: null, tdAttributes: '00'.repeat(8) },
      demandsOf({ attributes: 'any', xfam: 'any', septVeDisable: 'any', mrServiceTd: 'any' }),
    )
    expect(outcome(loose)).toBe('accepted')
    for (const id of ['policy.td-attributes', 'policy.xfam', 'policy.sept-ve-disable', 'policy.mrservicetd']) expect(check(loose, id)).toBe('waived')
    expect(check(evaluate(claims, { ...lenient(claims) }, soon), 'policy.tdx')).toBe('waived')
    for (const [tdAttributes, detail] of [
      ['0000001000000000', 'set'],
      ['0000000000000000', 'not set'],
    ] as const) {
      const { checks } = judge({ tdAttributes }, demandsOf({ attributes: 'any', septVeDisable: 'any' }))
      expect(checks.find(({ id }) => id === 'policy.sept-ve-disable')).toMatchObject({ status: 'waived', detail })
    }
  })
})

describe('genuineness without a policy', () => {
  const withStatus = (status: TcbStatus, current: TcbStatus = status): Verified<QuoteClaims> => {
    const level = { status, tcbDate: null, advisories: ['INTEL-SA-9'] }
    return variant(sgx, { tcb: { ...sgx.tcb, ...level, launch: level, current: { ...level, status: current } } })
  }
  it('S14: says its scope, and that the code was not judged', () => {
    const verdict = evaluateGenuineness(sgx, [])
    expect(verdict).toMatchObject({ verdict: 'accepted', scope: 'genuineness', error: null })
    expect(verdict.warnings.join('\n')).toContain('not judged')
  })
  it('S14, S15: simulated evidence is rejected', async () => {
    const verdict = evaluateGenuineness(await sgxClaims(), [])
    expect([outcome(verdict), verdict.simulated]).toEqual(['policy_simulated', true])
  })
  it.each(['Revoked', 'NotSupported', 'Unrecognized'] as const)('S14: %s is rejected, at launch or now', (status) => {
    expect(outcome(evaluateGenuineness(withStatus(status), []))).toBe('policy_tcb_status')
    expect(outcome(evaluateGenuineness(withStatus('UpToDate', status), []))).toBe('policy_tcb_status')
  })
  it.each([
    'SWHardeningNeeded',
    'ConfigurationNeeded',
    'ConfigurationAndSWHardeningNeeded',
    'OutOfDate',
    'OutOfDateConfigurationNeeded',
    'TDRelaunchAdvised',
    'TDRelaunchAdvisedConfigurationNeeded',
  ] as const)('S14: %s is accepted with a warning', (status) => {
    const verdict = evaluateGenuineness(withStatus(status), [])
    expect(outcome(verdict)).toBe('accepted')
    expect(verdict.warnings.join('\n')).toContain(`TCB status is ${status} (INTEL-SA-9)`)
  })
  it('S14: debug mode is a warning', () => {
    const verdict = evaluateGenuineness(variant(sgx, { debug: true }), [])
    expect(outcome(verdict)).toBe('accepted')
    expect(verdict.warnings.join('\n')).toContain('DEBUG')
  })
})
