import { fromHex, type Json, jcs, leafHash, merkleRoot, toBase64, utf8 } from '../../src/bytes/index.ts'
import { VeriteeError } from '../../src/errors.ts'
import { createFraudProof, type FraudEvidence, fraudDigest, parseFraudProof, verifyFraudProof } from '../../src/fraud/index.ts'
import { anchoredNonce, readLogRange } from '../../src/log/index.ts'
import type { ReceiptEvent } from '../../src/receipt/index.ts'
import { createEnclave, createOperator, judgedAt, machine, modelEvent, nonceOf, seconds, sha, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { createLog, headOf, loggedReceipt, origin, promisedBy } from './logged.ts'
import { answerText, receiptOf } from './scenario.ts'

/** Makes spec/vectors/fraud-proof.json anew, under keys that nobody has afterwards: node tools/run.mjs --conditions=@veritee/source packages/veritee/test/fraud/make-vectors.ts */

const worker = await createEnclave('worker', { operator: createOperator() })
const other = await createEnclave('worker')
const report = await worker.report(null)
const log = await createLog()
const policy = policyOf({ log: log.policy })
const otherWeights = { ...modelEvent, files: [{ name: 'demo.gguf', sha256: sha('other weights'), size: 7 }] } as ReceiptEvent
const longer = answerText('length')
const digestOf = (receipt: string): string => sha(jcs(JSON.parse(receipt) as Json))
const inOrder = [receiptOf(worker, { sequence: 1 })]
inOrder.push(receiptOf(worker, { sequence: 2, previous: digestOf(inOrder[0] ?? '') }))

const salt = fromHex(nonceOf('salt'))
log.leaves = await Promise.all(['a', 'b', 'c'].map(async (name) => leafHash(utf8(name))))
const nonce = await anchoredNonce({ checkpoint: { origin, size: 3, root: await merkleRoot(log.leaves) }, salt })
const [promised, later, unlogged] = await Promise.all([
  loggedReceipt(worker, 1, { nonce, previous: digestOf(inOrder[0] ?? '') }),
  loggedReceipt(worker, 2, { previous: sha('receipt 1') }),
  loggedReceipt(worker, 3),
])
log.leaves.push(later.leaf, await leafHash(utf8('more')))
const whole = await readLogRange(log.get)
log.time = promisedBy
const early = await readLogRange(log.get)

const evidence: readonly (readonly [string, Omit<FraudEvidence, 'report'>])[] = [
  [
    'two receipts with one number',
    { kind: 'sequence_reused', receipts: [receiptOf(worker, { sequence: 4 }), receiptOf(worker, { sequence: 4, answer: longer })] },
  ],
  [
    'a receipt, and the audit view of another one with its number',
    { kind: 'sequence_reused', receipts: [receiptOf(worker, { sequence: 2 })], statements: [later.view] },
  ],
  [
    'an audit view, and a chain head that counts another receipt last',
    { kind: 'sequence_reused', receipts: [], statements: [later.view, await headOf(worker, 3, sha('another'))] },
  ],
  ['a receipt that names another one before it', { kind: 'sequence_reused', receipts: [promised.receipt, receiptOf(worker, { sequence: 2 })] }],
  [
    'two receipts that follow one',
    { kind: 'chain_forked', receipts: [receiptOf(worker, { sequence: 4 }), receiptOf(worker, { sequence: 5, previous: sha('receipt 3') })] },
  ],
  ['other weights than announced', { kind: 'model_contradicted', receipts: [receiptOf(worker, { model: otherWeights })] }],
  [
    'other weights than announced, by the audit view',
    { kind: 'model_contradicted', receipts: [], statements: [(await loggedReceipt(worker, 6, { model: otherWeights })).view] },
  ],
  [
    'complete, over an answer that was cut',
    { kind: 'outcome_contradicted', receipts: [receiptOf(worker, { answer: longer })], response: utf8(longer) },
  ],
  [
    'left out of the log, by all of its leaves',
    { kind: 'promise_broken', receipts: [promised.receipt], statements: [later.view], log: { range: whole, salt: null, receiptKey: promised.key } },
  ],
  [
    'left out of the log, by the leaves since its nonce',
    {
      kind: 'promise_broken',
      receipts: [promised.receipt],
      statements: [later.view],
      log: { range: { ...whole, ...(await since(3)) }, salt, receiptKey: promised.key },
    },
  ],
  ['one receipt twice', { kind: 'sequence_reused', receipts: [receiptOf(worker), receiptOf(worker)] }],
  ['two receipts in order', { kind: 'sequence_reused', receipts: inOrder }],
  ['a receipt and its audit view', { kind: 'sequence_reused', receipts: [later.receipt], statements: [later.view] }],
  ['the announced weights', { kind: 'model_contradicted', receipts: [receiptOf(worker)] }],
  ['bytes that the receipt is not over', { kind: 'outcome_contradicted', receipts: [receiptOf(worker)], response: utf8(longer) }],
  [
    'a receipt signed by somebody else',
    { kind: 'sequence_reused', receipts: [receiptOf(worker), receiptOf(other, { changes: { workload_keyset_digest: worker.digest } })] },
  ],
  ['a receipt that was changed', { kind: 'model_contradicted', receipts: [receiptOf(worker).replace(sha('weights'), sha('other weights'))] }],
  [
    'a promise that is not due by the time of the witnesses',
    { kind: 'promise_broken', receipts: [promised.receipt], statements: [later.view], log: { range: early, salt: null, receiptKey: promised.key } },
  ],
  [
    'a log that has none of both',
    {
      kind: 'promise_broken',
      receipts: [promised.receipt],
      statements: [unlogged.view],
      log: { range: whole, salt: null, receiptKey: promised.key },
    },
  ],
  [
    'another key than the receipt commits to',
    { kind: 'promise_broken', receipts: [promised.receipt], statements: [later.view], log: { range: whole, salt: null, receiptKey: later.key } },
  ],
  [
    'leaves left out behind another nonce',
    { kind: 'promise_broken', receipts: [promised.receipt], statements: [later.view], log: { receiptKey: promised.key, ...(await behind()) } },
  ],
]

async function since(from: number): Promise<Pick<typeof whole, 'before' | 'leaves' | 'checkpoint'>> {
  log.time = promisedBy + 60
  return readLogRange(log.get, from)
}

async function behind(): Promise<{ range: typeof whole; salt: Uint8Array }> {
  return { range: await since(4), salt }
}

const vectors = []
for (const [name, one] of evidence) {
  const text = createFraudProof({ ...one, report })
  const { version: _, report: __, ...proof } = JSON.parse(text) as { [name: string]: unknown }
  try {
    const proven = await verifyFraudProof(parseFraudProof(text), { trust: await trust(), policy, at: judgedAt })
    vectors.push({ name, proof, proven: true, contradiction: proven.contradiction, digest: await fraudDigest(proven) })
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    vectors.push({ name, proof, proven: false, code: error.code })
  }
}
const note =
  'Made once on a simulated platform and with a simulated log, whose keys were not kept. Each proof is {version: "veritee.fraud-proof.v2", report, ...proof}.'
const root = toBase64((await machine()).root)
process.stdout.write(
  `${JSON.stringify({ note, at: seconds(judgedAt), root_b64: root, policy, report: JSON.parse(report) as object, vectors }, null, 2)}\n`,
)
