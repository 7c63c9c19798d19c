import { beforeAll, describe, expect, it } from 'vitest'
import { utf8 } from '../../src/bytes/index.ts'
import type { EvidencePolicy, Policy, ReleasePolicy, Role } from '../../src/policy/index.ts'
import { type ReleaseDocument, withReleases } from '../../src/release/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createMakers, enclaveOf, type Makers } from './makers.ts'

let makers: Makers
beforeAll(async () => {
  makers = await createMakers(1_800_000_000)
})

const policyOf = (sections: { readonly [R in Role]?: ReleasePolicy | 'any' }): Policy => ({
  version: 'veritee.policy.v1',
  roles: Object.fromEntries(Object.entries(sections).map(([role, release]) => [role, { release } as EvidencePolicy])),
})
const plain = async (...args: Parameters<Makers['statement']>): Promise<ReleaseDocument> => ({
  statement: await makers.statement(...args),
  proof: null,
})

describe('S25: statements are verified for the sections of a policy that demand them', () => {
  it('each section gets what is of its role', async () => {
    const enclaves = [enclaveOf(), enclaveOf({ role: 'controller', mrenclave: 'c0'.repeat(32), cpu_variant: null }), enclaveOf({ mrenclave: null })]
    const document = await plain({ enclaves, svn_floor: { controller: 2 } })
    const { roles } = await withReleases(policyOf({ controller: makers.demand, worker: makers.demand, broker: 'any' }), [document])
    expect(roles.controller?.released).toMatchObject([
      { release: '0.1.0', svnFloor: 2, enclaves: [{ mrenclave: 'c0'.repeat(32), cpuVariant: null }] },
    ])
    expect(roles.worker?.released).toMatchObject([{ svnFloor: 0, enclaves: [{ mrenclave: 'a1'.repeat(32), isvProdId: 3, isvSvn: 4 }] }])
    expect(roles.broker).not.toHaveProperty('released')
  })

  it('statements of several products go to the sections that name them', async () => {
    const other = { ...makers.demand, product: 'other' }
    const documents = [await plain(), await plain({ product: 'other', release: '9.0.0' })]
    const { roles } = await withReleases(policyOf({ controller: other, worker: makers.demand }), documents)
    expect([roles.controller?.released?.map(({ release }) => release), roles.worker?.released?.map(({ release }) => release)]).toEqual([
      ['9.0.0'],
      ['0.1.0'],
    ])
  })

  it('in a log, with its proof', async () => {
    const { roles } = await withReleases(policyOf({ worker: makers.logged }), [await makers.inLog(await makers.statement())])
    expect(roles.worker?.released).toHaveLength(1)
  })

  const hostile: readonly (readonly [string, string, () => Promise<readonly [Policy, ReleaseDocument]>])[] = [
    ['no statement at all', 'release_statement_malformed', async () => [policyOf({ worker: makers.demand }), { statement: '{}', proof: null }]],
    [
      'a statement of one of the two that must sign',
      'release_signatures_missing',
      async () => [policyOf({ worker: makers.demand }), await plain({}, 1)],
    ],
    [
      'one whose signers are strangers',
      'release_signatures_missing',
      async () => [policyOf({ worker: { ...makers.demand, keys: ['11'.repeat(32), '22'.repeat(32)] } }), await plain()],
    ],
    [
      'one that was changed',
      'release_signature_invalid',
      async () => [policyOf({ worker: makers.demand }), { statement: (await makers.statement()).replace('0.1.0', '0.1.1'), proof: null }],
    ],
    ['one of another product', 'release_product', async () => [policyOf({ worker: makers.demand }), await plain({ product: 'other' })]],
    ['one where none is demanded', 'usage', async () => [policyOf({ worker: 'any' }), await plain()]],
    ['S21: one without a proof where a log is demanded', 'log_entry_missing', async () => [policyOf({ worker: makers.logged }), await plain()]],
    [
      'S21: a proof of something else',
      'log_inclusion_invalid',
      async () => [policyOf({ worker: makers.logged }), await makers.inLog(await makers.statement(), { entry: utf8('x') })],
    ],
    [
      'S21: the proof of the statement before another maker signed it',
      'log_inclusion_invalid',
      async () => {
        const { proof } = await makers.inLog(await makers.statement())
        return [policyOf({ worker: makers.logged }), { statement: await makers.statement({}, 3), proof }]
      },
    ],
    [
      'S21: a head that too few witnesses saw',
      'log_quorum_missing',
      async () => [policyOf({ worker: makers.logged }), await makers.inLog(await makers.statement(), { cosigned: 1 })],
    ],
    [
      'S21: a log whose key the policy does not name',
      'note_signature_missing',
      async () => {
        const { logged } = await createMakers(1_800_000_000)
        return [policyOf({ worker: { ...makers.demand, log: logged.log } }), await makers.inLog(await makers.statement())]
      },
    ],
    [
      'S21: a proof that is none',
      'tlog_proof_malformed',
      async () => [policyOf({ worker: makers.logged }), { statement: await makers.statement(), proof: 'x' }],
    ],
    [
      'a policy whose log has no key',
      'log_key_malformed',
      async () => [
        policyOf({ worker: { ...makers.demand, log: { origin: 'o', key: 'k', witnesses: ['w'], quorum: 1 } } }),
        await makers.inLog(await makers.statement()),
      ],
    ],
  ]
  it.each(hostile)('refuses %s: %s', async (_, code, make) => {
    const [policy, document] = await make()
    expect(await refusal(() => withReleases(policy, [document]))).toBe(code)
    // One bad statement is not passed over because another one is good.
    const good = makers.inLog(await makers.statement())
    if (code !== 'usage' && code !== 'release_product') expect(await refusal(async () => withReleases(policy, [await good, document]))).toBe(code)
  })
})
