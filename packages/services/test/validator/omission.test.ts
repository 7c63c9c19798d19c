import { toHex, utf8 } from 'veritee/bytes'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLog, type Logged, loggedReceipt, type TestLog } from '../../../veritee/test/fraud/logged.ts'
import { createEnclave, createOperator, judgedAt, type TestEnclave, trust } from '../../../veritee/test/receipt/enclaves.ts'
import { policyOf } from '../../../veritee/test/receipt/scenario.ts'
import { type FoundFraud, findFraud } from '../../src/validator/audit/fraud.ts'
import type { OmissionLog } from '../../src/validator/audit/omission.ts'

const operator = createOperator()
let worker: TestEnclave
let report: string
let log: TestLog
/** Behind the leaves, as a log gives them to validators. */
let lines: string[]
let receipts: Logged[]
beforeAll(async () => {
  worker = await createEnclave('worker', { operator })
  report = await worker.report(null)
  receipts = await Promise.all([0, 1, 2].map((place) => loggedReceipt(worker, place)))
})
beforeEach(async () => {
  log = await createLog()
  lines = []
})

function logs(...places: number[]): void {
  for (const { leaf, view } of places.map((place) => receipts[place] as Logged)) {
    log.leaves.push(leaf)
    lines.push(view)
  }
}

async function found(place: number, changes: Partial<OmissionLog> = {}): Promise<readonly FoundFraud[]> {
  const { receipt, key } = receipts[place] as Logged
  const evidence = {
    request: '',
    response: '',
    contentType: '',
    replay: null,
    report,
    workerReceipt: receipt,
    receiptKey: key === null ? null : toHex(key),
  }
  const from: OmissionLog = { get: log.get, views: async (bundle) => lines.slice(256 * bundle, 256 * bundle + 256), ...changes }
  return findFraud(evidence, [], { trust: await trust(), policy: policyOf({ log: log.policy }), at: judgedAt }, from)
}

describe('S5: an organic receipt whose views contradict each other', () => {
  const organic = async (view: string, beside: readonly string[]): Promise<readonly FoundFraud[]> => {
    const evidence = { request: '', response: '', contentType: '', replay: null, report, workerReceipt: null, receiptKey: null, view, beside }
    return findFraud(evidence, [], { trust: await trust(), policy: policyOf(), at: judgedAt }, null)
  }

  it('convicts by both, and by none alone', async () => {
    const [first, rival] = [receipts[1] as Logged, await loggedReceipt(worker, 1, { answer: 'another' })]
    const proofs = await organic(first.view, [rival.view])
    expect(proofs.map(({ proven }) => proven.kind).sort()).toEqual(['chain_forked', 'sequence_reused'])
    expect(await organic(first.view, [])).toEqual([])
    expect(await organic(first.view, [first.view])).toEqual([])
  })
})

describe('S17: a report whose operator signature was left out on its way', () => {
  it('lets no operator off whom another report of the keyset names, and accuses none where no report does', async () => {
    const [first, second] = [receipts[1] as Logged, await loggedReceipt(worker, 1, { answer: 'another' })]
    const document = JSON.parse(report)
    delete document.attestation.evidence.operator_signature
    const stripped = JSON.stringify(document)
    const evidence = {
      request: '',
      response: '',
      contentType: '',
      replay: null,
      report: stripped,
      workerReceipt: second.receipt,
      receiptKey: null,
    }
    const rival = { keyset: worker.digest, sequence: 1, previous: null, digest: '', receipt: first.receipt }
    const accusedBy = async (other: string): Promise<readonly (string | null)[]> => {
      const proofs = await findFraud(evidence, [{ ...rival, report: other }], { trust: await trust(), policy: policyOf(), at: judgedAt }, null)
      return proofs.map(({ proven }) => proven.accused.operatorKey)
    }
    expect(await accusedBy(report)).toEqual([operator.name, operator.name])
    expect(await accusedBy(stripped)).toEqual([null, null])
  })
})

describe('S21: a receipt that its log does not have', () => {
  it('convicts its operator where a later one of the same keyset is there', async () => {
    logs(0, 2)
    const proofs = await found(1)
    expect(proofs.map(({ proven }) => [proven.kind, proven.accused.operatorKey])).toEqual([['promise_broken', operator.name]])
  })

  it('S5: nobody, where it is there after all, where nothing later is, and before its time', async () => {
    logs(0, 1, 2)
    expect(await found(1)).toEqual([])
    expect(await found(2)).toEqual([])
    log.leaves = []
    lines = []
    logs(0, 2)
    log.time = 1
    expect(await found(1)).toEqual([])
  })

  it('S5: nobody, where the log gives no views, or shows what does not hold', async () => {
    logs(0, 2)
    expect(await found(1, { views: async () => null })).toEqual([])
    expect(await found(1, { views: async () => ['{'.repeat(8) + worker.digest] })).toEqual([])
    expect(await found(1, { get: async (path) => (path === 'checkpoint' ? log.get(path) : utf8('x'.repeat(64))) })).toEqual([])
    expect(await found(1, { get: async () => null })).toEqual([])
  })
})
