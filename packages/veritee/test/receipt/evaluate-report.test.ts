import { beforeAll, describe, expect, it } from 'vitest'
import type { EvidencePolicy, Verdict } from '../../src/policy/index.ts'
import { evaluateReport, parseReport, type ReportContext, type VerifiedReport, verifyReport } from '../../src/receipt/index.ts'
import { createEnclave, createOperator, demoModel, judgedAt, nonceOf, sha, start, trust } from './enclaves.ts'
import { policyOf } from './scenario.ts'

const operator = createOperator()
let worker: VerifiedReport
let controller: VerifiedReport
let policy: EvidencePolicy
const context: ReportContext = { role: 'worker', at: judgedAt, attestedAt: judgedAt, channel: 'attested' }
beforeAll(async () => {
  const nonce = nonceOf('mine')
  const report = async (role: 'worker' | 'controller'): Promise<VerifiedReport> => {
    const enclave = await createEnclave(role, role === 'worker' ? { operator } : {})
    return verifyReport(parseReport(await enclave.report(nonce)), nonce, await trust(), judgedAt)
  }
  worker = await report('worker')
  controller = await report('controller')
  policy = policyOf({ engine: [{ build: sha('build'), cpuVariant: 'x86-64-v3' }], operator: [operator.name] }).roles.worker as EvidencePolicy
})

const judge = (demands: Partial<EvidencePolicy> = {}, changes: Partial<ReportContext> = {}, report = worker): Verdict =>
  evaluateReport(report, { ...policy, ...demands }, { ...context, ...changes })
const outcome = ({ error }: Verdict): string => error?.code ?? 'accepted'
const check = (verdict: Verdict, id: string): string => verdict.checks.find((entry) => entry.id === id)?.status ?? 'absent'

describe('evaluation of a report', () => {
  it('accepts what meets every demand, and lists what only a report shows', () => {
    const verdict = judge()
    expect([outcome(verdict), verdict.scope, verdict.simulated]).toEqual(['accepted', 'policy', true])
    for (const id of ['policy.role', 'policy.models', 'policy.engine', 'policy.operator', 'policy.attestation-age', 'policy.channel'])
      expect(check(verdict, id)).toBe('pass')
    expect(verdict.warnings.join('\n')).not.toContain('a quote alone')
  })
  it.each<[string, Partial<EvidencePolicy>, string]>([
    ['other weights', { models: { 'demo-model': [sha('other')] } }, 'policy_models'],
    ['fewer weights than the policy lists', { models: { 'demo-model': [sha('weights'), sha('more')] } }, 'policy_models'],
    ['a model that is not listed', { models: { other: [sha('weights')] } }, 'policy_models'],
    ['another engine build', { engine: [{ build: sha('other'), cpuVariant: 'any' }] }, 'policy_engine'],
    ['another CPU variant', { engine: [{ build: sha('build'), cpuVariant: 'avx512' }] }, 'policy_engine'],
    ['another operator', { operator: ['34'.repeat(32)] }, 'policy_operator'],
  ])('rejects %s', (_, demands, code) => {
    expect(outcome(judge(demands))).toBe(code)
  })
  it('S17: rejects an operator of the list whom the descriptor names and who did not sign the keyset', () => {
    expect(outcome(judge({}, {}, { ...worker, operator: null }))).toBe('policy_operator_unsigned')
    expect(outcome(judge({ operator: 'any' }, {}, { ...worker, operator: null }))).toBe('accepted')
    const nameless = { ...worker, operator: null, descriptor: { ...worker.descriptor, operator_key: null } }
    expect(outcome(judge({}, {}, nameless))).toBe('policy_operator')
  })
  it('a model named as a member of the object prototype is not listed by accident', () => {
    const models = [{ ...demoModel, name: 'constructor' }]
    expect(outcome(judge({}, {}, { ...worker, descriptor: { ...worker.descriptor, models } }))).toBe('policy_models')
  })
  it('a service without a model or engine meets any list of them; one with a model and no engine does not', () => {
    expect(outcome(judge({ identity: [{ mrenclave: nonceOf('controller') }], operator: 'any' }, { role: 'controller' }, controller))).toBe('accepted')
    expect(outcome(judge({}, {}, { ...worker, descriptor: { ...worker.descriptor, engine: null } }))).toBe('policy_engine')
  })
  it('S7: evidence of one role never satisfies the policy of another', () => {
    expect(outcome(judge({}, { role: 'controller' }))).toBe('policy_role')
    expect(outcome(judge({ identity: [{ mrenclave: nonceOf('controller') }], operator: 'any' }, { role: 'worker' }, controller))).toBe('policy_role')
  })
  it.each([
    [3600, 'accepted'],
    [3601, 'policy_attestation_age'],
    [-60, 'accepted'],
  ])('S25: an attestation of %d s ago under a bound of an hour: %s', (age, expected) => {
    expect(outcome(judge({}, { attestedAt: new Date(judgedAt.getTime() - age * 1000) }))).toBe(expected)
  })
  it('S25: an unknown age is not young', () => {
    expect(outcome(judge({}, { attestedAt: null, channel: 'stored' }))).toBe('policy_attestation_age')
    const waived = judge({ maxAttestationAge: 'any' }, { attestedAt: null, channel: 'stored' })
    expect([outcome(waived), check(waived, 'policy.attestation-age'), check(waived, 'policy.channel')]).toEqual(['accepted', 'waived', 'waived'])
    expect(outcome(judge({}, { attestedAt: new Date(Number.NaN) }))).toBe('policy_attestation_age')
  })
  it.each([
    ['attested', 'attested', 'accepted', 'pass'],
    ['loopback', 'attested', 'policy_channel', 'fail'],
    ['loopback', 'loopback', 'accepted', 'waived'],
    ['unattested', 'attested', 'policy_channel', 'fail'],
    ['unattested', 'loopback', 'policy_channel', 'fail'],
  ] as const)('a channel that is %s under a policy that says %s', (channel, wanted, code, status) => {
    const verdict = judge({ channel: wanted }, { channel })
    expect([outcome(verdict), check(verdict, 'policy.channel')]).toEqual([code, status])
  })
  it('S15: simulated evidence is refused here too', () => {
    expect(outcome(judge({ simulated: 'refuse' }))).toBe('policy_simulated')
  })
  it('waives by name what is "any"', () => {
    const verdict = judge({ models: 'any', engine: 'any', operator: 'any', maxAttestationAge: 'any' })
    for (const id of ['policy.models', 'policy.engine', 'policy.operator', 'policy.attestation-age']) expect(check(verdict, id)).toBe('waived')
  })
  it('S25: a policy that demands a release statement accepts nothing without one', () => {
    const release = { product: 'p', keys: ['44'.repeat(32)], threshold: 1, maxReleaseAge: 1, log: 'any' } as const
    expect(outcome(judge({ release }))).toBe('policy_release')
  })
  it('is judged at the time that is asked for', () => {
    expect(outcome(judge({}, { at: new Date(start.getTime() + 2 * 86_400_000) }))).toBe('policy_collateral_age')
  })
})
