import { toHex, utf8 } from 'veritee/bytes'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLog, type Logged, loggedReceipt, type TestLog } from '../../../veritee/test/fraud/logged.ts'
import { createEnclave, createOperator, judgedAt, type TestEnclave, trust } from '../../../veritee/test/receipt/enclaves.ts'
import { policyOf } from '../../../veritee/test/receipt/scenario.ts'
import { type FoundFraud, findFraud } from '../../src/validator/audit/fraud.ts'
import type { OmissionLog } from '../../src/validator/audit/omission.ts'
import { auditOrganic, type OrganicContext } from '../../src/validator/organic/audit.ts'

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

  it('makes no stranger of its worker in audits of organic receipts, and neither does a report that does not verify', async () => {
    const { view, leaf } = receipts[1] as Logged
    const document = JSON.parse(report)
    delete document.attestation.evidence.operator_signature
    const stripped = JSON.stringify(document)
    const seconds = Math.floor(judgedAt.getTime() / 1000)
    const auditedWith = async (...reports: string[]): Promise<readonly unknown[]> => {
      const context = {
        network: 'net',
        salt: '00'.repeat(32),
        validator: '11'.repeat(32),
        epoch: 1,
        opens: seconds - 3600,
        closes: seconds + 1,
        trust: await trust(),
        policy: policyOf(),
        origin: 'log.example/receipts',
        contents: null,
        window: { bundle: async () => [view] } as unknown as OrganicContext['window'],
        reports: {
          async *of() {
            yield* reports
          },
        },
      }
      const { record } = await auditOrganic(context, 0, { index: 0, leaf: toHex(leaf) })
      return [record.verdict, record.reason, record.worker?.operator ?? null]
    }
    const nobody = ['unattributable', 'attestation_unavailable', null]
    expect(await auditedWith(stripped, report)).toEqual(['pass', null, operator.name])
    expect(await auditedWith('{}', report.replace(operatorSignature(), '00'.repeat(64)), report)).toEqual(['pass', null, operator.name])
    expect(await auditedWith(stripped)).toEqual(nobody)
    expect(await auditedWith('{}')).toEqual(nobody)
  })
})

const operatorSignature = (): string => JSON.parse(report).attestation.evidence.operator_signature

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
