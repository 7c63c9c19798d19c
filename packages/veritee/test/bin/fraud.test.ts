import { readFileSync } from 'node:fs'
import { beforeAll, expect, it } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import { fromBase64, type Json, jcs } from '../../src/bytes/index.ts'
import { createFraudProof } from '../../src/fraud/index.ts'
import { policy, receiptOf } from '../fraud/scenario.ts'
import { createEnclave, machine, sha } from '../receipt/enclaves.ts'
import { expectRefusal, folder, json, type Ran, veritee } from './cli.ts'

const files = folder()
beforeAll(async () => {
  const worker = await createEnclave('worker')
  const report = await worker.report(null)
  const twice = [receiptOf(worker, { sequence: 4 }), receiptOf(worker, { sequence: 4, outcome: 'length' })]
  const first = receiptOf(worker, { sequence: 4 })
  const once = [first, receiptOf(worker, { sequence: 5, previous: sha(jcs(JSON.parse(first) as Json)) })]
  files.write('proof.json', createFraudProof({ kind: 'sequence_reused', report, receipts: twice }))
  files.write('nothing.json', createFraudProof({ kind: 'sequence_reused', report, receipts: once }))
  files.write('policy.json', JSON.stringify(policy))
  files.write('root.pem', certificatePem((await machine()).root))
})

const verify = (file: string, ...more: string[]): Promise<Ran> => veritee(['fraud', 'verify', files.path(file), ...more])
const accepted = (): string[] => ['--policy', files.path('policy.json'), '--root', files.path('root.pem')]

it('a proof is proven, names the accused, and says that it is simulated', async () => {
  const ran = await verify('proof.json', ...accepted())
  expect(ran.code).toBe(0)
  expect(ran.stdout).toMatch(/accused: worker sha256:[0-9a-f]{64}/)
  expect(ran.stdout.trimEnd().split('\n').at(-1)).toBe('PROVEN, SIMULATED: this says nothing about hardware')
  const document = json(await verify('proof.json', ...accepted(), '--json'))
  expect(document).toMatchObject({ proven: true, kind: 'sequence_reused', simulated: true, accused: { role: 'worker' } })
})

it('S5: genuine statements that agree convict nobody', async () => {
  const ran = await verify('nothing.json', ...accepted())
  expect([ran.code, ran.stdout]).toEqual([1, expect.stringContaining('Nobody is convicted')])
  expect(json(await verify('nothing.json', ...accepted(), '--json'))).toMatchObject({ proven: false, error: { code: 'fraud_not_shown' } })
})

it('S15: without the root nobody is convicted', async () => {
  const ran = await verify('proof.json', '--policy', files.path('policy.json'), '--json')
  expect([ran.code, json(ran)]).toEqual([1, { proven: false, error: { code: 'chain_untrusted', message: expect.any(String) } }])
})

it('without a policy it is wrong usage, as are other verbs', async () => {
  expectRefusal(await verify('proof.json'), 2, 'usage')
  expectRefusal(await veritee(['fraud', 'make']), 2, 'usage')
})

it('S21: every kind of the vectors is judged by its file: a broken promise is proven, one that is not due is not, and what was found is told', async () => {
  const vectors = JSON.parse(readFileSync(new URL('../../../../spec/vectors/fraud-proof.json', import.meta.url), 'utf8')) as {
    readonly at: number
    readonly root_b64: string
    readonly policy: Json
    readonly report: Json
    readonly vectors: readonly { readonly name: string; readonly proof: { readonly [name: string]: Json } }[]
  }
  files.write('vectors-policy.json', JSON.stringify(vectors.policy))
  files.write('vectors-root.pem', certificatePem(fromBase64(vectors.root_b64)))
  const judged = async (name: string): Promise<Ran> => {
    const { proof } = vectors.vectors.find((vector) => vector.name === name) ?? {}
    files.write('vector.json', JSON.stringify({ version: 'veritee.fraud-proof.v2', report: vectors.report, ...proof }))
    const trusted = ['--policy', files.path('vectors-policy.json'), '--root', files.path('vectors-root.pem'), '--at', String(vectors.at)]
    return verify('vector.json', ...trusted)
  }
  const broken = await judged('left out of the log, by the leaves since its nonce')
  expect([broken.code, broken.stdout]).toEqual([
    0,
    expect.stringMatching(/^what: promise_broken: receipt rcpt-1: promised, as number 1, .* has number 2 in place 3/m),
  ])
  expect(broken.stdout).toMatch(/^operator: [0-9a-f]{64}; platform: [0-9a-f]{32}$/m)
  const early = await judged('a promise that is not due by the time of the witnesses')
  expect([early.code, early.stdout]).toEqual([
    1,
    expect.stringMatching(/^NOT PROVEN: fraud_not_shown: .*: the promise is due at \d+, and the checkpoint was witnessed at \d+$/m),
  ])
  expect((await judged('a receipt, and the audit view of another one with its number')).code).toBe(0)
})
