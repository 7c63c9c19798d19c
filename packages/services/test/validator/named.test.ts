import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from 'veritee/bytes'
import type { Proof, ProofEvidence } from 'veritee/client'
import { fail } from 'veritee/errors'
import { createFraudProof, fraudDigest, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
import { parseReceipt, parseReport, sessionEvidence, verifyReport } from 'veritee/receipt'
import { signAuditRecord, verifyAuditRecord } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loggedReceipt } from '../../../veritee/test/fraud/logged.ts'
import {
  createEnclave,
  createOperator,
  judgedAt,
  modelEvent,
  nonceOf,
  type ReportChanges,
  sha,
  type TestEnclave,
  trust,
} from '../../../veritee/test/receipt/enclaves.ts'
import { makeScenario, plainAnswer, policyOf, requestText } from '../../../veritee/test/receipt/scenario.ts'
import { type AuditContext, type Audited, auditProbe } from '../../src/validator/audit/audit.ts'
import { namingOperators } from '../../src/validator/audit/naming.ts'
import type { Path } from '../../src/validator/audit/path.ts'
import { faultOf } from '../../src/validator/audit/reasons.ts'
import { signedFault } from '../../src/validator/audit/seen.ts'
import { NamedReports } from '../../src/validator/named-reports.ts'
import type { Probe } from '../../src/validator/probes/probe.ts'
import type { EpochStore } from '../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../src/validator/store/sqlite-store.ts'
import { fixedKey } from './keys.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-named-'))
const operator = createOperator()
const controllerOperator = 'c0'.repeat(32)
const nonce = nonceOf('controller challenge')
let store: EpochStore
let worker: TestEnclave
beforeAll(async () => {
  store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
  worker = await createEnclave('worker', { operator })
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true, force: true })
})

/** What a controller hands out: with the operator's signature, without it, or with another. */
type Copy = 'whole' | 'stripped' | 'spoiled'
async function copyOf(copy: Copy, enclave = worker, bound = nonce): Promise<string> {
  const changes: ReportChanges = copy === 'spoiled' ? { evidence: { operator_signature: '00'.repeat(64) } } : {}
  const document = JSON.parse(await enclave.report(bound, changes))
  if (copy === 'stripped') delete document.attestation.evidence.operator_signature
  return JSON.stringify(document)
}

async function contextOf(named: NamedReports | null): Promise<AuditContext> {
  return {
    network: 'test',
    salt: '5a'.repeat(32),
    validator: Buffer.from(fixedKey(1).publicKey).toString('hex'),
    epoch: 1,
    trust: await trust(),
    now: () => judgedAt,
    clockMs: () => 0,
    replay: null,
    findInLog: null,
    named,
    timeoutMs: 1000,
  }
}

/** One probe, answered by the worker, of which this path gives that copy of its report. */
async function audited(copy: Copy, named: NamedReports | null, direct: Path['known'] = null, enclave = worker): Promise<Audited> {
  const report = await copyOf(copy, enclave)
  const { records, service } = await makeScenario({ worker: enclave, session: { evidence: await sessionEvidence(report, nonce) } })
  const proof = { status: 'verified', outcome: 'complete' } as Proof
  const seen = {
    receipt: records.receipt,
    session: records.session?.text ?? null,
    workerReceipt: records.workerReceipt,
    worker: null,
    receiptKey: null,
  }
  const shown = direct === null ? { report: await copyOf('whole'), nonce } : { report, nonce }
  const evidence = {
    ...shown,
    requestBody: utf8(requestText),
    responseBody: utf8(plainAnswer),
    records: null,
    seen: direct === null ? seen : { ...seen, receipt: records.workerReceipt },
    failure: null,
  } as ProofEvidence
  const connection = {
    baseURL: 'http://test/v1',
    service: { reportText: shown.report, nonce, transport: { origin: 'http://test' }, report: service },
    fetch: async () => new Response(plainAnswer, { headers: { 'content-type': 'application/json' } }),
    proofOf: async () => proof,
  } as unknown as Path['connection']
  const operators = direct === null ? [controllerOperator] : []
  const path: Path = { connection, evidence: new WeakMap([[proof, evidence]]), operators, known: direct, apiKey: null }
  const probe = {
    index: 0,
    program: 'script',
    messages: [],
    options: { stream: false, max_tokens: 1 },
    account: 0,
    canary: null,
    order: null,
    seed: null,
  }
  const found = await auditProbe(await contextOf(named), path, 'demo-model', probe as unknown as Probe)
  // Whatever came of it, it is a record that readers of records take.
  await verifyAuditRecord(await signAuditRecord(found.record, fixedKey(1)))
  return found
}

describe('S17, S19: a controller that leaves the operator`s signature out of every copy of a report', () => {
  it('is charged itself, where nobody is known to have signed', async () => {
    const { record } = await audited('stripped', new NamedReports(store, 1))
    expect(record).toMatchObject({ verdict: 'unattributable', reason: 'attestation_unavailable', charged: 'controller', worker: null })
    expect((await audited('stripped', null)).record).toMatchObject({ worker: null, charged: 'controller' })
  })

  it('hides nobody whose signature was seen once, by any process, in an epoch before', async () => {
    expect((await audited('whole', new NamedReports(store, 1))).record.worker?.operator).toBe(operator.name)
    const { record } = await audited('stripped', new NamedReports(store, 2))
    expect(record).toMatchObject({ verdict: 'inconclusive', reason: 'replay_unavailable', charged: null, keyset: worker.digest })
    expect(record.worker?.operator).toBe(operator.name)
  })

  it('nor is a signature of another keyset, or a report that does not verify, a name', async () => {
    const other = await createEnclave('worker', { operator })
    const named = new NamedReports(store, 3)
    expect(await named.operatorOf(other.digest, await trust(), judgedAt)).toBeNull()
    for (const text of [await copyOf('spoiled', other), await copyOf('whole'), '{}']) {
      const lying = { keep: async () => text, fact: async () => text, epochs: async () => [1] }
      expect(await new NamedReports(lying, 1).operatorOf(other.digest, await trust(), judgedAt)).toBeNull()
    }
  })

  it('S17: a worker that is asked directly is charged for it, under the name by which it is known, also under new keys', async () => {
    const known = { worker: { operator: operator.name, platform: 'aa'.repeat(32), slot: 0 }, keyset: worker.digest }
    const renewed = await createEnclave('worker', { operator })
    const { record } = await audited('stripped', new NamedReports(store, 4), known, renewed)
    expect(record).toMatchObject({ verdict: 'unattributable', reason: 'attestation_unavailable', charged: 'worker', path: [], ...known })
  })

  it('one that spoils it delivers evidence that does not hold', () => {
    expect(faultOf(fail('operator_signature_invalid', ''))).toBe('evidence_malformed')
  })
})

describe('S17: a fraud proof over a report without the operator`s signature', () => {
  it('is made over one that has it, when the epoch is over, and that once', async () => {
    const [first, second] = [await loggedReceipt(worker, 0), await loggedReceipt(worker, 0, { answer: 'another' })]
    const text = createFraudProof({ kind: 'sequence_reused', report: await copyOf('stripped'), receipts: [first.receipt, second.receipt] })
    const context = { trust: await trust(), policy: policyOf(), at: judgedAt }
    const proven = await verifyFraudProof(parseFraudProof(text), context)
    expect(proven.accused.operatorKey).toBeNull()
    const digest = await fraudDigest(proven)
    const served = async (...copies: string[]) => ({
      store,
      epoch: 7,
      context,
      reports: {
        async *of(keyset: string) {
          expect(keyset).toBe(worker.digest)
          yield* copies
        },
      },
    })
    const unnamed = await namingOperators({ ...(await served(await copyOf('stripped'), '{')), epoch: 6 }, new Map([[digest, text]]))
    expect(unnamed.get(digest)).toBe(text)
    const stranger = await createEnclave('worker', { operator: createOperator() })
    const copies = ['{}', 'x', await copyOf('whole', stranger), await copyOf('spoiled'), await copyOf('stripped'), await copyOf('whole')]
    const named = (await namingOperators(await served(...copies), new Map([[digest, text]]))).get(digest) ?? ''
    const again = await verifyFraudProof(parseFraudProof(named), context)
    expect(again.accused).toMatchObject({ operatorKey: operator.name, keysetDigest: worker.digest })
    expect(await fraudDigest(again)).toBe(digest)
    // Another process, to which nobody serves it any more, publishes the same.
    expect((await namingOperators(await served(), new Map([[digest, text]]))).get(digest)).toBe(named)
  })

  it('S5: is left out where it proves nothing at the end of the epoch, and is over another report where one carries it', async () => {
    const [first, second] = [await loggedReceipt(worker, 0), await loggedReceipt(worker, 0, { answer: 'another' })]
    const whole = await copyOf('whole')
    const stale = JSON.parse(whole)
    stale.attestation.evidence.collateral.qe_identity_signature = '00'.repeat(64)
    const text = createFraudProof({ kind: 'sequence_reused', report: JSON.stringify(stale), receipts: [first.receipt, second.receipt] })
    const context = { trust: await trust(), policy: policyOf(), at: judgedAt }
    const reports = (copies: readonly string[]) => ({
      async *of(keyset: string) {
        expect(keyset).toBe(worker.digest)
        yield* copies
      },
    })
    const proofs = new Map([['about', text]])
    expect(await namingOperators({ store, epoch: 8, context, reports: reports(['x', JSON.stringify(stale)]) }, proofs)).toEqual(new Map())
    const carried = await namingOperators({ store, epoch: 9, context, reports: reports([await copyOf('stripped'), whole]) }, proofs)
    expect((await verifyFraudProof(parseFraudProof(carried.get('about') ?? ''), context)).accused.operatorKey).toBe(operator.name)
    // Under a manifest that takes no such worker any more.
    const { roles } = context.policy
    const policy = { ...context.policy, roles: { ...roles, worker: { ...roles.worker, operator: ['ab'.repeat(32)] } } } as typeof context.policy
    expect(await namingOperators({ store, epoch: 9, context: { ...context, policy }, reports: reports([]) }, proofs)).toEqual(new Map())
  })
})

describe('S23: the receipt for a request', () => {
  it('shows a fault where it names another model than was asked for, though it announces that too', async () => {
    const report = await verifyReport(parseReport(await copyOf('whole')), 'stated', await trust(), judgedAt)
    const faultFor = (asked: string, answered: string) => {
      const request = utf8(JSON.stringify({ model: asked, messages: [] }))
      const text = worker.receipt([
        { type: 'request.received', body_hash: sha(request) },
        { ...modelEvent, name: answered } as typeof modelEvent,
        { type: 'response.returned', body_hash: sha('answer') },
      ])
      return signedFault({ receipt: parseReceipt(text), worker: { report }, request })
    }
    expect(await faultFor('demo-model', 'demo-model')).toBeNull()
    expect(await faultFor('large-model', 'demo-model')).toBe('model_mismatch')
    expect(await faultFor('large-model', 'large-model')).toBe('model_mismatch')
  })
})
