import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { fromHex, leafHash, merkleRoot, utf8 } from '../../src/bytes/index.ts'
import { createFraudProof, type FraudEvidence, parseFraudProof, verifyFraudProof } from '../../src/fraud/index.ts'
import { anchoredNonce, readLogRange } from '../../src/log/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, createOperator, judgedAt, nonceOf, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { createLog, headOf, loggedReceipt, origin } from './logged.ts'
import { answerText, receiptOf } from './scenario.ts'

/** Every part of a proof that something signed, hashed or committed to: where any of it is changed, nobody is convicted. */

type Tree = { [name: string]: Tree } & Tree[]
const signedParts = [
  ['receipts'],
  ['statements'],
  ['response_b64'],
  ['log'],
  ['report', 'workload_keyset_digest'],
  ['report', 'attestation', 'workload_keyset'],
  ['report', 'attestation', 'report_data'],
  ['report', 'attestation', 'evidence', 'descriptor'],
  ['report', 'attestation', 'evidence', 'nonce'],
  ['report', 'attestation', 'evidence', 'operator_signature'],
]
/** Base64 digits of the header and the report body of the quote, which its signature is over. */
const quoteDigits = ((48 + 384) / 3) * 4

const proofs = new Map<string, string>()
let policy: Policy
beforeAll(async () => {
  const worker: TestEnclave = await createEnclave('worker', { operator: createOperator() })
  const report = await worker.report(nonceOf('a nonce'))
  const log = await createLog()
  policy = policyOf({ log: log.policy })
  const salt = fromHex(nonceOf('salt'))
  log.leaves = await Promise.all(['a', 'b', 'c'].map(async (name) => leafHash(utf8(name))))
  const nonce = await anchoredNonce({ checkpoint: { origin, size: 3, root: await merkleRoot(log.leaves) }, salt })
  const [promised, later] = await Promise.all([loggedReceipt(worker, 1, { nonce }), loggedReceipt(worker, 2)])
  log.leaves.push(later.leaf, await leafHash(utf8('more')))
  const longer = answerText('length')
  const made: FraudEvidence[] = [
    { kind: 'sequence_reused', report, receipts: [receiptOf(worker, { sequence: 4 }), receiptOf(worker, { sequence: 4, answer: longer })] },
    { kind: 'sequence_reused', report, receipts: [], statements: [later.view, await headOf(worker, 2, nonceOf('x').replace(/^/, 'sha256:'))] },
    { kind: 'outcome_contradicted', report, receipts: [receiptOf(worker, { answer: longer })], response: utf8(longer) },
    {
      kind: 'promise_broken',
      report,
      receipts: [promised.receipt],
      statements: [later.view],
      log: { range: await readLogRange(log.get, 3), salt, receiptKey: promised.key },
    },
    {
      kind: 'promise_broken',
      report,
      receipts: [promised.receipt],
      statements: [later.view],
      log: { range: await readLogRange(log.get), salt: null, receiptKey: promised.key },
    },
  ]
  for (const [i, evidence] of made.entries()) proofs.set(`${i} ${evidence.kind}`, createFraudProof(evidence))
})

const judge = async (text: string): Promise<unknown> => verifyFraudProof(parseFraudProof(text), { trust: await trust(), policy, at: judgedAt })

/** Where the texts and numbers of these parts are. */
function scalars(document: Tree): string[][] {
  const found: string[][] = []
  const walk = (value: unknown, path: string[]): void => {
    if (typeof value === 'string' || typeof value === 'number') found.push(path)
    else if (value !== null && typeof value === 'object') for (const [name, item] of Object.entries(value)) walk(item, [...path, name])
  }
  for (const path of signedParts) walk(valueAt(document, path), path)
  return found
}

const valueAt = (document: Tree, path: readonly string[]): unknown => path.reduce<Tree | undefined>((node, name) => node?.[name], document)

function changed(text: string, path: readonly string[], at: number, by: string): string {
  const document = JSON.parse(text) as Tree
  const holder = valueAt(document, path.slice(0, -1)) as { [name: string]: unknown }
  const last = path.at(-1) ?? ''
  const value = holder[last] as string | number
  const place = typeof value === 'string' && value.length > 0 ? at % value.length : 0
  holder[last] = typeof value === 'number' ? value + 1 + at : value.slice(0, place) + by + value.slice(place + 1)
  return holder[last] === value ? text : JSON.stringify(document)
}

describe('S5: any changed byte of what was signed convicts nobody', () => {
  it.each(['0 sequence_reused', '1 sequence_reused', '2 outcome_contradicted', '3 promise_broken', '4 promise_broken'])('%s', async (name) => {
    const text = proofs.get(name) ?? ''
    await judge(text)
    const paths = scalars(JSON.parse(text) as Tree)
    let tried = 0
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...paths),
        fc.nat({ max: 100_000 }),
        fc.constantFrom(...'0123456789abcdefABxyz+/= \n'),
        async (path, at, by) => {
          const other = changed(text, path, at, by)
          if (other === text) return
          tried++
          expect(await refusal(() => judge(other)), path.join('.')).not.toBe('accepted')
        },
      ),
      { numRuns: 400 },
    )
    expect(tried).toBeGreaterThan(300)
  })

  it('nor does any changed byte of the quote, as far as its signature is over it', async () => {
    const text = proofs.get('0 sequence_reused') ?? ''
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: quoteDigits - 1 }), fc.constantFrom(...'ABCabc019+/'), async (at, by) => {
        const other = changed(text, ['report', 'attestation', 'evidence', 'quote_b64'], at, by)
        if (other !== text) expect(await refusal(() => judge(other))).not.toBe('accepted')
      }),
      { numRuns: 200 },
    )
  })
})
