import { beforeAll, describe, expect, it } from 'vitest'
import { createFraudProof, type FraudKind, fraudDigest, type ProvenFraud, parseFraudProof, verifyFraudProof } from '../../src/fraud/index.ts'
import { parseReceipt, receiptDigest } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, judgedAt, modelEvent, sha, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { headOf, type Logged, loggedReceipt } from './logged.ts'
import { policy } from './scenario.ts'

let worker: TestEnclave
let report: string
/** What an honest worker signs: each receipt names the one before. */
let honest: Logged[]
/** Another receipt in place 1, after the same one. */
let rival: Logged
let digests: string[]
beforeAll(async () => {
  worker = await createEnclave('worker')
  report = await worker.report(null)
  honest = []
  for (let place = 0; place < 4; place++) {
    const before = honest.at(-1)
    honest.push(await loggedReceipt(worker, place, { previous: before === undefined ? null : await digestOf(before) }))
  }
  digests = await Promise.all(honest.map(digestOf))
  rival = await loggedReceipt(worker, 1, { previous: digests[0] ?? null, answer: 'another' })
})

const digestOf = ({ receipt }: Logged): Promise<string> => receiptDigest(parseReceipt(receipt))
const at = (place: number): Logged => honest[place] as Logged

async function judge(kind: FraudKind, receipts: readonly string[], statements: readonly string[]): Promise<ProvenFraud> {
  const text = createFraudProof({ kind, report, receipts, statements })
  return verifyFraudProof(parseFraudProof(text), { trust: await trust(), policy, at: judgedAt })
}

describe('S5: what was signed for a log convicts as receipts do', () => {
  it('two views of one place, a view and a receipt, a receipt and a head that counts another one last', async () => {
    const head = await headOf(worker, 2, await digestOf(rival))
    for (const [receipts, statements] of [
      [[], [at(1).view, rival.view]],
      [[at(1).receipt], [rival.view]],
      [[at(1).receipt], [head]],
      [[], [at(1).view, head]],
      [[], [head, await headOf(worker, 2, digests[1] ?? null)]],
    ])
      expect((await judge('sequence_reused', receipts ?? [], statements ?? [])).contradiction).toContain('two receipts have the number 1')
  })

  it('a receipt that names another predecessor than the one there is', async () => {
    for (const [receipts, statements] of [
      [[rival.receipt, at(2).receipt], []],
      [[rival.receipt], [at(2).view]],
      [[], [rival.view, at(2).view]],
    ])
      expect((await judge('sequence_reused', receipts ?? [], statements ?? [])).contradiction).toContain('two receipts have the number 1')
  })

  it('two views after one predecessor, and a view over other weights', async () => {
    expect((await judge('chain_forked', [], [at(1).view, rival.view])).kind).toBe('chain_forked')
    const files = [{ name: 'demo.gguf', sha256: sha('other weights'), size: 7 }]
    const other = await loggedReceipt(worker, 0, { model: { ...modelEvent, files } })
    const proven = await judge('model_contradicted', [], [other.view])
    expect(proven.receipts).toEqual([await digestOf(other)])
  })

  it('is counted once, by receipt or by view', async () => {
    const one = await fraudDigest(await judge('sequence_reused', [at(1).receipt, rival.receipt], []))
    expect(await fraudDigest(await judge('sequence_reused', [rival.receipt], [at(1).view]))).toBe(one)
  })
})

describe('S5: nothing that an honest worker signed for a log convicts it', () => {
  it('no two of its receipts, views and heads, in any kind', async () => {
    const heads = await Promise.all([headOf(worker, 0, null), headOf(worker, 2, digests[1] ?? null), headOf(worker, 4, digests[3] ?? null)])
    const statements = [...honest.map(({ view }) => view), ...heads]
    const receipts = honest.map(({ receipt }) => receipt)
    for (const kind of ['sequence_reused', 'chain_forked'] as const) {
      for (const [i, a] of statements.entries())
        for (const b of statements.slice(i)) expect(await refusal(() => judge(kind, [], [a, b]))).toBe('fraud_not_shown')
      for (const a of receipts) for (const b of statements) expect(await refusal(() => judge(kind, [a], [b]))).toBe('fraud_not_shown')
    }
    for (const one of statements) expect(await refusal(() => judge('model_contradicted', [], [one]))).toBe('fraud_not_shown')
  })

  it('a statement of another keyset, and one that was changed', async () => {
    const other = await loggedReceipt(await createEnclave('worker'), 1)
    expect(await refusal(() => judge('sequence_reused', [at(1).receipt], [other.view]))).toBe('audit_view_keyset_mismatch')
    const stolen = other.view.replace(/"workload_keyset_digest":"[^"]*"/, `"workload_keyset_digest":"${worker.digest}"`)
    expect(await refusal(() => judge('sequence_reused', [at(1).receipt], [stolen]))).toBe('audit_view_signature_invalid')
    const changed = at(2).view.replace('"sequence":2', '"sequence":1')
    expect(await refusal(() => judge('sequence_reused', [at(1).receipt], [changed]))).toBe('audit_view_signature_invalid')
  })
})
