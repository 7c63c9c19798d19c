import { beforeAll, describe, expect, test } from 'vitest'
import type { QuoteClaims } from '../../src/attestation/index.ts'
import { type EvidencePolicy, evaluate, explainPolicy, initPolicy, type Policy, parsePolicy, policyFor, type Role } from '../../src/policy/index.ts'
import { asGenuine, demanding, digest, lenient, sgxClaims, soon, tdxClaims, variant } from './documents.ts'

/** Policies written from evidence, and policies said in English; what the command line does around them is tested with the command line. */

let sgx: QuoteClaims
let tdx: QuoteClaims
beforeAll(async () => {
  sgx = await sgxClaims()
  tdx = await tdxClaims()
})

const service = {
  models: [{ name: 'm', files: [{ sha256: digest('11') }] }],
  engine: { build: digest('22'), cpu_variant: 'haswell' },
  operatorKey: '33'.repeat(32),
}
const factsOf = (claims: QuoteClaims, of: typeof service | null = service): Parameters<typeof initPolicy>[0] => ({
  body: claims.body,
  platform: claims.platform,
  evaluationDataNumber: claims.tcb.evaluationDataNumber,
  service: of,
})
const reviewed = (text: string): string => text.replaceAll('UNREVIEWED:', '')

describe('S14: a policy written from evidence', () => {
  test.for([
    ['an SGX worker', () => factsOf(sgx), 'worker'],
    ['a TD', () => factsOf(tdx), 'worker'],
    ['an SGX controller', () => factsOf(sgx, { ...service, models: [] }), 'controller'],
    ['a quote without a report', () => factsOf(sgx, null), 'worker'],
  ] as const)('of %s is refused as it stands', ([, facts, role]) => {
    const { text } = initPolicy(facts(), role)
    expect(text).toContain('UNREVIEWED:')
    expect(() => parsePolicy(text)).toThrow(expect.objectContaining({ code: 'policy_invalid' }) as Error)
  })

  test('accepts its evidence, and no other, once it was reviewed', () => {
    const policy = policyFor(parsePolicy(reviewed(initPolicy(factsOf(sgx), 'worker').text)), 'worker')
    const flags = { dynamicPlatform: false, cachedKeys: false, smtEnabled: false }
    const genuine = asGenuine({ ...sgx, platform: { ...sgx.platform, ...flags } })
    expect(evaluate(genuine, policy, soon).verdict).toBe('accepted')
    const body = sgx.body.tee === 'sgx' ? { ...sgx.body, mrenclave: '00'.repeat(32) } : sgx.body
    expect(evaluate(variant(genuine, { body }), policy, soon).error?.code).toBe('policy_identity')
    expect(evaluate(variant(genuine, { simulated: true }), policy, soon).error?.code).toBe('policy_simulated')
    expect(evaluate(variant(genuine, { debug: true }), policy, soon).error?.code).toBe('policy_debug')
  })

  test('names every TD register, and demands no service TD where the body can show one', () => {
    const withServiceTd = (mrServiceTd: string | null): QuoteClaims => (tdx.body.tee === 'tdx' ? { ...tdx, body: { ...tdx.body, mrServiceTd } } : tdx)
    for (const [claims, wanted] of [
      [withServiceTd(null), 'any'],
      [withServiceTd('00'.repeat(48)), ['00'.repeat(48)]],
    ] as const) {
      const policy = policyFor(parsePolicy(reviewed(initPolicy(factsOf(claims), 'worker').text)), 'worker')
      expect(policy.tdx).toMatchObject({ septVeDisable: 'require', mrServiceTd: wanted })
      expect(Object.keys(policy.identity[0] ?? {})).toEqual(['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3', 'mrseam'])
    }
  })

  test('tells why a field is waived or what must be decided', () => {
    const fieldsOf = (facts: Parameters<typeof initPolicy>[0], role: Role): string[] => initPolicy(facts, role).notes.map(({ field }) => field)
    expect(fieldsOf(factsOf(sgx), 'worker')).toEqual(
      expect.arrayContaining(['identity', 'models', 'engine', 'operator', 'release', 'log', 'platform.ppid']),
    )
    const bare = { ...factsOf(sgx, null), platform: null, evaluationDataNumber: null }
    expect(fieldsOf(bare, 'worker')).toContain('tcb.minTcbEvaluationDataNumber')
    for (const role of ['worker', 'controller'] as const) {
      const { text, notes } = initPolicy(bare, role)
      expect((JSON.parse(text) as { comments: object }).comments).toEqual(
        Object.fromEntries(notes.map(({ field, why }) => [`${role}.${field}`, why])),
      )
    }
    expect(initPolicy(bare, 'worker').text).toContain('UNREVIEWED:the 32 hex digits of a machine')
    expect(initPolicy(bare, 'broker').notes.find(({ field }) => field === 'models')?.why).toContain('a broker runs no models')
  })
})

describe('a policy in English', () => {
  const explain = (section: EvidencePolicy, role: Role = 'worker'): { demanded: string; waived: string } => {
    const [found] = explainPolicy({ version: 'veritee.policy.v1', roles: { [role]: section } } as Policy)
    return { demanded: found?.demanded.join('\n') ?? '', waived: found?.waived.join('\n') ?? '' }
  }

  test('has one part for each role it speaks of, in the order of the roles', () => {
    const section = demanding(sgx)
    expect(explainPolicy({ version: 'veritee.policy.v1', roles: { worker: section, controller: section } }).map(({ role }) => role)).toEqual([
      'controller',
      'worker',
    ])
  })

  test('a demanding one waives only what cannot be demanded yet', () => {
    const { demanded, waived } = explain(demanding(asGenuine(sgx)))
    expect(waived).toBe('no release statement\nno transparency log')
    for (const words of [
      'the code is',
      "its chain ends in Intel's key",
      'debugging is off',
      'SGX attributes',
      'hyper-threading is off',
      'for x86-64-v3',
      'TLS key of the attested keyset',
    ])
      expect(demanded).toContain(words)
  })

  test('a lenient one says SIMULATED and everything else it accepts', () => {
    const { waived } = explain({ ...lenient(sgx), channel: 'loopback' })
    for (const words of [
      'SIMULATED',
      'any kind of TEE',
      'debugging may be on',
      'its owner could have opened it',
      'any models and weights',
      'any engine',
      'any operator',
      'plain HTTP',
      'of any age',
      'any security advisory',
    ])
      expect(waived).toContain(words)
  })

  test('of a TD names registers left open, and what of the TD is demanded', () => {
    const section = demanding(tdx)
    const { demanded } = explain(section)
    for (const words of ['the TD ', 'rtmr3 ', 'TD attributes are', 'XFAM are', 'SEPT_VE_DISABLE is set', 'MRSERVICETD is'])
      expect(demanded).toContain(words)
    const open = { mrtd: 'c3'.repeat(48), rtmr0: 'any', rtmr1: 'any', rtmr2: 'any', rtmr3: 'any', mrseam: 'any' } as const
    const loose = explain({ ...section, identity: [open], tdx: { attributes: 'any', xfam: 'any', septVeDisable: 'any', mrServiceTd: 'any' } })
    for (const words of [
      'rtmr0 of the TD may be anything',
      'mrseam of the TD may be anything',
      'XFAM may be anything',
      'SEPT_VE_DISABLE may be clear',
      'any service TD',
    ])
      expect(loose.waived).toContain(words)
    expect(explain({ ...section, tdx: 'any' }).waived).toContain('MRSERVICETD may be anything')
  })

  test('says durations as people do, and several identities as a choice', () => {
    const signer = { mrsigner: 'aa'.repeat(32), isvProdId: 1, minIsvSvn: 2 }
    const { demanded, waived } = explain({
      ...demanding(sgx),
      identity: [{ mrenclave: 'bb'.repeat(32) }, signer],
      maxCollateralAge: 86_400,
      maxAttestationAge: 90,
      tcb: { statuses: ['UpToDate', 'SWHardeningNeeded'], advisories: ['INTEL-SA-00615'], minTcbEvaluationDataNumber: 17, gracePeriod: 7200 },
      engine: [{ build: digest('22'), cpuVariant: 'any' }],
      release: { product: 'p', keys: ['cc'.repeat(32)], threshold: 1, maxReleaseAge: 60, log: 'any' },
      log: { origin: 'o', key: 'k', witnesses: ['w'], quorum: 1 },
    })
    for (const words of [
      'one of 2: the enclave',
      'security version 2 or later',
      'at most 1 day old',
      'at most 90 seconds old',
      'but INTEL-SA-00615',
      'a statement of "p" that 1 of 1 makers signed at most 1 minute ago',
      'each receipt promises to be in the log o; it counts as logged under 1 of 1 witnesses',
    ])
      expect(demanded).toContain(words)
    for (const words of ['platforms of status SWHardeningNeeded', 'for 2 hours after', 'the statement may be in no log'])
      expect(waived).toContain(words)
  })

  test('says where the engine may run: beside the worker only where the policy says so', () => {
    const section = demanding(sgx)
    for (const [allowed, words] of [
      ['measured', 'with engine and weights on a measured mount'],
      ['any', 'with weights that are only asserted'],
    ] as const)
      expect(explain({ ...section, externalEngine: allowed }).waived).toContain(words)
    for (const refusing of [section, { ...section, externalEngine: 'refuse' } as const])
      expect(explain(refusing).demanded).toContain("the engine is the worker's own")
  })
})
