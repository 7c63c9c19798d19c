import { beforeAll, describe, expect, it } from 'vitest'
import type { QuoteClaims, Verified } from '../../src/attestation/index.ts'
import { quoteFindings } from '../../src/policy/evaluate.ts'
import { type EvidencePolicy, evaluate, explainPolicy, initPolicy, type Policy, parsePolicy, releasedUntil } from '../../src/policy/index.ts'
import { type ReleaseStatement, withReleases } from '../../src/release/index.ts'
import { createMakers, enclaveOf, type Makers } from '../release/makers.ts'
import { asGenuine, bodyOf, demanding, sgxClaims, soon, tdxClaims, variant } from './documents.ts'

/** Policies that demand a release statement, against evidence. What a statement itself must be is in test/release. */

let claims: Verified<QuoteClaims>
let makers: Makers
const issued = Math.floor(soon.getTime() / 1000) - 86_400
beforeAll(async () => {
  claims = asGenuine(await sgxClaims())
  makers = await createMakers(issued)
})

type Stated = Parameters<typeof quoteFindings>[3]

/** A policy with a section for workers that takes whatever these statements name. */
async function under(statements: readonly Partial<ReleaseStatement>[], changes: Partial<EvidencePolicy> = {}): Promise<EvidencePolicy> {
  const section: EvidencePolicy = { ...demanding(claims), identity: 'released', release: makers.demand, ...changes }
  const policy: Policy = { version: 'veritee.policy.v1', roles: { worker: section } }
  const documents = await Promise.all(statements.map(async (one) => ({ statement: await makers.statement(one), proof: null })))
  return (await withReleases(policy, documents)).roles.worker as EvidencePolicy
}
function codeOf(policy: EvidencePolicy, found: Partial<QuoteClaims> = {}, at = soon, stated: Stated = null): string {
  const failing = quoteFindings(variant(claims, found), policy, at, stated).filter(({ status }) => status === 'fail')
  return failing.map(({ id, code }) => `${id} ${code}`).join(', ') || 'accepted'
}
const sgx = (changes: object): Partial<QuoteClaims> => ({ body: { ...bodyOf(claims, 'sgx'), ...changes } })
const stated = (changes: object = {}): Stated => ({
  release: { version: '0.1.0', commit: 'ab'.repeat(20) },
  engine: { cpu_variant: 'x86-64-v3' },
  ...changes,
})

describe('S25: code is what a release statement of the makers names', () => {
  it('accepts it, with or without a descriptor, and the verdict says by which release', async () => {
    const policy = await under([{}])
    const verdict = evaluate(claims, policy, soon)
    expect(verdict).toMatchObject({ verdict: 'accepted', error: null })
    expect(verdict.checks.find(({ id }) => id === 'policy.identity')?.status).toBe('waived')
    expect(verdict.checks.find(({ id }) => id === 'policy.release')).toEqual({
      id: 'policy.release',
      status: 'pass',
      detail: `release 0.1.0, commit ${'ab'.repeat(20)}, of a statement of 86400 s`,
    })
    expect(codeOf(policy, {}, soon, stated())).toBe('accepted')
    expect(codeOf(policy, {}, soon, stated({ release: { version: '0.1.0', commit: null }, engine: null }))).toBe('accepted')
  })

  it('a list of measurements beside it is demanded too', async () => {
    const listed = { identity: [{ mrenclave: bodyOf(claims, 'sgx').mrenclave }] }
    expect(codeOf(await under([{}], listed))).toBe('accepted')
    expect(codeOf(await under([{}], { identity: [{ mrenclave: '00'.repeat(32) }] }))).toBe('policy.identity policy_identity')
    expect(codeOf(await under([{ enclaves: [enclaveOf({ mrenclave: '00'.repeat(32) })] }], listed))).toBe(
      'policy.release release_measurement_unknown',
    )
  })

  it.each<readonly [string, readonly Partial<ReleaseStatement>[], string]>([
    ['no statement', [], 'policy_release'],
    ['a statement as old as is accepted, and a second', [{ issued: issued + 86_400 - 604_801 }], 'release_expired'],
    ['a statement of the future', [{ issued: issued + 86_400 + 301 }], 'release_expired'],
    ['another measurement', [{ enclaves: [enclaveOf({ mrenclave: 'a2'.repeat(32) })] }], 'release_measurement_unknown'],
    ['a measurement that nobody has computed', [{ enclaves: [enclaveOf({ mrenclave: null })] }], 'release_measurement_unknown'],
    ['the measurement under another role', [{ enclaves: [enclaveOf({ role: 'controller', cpu_variant: null })] }], 'release_measurement_unknown'],
    ['a release that its own statement withdraws', [{ withdrawn: ['0.1.0'] }], 'release_withdrawn'],
    [
      'a release that another statement withdraws',
      [{}, { release: '0.2.0', enclaves: [enclaveOf({ mrenclave: 'a2'.repeat(32) })], withdrawn: ['0.1.0'] }],
      'release_withdrawn',
    ],
    ['a release that an expired statement withdraws', [{}, { issued: 1, release: '0.0.9', withdrawn: ['0.1.0'] }], 'release_withdrawn'],
    ['a security version below the floor', [{ svn_floor: { worker: 5 } }], 'release_svn'],
    ['a security version below the floor of another statement', [{}, { issued: 1, release: '0.2.0', svn_floor: { worker: 5 } }], 'release_svn'],
    ['another security version', [{ enclaves: [enclaveOf({ isv_svn: 3 })] }], 'release_svn'],
    ['another product id', [{ enclaves: [enclaveOf({ isv_prod_id: 2 })] }], 'release_svn'],
  ])('refuses %s', async (_, statements, code) => {
    expect(codeOf(await under(statements))).toBe(`policy.release ${code}`)
  })

  it.each<readonly [string, object, string]>([
    ['another release', { release: { version: '0.1.1', commit: null } }, 'release_measurement_unknown'],
    ['another commit', { release: { version: '0.1.0', commit: 'cd'.repeat(20) } }, 'release_measurement_unknown'],
    ['another build of the engine', { engine: { cpu_variant: 'haswell' } }, 'release_measurement_unknown'],
    ['a release that is withdrawn', { release: { version: '0.0.9', commit: null } }, 'release_withdrawn'],
  ])('refuses a descriptor that names %s', async (_, said, code) => {
    expect(codeOf(await under([{ withdrawn: ['0.0.9'] }]), {}, soon, stated(said))).toBe(`policy.release ${code}`)
  })

  it('an engine that the statement knows nothing of is refused where the descriptor has one', async () => {
    const policy = await under([{ enclaves: [enclaveOf({ cpu_variant: null })] }])
    expect([codeOf(policy), codeOf(policy, {}, soon, stated())]).toEqual(['accepted', 'policy.release release_measurement_unknown'])
  })

  it('refuses a TD, whatever the statements say', async () => {
    const td = asGenuine(await tdxClaims())
    const policy = { ...(await under([{}])), tee: 'any' as const, attributes: 'any' as const }
    const finding = quoteFindings(td, policy, soon, null).find(({ id }) => id === 'policy.release')
    expect(finding).toMatchObject({ status: 'fail', code: 'policy_release' })
  })

  it('while versions are exchanged, the statements of both are good; of one release the latest counts', async () => {
    const next = { issued: issued + 60, release: '0.2.0', enclaves: [enclaveOf({ mrenclave: 'a2'.repeat(32), isv_svn: 5 })] }
    const policy = await under([{}, next])
    expect([codeOf(policy), codeOf(policy, sgx({ mrenclave: 'a2'.repeat(32), isvSvn: 5 }))]).toEqual(['accepted', 'accepted'])
    expect(codeOf(await under([{ enclaves: [enclaveOf({ isv_svn: 3 })] }, { issued: issued + 60 }]))).toBe('accepted')
    expect(codeOf(await under([{}, { issued: issued + 60, enclaves: [enclaveOf({ isv_svn: 3 })] }]))).toBe('policy.release release_svn')
  })

  it('a statement that was good is not for ever: the same policy refuses once it is too old', async () => {
    const policy = await under([{}])
    const last = new Date((issued + 604_800) * 1000)
    const release = (at: Date): string => quoteFindings(claims, policy, at, null).find(({ id }) => id === 'policy.release')?.code ?? 'accepted'
    expect([release(last), release(new Date(last.getTime() + 1000))]).toEqual(['accepted', 'release_expired'])
    expect(release(new Date(Number.NaN))).toBe('release_expired')
  })

  it('until when it is good is told: by the latest statement of these makers that names the code, and of nothing else', async () => {
    const until = issued + 604_800
    const next = { issued: issued + 60, release: '0.2.0', enclaves: [enclaveOf({ mrenclave: 'a2'.repeat(32) })] }
    expect(releasedUntil(claims, await under([{}, next]))).toBe(until)
    expect(releasedUntil(claims, await under([{}, { issued: issued + 60 }]))).toBe(until + 60)
    expect(releasedUntil(claims, await under([next]))).toBe(0)
    expect(releasedUntil(claims, { ...(await under([{}])), release: { ...makers.demand, product: 'other' } })).toBe(0)
    expect(releasedUntil(asGenuine(await tdxClaims()), await under([{}]))).toBe(0)
    expect(releasedUntil(claims, { ...demanding(claims), release: makers.demand })).toBe(0)
    expect(releasedUntil(claims, demanding(claims))).toBe(Number.POSITIVE_INFINITY)
  })

  it.each<readonly [string, (own: Makers['demand']) => Makers['demand']]>([
    ['other keys', (own) => ({ ...own, keys: own.keys.map(() => '11'.repeat(32)) })],
    ['one key less', (own) => ({ ...own, keys: own.keys.slice(1) })],
    ['a higher threshold', (own) => ({ ...own, threshold: 3 })],
    ['another product', (own) => ({ ...own, product: 'other' })],
    ['a shorter age', (own) => ({ ...own, maxReleaseAge: 604_799 })],
    ['a log', () => makers.logged],
  ])('what was verified for one demand shows nothing under another: %s', async (_, change) => {
    expect(codeOf({ ...(await under([{}])), release: change(makers.demand) })).toBe('policy.release policy_release')
  })

  it('released code without anybody who releases it is no policy, and is written so by init with makers', async () => {
    const facts = { body: claims.body, platform: claims.platform, evaluationDataNumber: 1, service: null }
    const { text, notes } = initPolicy(facts, 'controller', makers.demand)
    const policy = parsePolicy(text.replaceAll('UNREVIEWED:', ''))
    expect(policy.roles.controller).toMatchObject({ identity: 'released', release: makers.demand })
    expect(notes.find(({ field }) => field === 'release')?.why).toContain('as you said')
    const without = JSON.parse(text.replaceAll('UNREVIEWED:', '')) as { roles: { controller: { release: unknown } } }
    without.roles.controller.release = 'any'
    expect(() => parsePolicy(JSON.stringify(without))).toThrow(expect.objectContaining({ code: 'policy_invalid' }) as Error)
  })

  it('in English', () => {
    const explained = (release: EvidencePolicy['release']): string => {
      const [found] = explainPolicy({ version: 'veritee.policy.v1', roles: { worker: { ...demanding(claims), identity: 'released', release } } })
      return [...(found?.demanded ?? []), ...(found?.waived ?? [])].join('\n')
    }
    expect(explained(makers.demand)).toMatch(
      /an enclave of a release[\s\S]*2 of 3 makers signed at most 7 days ago[\s\S]*the statement may be in no log/,
    )
    expect(explained(makers.logged)).toContain('the statement is in the log log.example/releases, seen by 2 of 2 witnesses')
  })
})
