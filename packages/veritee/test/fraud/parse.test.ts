import { beforeAll, describe, expect, it } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import { utf8 } from '../../src/bytes/index.ts'
import { createFraudProof, maxFraudProofLength, parseFraudProof } from '../../src/fraud/index.ts'
import { readLogRange } from '../../src/log/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave } from '../receipt/enclaves.ts'
import { createLog, type Logged, loggedReceipt } from './logged.ts'
import { answerText, receiptOf } from './scenario.ts'

let proof: { [name: string]: unknown }
let outcome: { [name: string]: unknown }
let promise: { [name: string]: unknown }
let views: { [name: string]: unknown }
beforeAll(async () => {
  const worker = await createEnclave('worker')
  const report = await worker.report(null)
  const receipts = [receiptOf(worker, { sequence: 0 }), receiptOf(worker, { sequence: 1 })]
  proof = JSON.parse(createFraudProof({ kind: 'chain_forked', report, receipts })) as typeof proof
  const response = utf8(answerText('stop'))
  outcome = JSON.parse(createFraudProof({ kind: 'outcome_contradicted', report, receipts: receipts.slice(0, 1), response })) as typeof proof
  const [first, second] = (await Promise.all([0, 1].map((place) => loggedReceipt(worker, place)))) as [Logged, Logged]
  const log = await createLog()
  log.leaves = [first.leaf, second.leaf]
  const shown = { range: await readLogRange(log.get), salt: null, receiptKey: first.key }
  const logged = { kind: 'promise_broken', report, receipts: [first.receipt], statements: [second.view], log: shown } as const
  promise = JSON.parse(createFraudProof(logged)) as typeof proof
  views = JSON.parse(createFraudProof({ kind: 'sequence_reused', report, receipts: [], statements: [first.view, second.view] })) as typeof proof
})

const receipts = (): unknown[] => proof.receipts as unknown[]
const withLog = (changes: object): { [name: string]: unknown } => ({ ...promise, log: { ...(promise.log as object), ...changes } })
const hash = 'ab'.repeat(32)

describe('fraud proofs: hostile input', () => {
  it('what is well-formed is read, and valid under the schema', () => {
    for (const document of [proof, outcome, promise, views, withLog({ before: { size: 3, roots: [hash, hash], salt: hash } })]) {
      expect(parseFraudProof(JSON.stringify(document, null, 2)).kind).toBe(document.kind)
      expect(complaints('fraud-proof', document)).toEqual([])
    }
  })

  it.each<[string, () => unknown, string, 'schema too' | 'not in the schema']>([
    ['the version before', () => ({ ...proof, version: 'veritee.fraud-proof.v1' }), 'fraud_proof_malformed', 'schema too'],
    ['an unknown kind', () => ({ ...proof, kind: 'rude' }), 'fraud_proof_malformed', 'schema too'],
    ['an unknown member', () => ({ ...proof, note: 1 }), 'fraud_proof_malformed', 'schema too'],
    ['a missing member', () => ({ ...proof, response_b64: undefined }), 'fraud_proof_malformed', 'schema too'],
    ['one receipt where two are needed', () => ({ ...proof, receipts: receipts().slice(1) }), 'fraud_proof_malformed', 'schema too'],
    ['two receipts where one is needed', () => ({ ...proof, kind: 'model_contradicted' }), 'fraud_proof_malformed', 'schema too'],
    ['three receipts', () => ({ ...proof, receipts: [...receipts(), receipts()[0]] }), 'fraud_proof_malformed', 'schema too'],
    ['no receipts', () => ({ ...proof, receipts: [] }), 'fraud_proof_malformed', 'schema too'],
    ['a receipt that is a text', () => ({ ...proof, receipts: ['{}', '{}'] }), 'fraud_proof_malformed', 'schema too'],
    ['a receipt without its members', () => ({ ...proof, receipts: [{}, {}] }), 'receipt_malformed', 'schema too'],
    ['a report that is a list', () => ({ ...proof, report: [] }), 'fraud_proof_malformed', 'schema too'],
    ['a report without its members', () => ({ ...proof, report: {} }), 'report_malformed', 'schema too'],
    ['a response where none belongs', () => ({ ...proof, response_b64: '' }), 'fraud_proof_malformed', 'schema too'],
    ['no response where one belongs', () => ({ ...outcome, response_b64: null }), 'fraud_proof_malformed', 'schema too'],
    ['a response that is no base64', () => ({ ...outcome, response_b64: 'A' }), 'malformed_encoding', 'schema too'],
    [
      'a receipt beyond its bound',
      () => ({ ...proof, receipts: [receipts()[0], { chat_id: 'x'.repeat(1 << 19) }] }),
      'fraud_proof_malformed',
      'schema too',
    ],
    ['a statement that is a receipt', () => ({ ...views, statements: [receipts()[0], receipts()[1]] }), 'audit_view_malformed', 'schema too'],
    [
      'three statements',
      () => ({ ...views, statements: [1, 2, 3].map(() => (views.statements as unknown[])[0]) }),
      'fraud_proof_malformed',
      'schema too',
    ],
    ['a statement too many', () => ({ ...proof, statements: (views.statements as unknown[]).slice(1) }), 'fraud_proof_malformed', 'schema too'],
    [
      'views where bytes are compared',
      () => ({ ...outcome, receipts: [], statements: (views.statements as unknown[]).slice(1) }),
      'fraud_proof_malformed',
      'schema too',
    ],
    ['views alone for a promise', () => ({ ...promise, receipts: [], statements: views.statements }), 'fraud_proof_malformed', 'schema too'],
    ['a log where none belongs', () => ({ ...proof, log: promise.log }), 'fraud_proof_malformed', 'schema too'],
    ['no log where one belongs', () => ({ ...promise, log: null }), 'fraud_proof_malformed', 'schema too'],
    ['an unknown member of the log', () => withLog({ url: '' }), 'fraud_proof_malformed', 'schema too'],
    ['leaves that are no hashes', () => withLog({ leaves_b64: 'AAAA' }), 'fraud_proof_malformed', 'not in the schema'],
    [
      'leaves before that do not fit their number',
      () => withLog({ before: { size: 4, roots: [hash, hash], salt: hash } }),
      'fraud_proof_malformed',
      'not in the schema',
    ],
    ['no leaves before, and a salt', () => withLog({ before: { size: 0, roots: [], salt: hash } }), 'fraud_proof_malformed', 'schema too'],
    ['a size beyond safe integers', () => withLog({ before: { size: 2 ** 53, roots: [hash], salt: hash } }), 'fraud_proof_malformed', 'schema too'],
    ['two receipts for a promise', () => ({ ...promise, receipts: receipts(), statements: [] }), 'fraud_proof_malformed', 'schema too'],
    ['a receipt without its key', () => withLog({ receipt_key: undefined }), 'fraud_proof_malformed', 'schema too'],
    ['a key that is none', () => withLog({ receipt_key: 'ab' }), 'fraud_proof_malformed', 'schema too'],
    ['a checkpoint beyond its bound', () => withLog({ checkpoint: 'x'.repeat((1 << 18) + 1) }), 'fraud_proof_malformed', 'schema too'],
    ['a list', () => [proof], 'fraud_proof_malformed', 'schema too'],
  ])('%s', async (_, make, code, inSchema) => {
    const document = make()
    expect(await refusal(() => parseFraudProof(JSON.stringify(document)))).toBe(code)
    if (inSchema === 'schema too') expect(complaints('fraud-proof', JSON.parse(JSON.stringify(document)))).not.toEqual([])
  })

  it.each<[string, () => string]>([
    ['no JSON', () => '{'],
    ['a member twice', () => JSON.stringify(proof).replace('{', '{"kind":"chain_forked",')],
    ['bytes after the end', () => `${JSON.stringify(proof)}x`],
    ['too long', () => `${JSON.stringify(proof)}${' '.repeat(maxFraudProofLength)}`],
    ['too deep', () => JSON.stringify({ ...proof, report: JSON.parse(`${'['.repeat(40)}${']'.repeat(40)}`) as unknown })],
  ])('%s', async (_, make) => {
    expect(await refusal(() => parseFraudProof(make()))).toMatch(/^(?:fraud_proof_malformed|malformed_json)$/)
  })
})
