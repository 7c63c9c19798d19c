import { beforeAll, describe, expect, it } from 'vitest'
import { intelSgxRootCa } from '../../src/attestation/index.ts'
import { createSimPlatform } from '../../src/attestation/sim/index.ts'
import { utf8 } from '../../src/bytes/index.ts'
import type { EvidencePolicy } from '../../src/policy/index.ts'
import { parseReport, type ReceiptEvent, sessionEvidence, verifyExchange, verifyReport, WorkerFault } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import {
  createEnclave,
  createOperator,
  demoModel,
  judgedAt,
  measured,
  modelEvent,
  nonceOf,
  resigned,
  servedAt,
  sha,
  start,
  trust,
} from './enclaves.ts'
import { clientNonce, makeScenario, plainAnswer, policyOf, requestText, type Scenario, sessionOf, verifyScenario, type Wishes } from './scenario.ts'

let scenario: Scenario
beforeAll(async () => {
  scenario = await makeScenario()
})

type Changes = Parameters<typeof verifyScenario>[1]
const outcome = (changes: Changes = {}, of: Scenario = scenario): Promise<string> => refusal(() => verifyScenario(of, changes))
const made = async (wishes: Wishes, changes: Changes = {}): Promise<string> => outcome(changes, await makeScenario(wishes))
/** Who is blamed, and for what. */
async function blame(run: () => Promise<unknown>): Promise<readonly [string, string | null]> {
  try {
    await run()
    return ['accepted', null]
  } catch (error) {
    if (error instanceof WorkerFault) return [error.code, error.worker]
    return [await refusal(() => Promise.reject(error)), null]
  }
}
const replaced =
  (type: ReceiptEvent['type'], event: ReceiptEvent | null) =>
  (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] =>
    events.flatMap((old) => (old.type === type ? (event === null ? [] : [event]) : [old]))

describe('an exchange through a controller', () => {
  it('verifies end to end, and says what ran where', async () => {
    const verified = await verifyScenario(scenario)
    expect(verified).toMatchObject({ outcome: 'verified', simulated: true, model: { name: 'demo-model' } })
    expect(verified.worker?.report.keysetDigest).toBe(scenario.worker.digest)
    expect(verified.session?.id).toBe(scenario.records.session?.id)
    expect(verified.checks.map(({ id, status }) => `${id} ${status}`)).toEqual([
      'receipt pass',
      'session pass',
      'worker.evidence pass',
      'worker.receipt pass',
      'model pass',
    ])
  })
  it("the worker's evidence is not fresh: the controller drew its nonce, and the checks say so", async () => {
    const { worker } = await verifyScenario(scenario)
    expect(worker?.report.fresh).toBe(false)
    expect(worker?.verdict.checks.find(({ id }) => id === 'report.nonce')?.status).toBe('waived')
  })
  it('a response byte changed', async () => {
    expect(await outcome({ exchange: { responseHash: sha(plainAnswer.replace('1', '2')) } })).toBe('receipt_response_mismatch')
  })
  it('a request byte changed', async () => {
    expect(await outcome({ exchange: { requestBody: utf8(requestText.replace('[]', '[ ]')) } })).toBe('receipt_request_mismatch')
  })
  it('S10: another nonce: the receipt of an earlier, equal request', async () => {
    expect(await outcome({ exchange: { clientNonce: nonceOf('other') } })).toBe('receipt_nonce_mismatch')
  })
  it('a field of either receipt changed', async () => {
    const { receipt, workerReceipt } = scenario.records
    expect(await outcome({ records: { receipt: receipt.replace('"model":"demo-model"', '"model":"big-model"') } })).toBe('receipt_signature_invalid')
    const edited = (workerReceipt ?? '').replace('"chatcmpl-1"', '"chatcmpl-2"')
    expect(await outcome({ records: { workerReceipt: edited } })).toBe('receipt_upstream_mismatch')
  })
  it('S5: a foreign key under either receipt, and it is held against nobody', async () => {
    const { privateKey } = (await import('node:crypto')).generateKeyPairSync('ed25519')
    expect(await outcome({ records: { receipt: resigned(scenario.records.receipt, privateKey, () => undefined) } })).toBe('receipt_signature_invalid')
    const stranger = await createEnclave('worker')
    const foreign = await makeScenario({ workerSigner: stranger, workerReceipt: { workload_keyset_digest: scenario.worker.digest } })
    expect(await blame(() => verifyScenario(foreign))).toEqual(['receipt_signature_invalid', null])
    const named = await makeScenario({ workerReceipt: { key_id: 'receipt-9' } })
    expect(await blame(() => verifyScenario(named))).toEqual(['receipt_key_unknown', null])
  })
  it('a receipt of another keyset of the same program', async () => {
    expect(await made({ controllerReceipt: { workload_keyset_digest: sha('old keyset') } })).toBe('receipt_keyset_mismatch')
    expect(await made({ workerReceipt: { workload_keyset_digest: sha('old keyset') } })).toBe('receipt_keyset_mismatch')
  })
})

describe('the worker’s receipt', () => {
  it('of another request, though the controller cites it', async () => {
    const other: ReceiptEvent = { type: 'request.received', body_hash: sha('another prompt') }
    expect(await made({ workerEvents: replaced('request.received', other) })).toBe('receipt_request_mismatch')
  })
  it('of another answer', async () => {
    expect(await made({ workerEvents: replaced('response.returned', { type: 'response.returned', body_hash: sha('other') }) })).toBe(
      'receipt_response_mismatch',
    )
  })
  it('S10: without this request’s nonce', async () => {
    expect(await made({ workerEvents: replaced('veritee.request', { type: 'veritee.request', client_nonce: nonceOf('x') }) })).toBe(
      'receipt_nonce_mismatch',
    )
  })
  it('that is not the one the controller cites', async () => {
    const other = scenario.worker.receipt([
      { type: 'request.received', body_hash: sha('x') },
      { type: 'response.returned', body_hash: sha('y') },
    ])
    expect(await outcome({ records: { workerReceipt: other } })).toBe('receipt_upstream_mismatch')
    expect(await outcome({ records: { workerReceipt: null } })).toBe('receipt_missing')
    expect(await outcome({ records: { workerReceipt: '{}' } })).toBe('receipt_malformed')
  })
  it.each(['mismatch', 'absent'] as const)('S10: that the controller itself calls %s', async (result) => {
    const event: ReceiptEvent = { type: 'veritee.upstream_receipt', digest: null, result, reason: 'it says' }
    expect(await made({ controllerEvents: replaced('veritee.upstream_receipt', event) })).toBe('receipt_upstream_mismatch')
  })
  it('S10: that the controller does not mention', async () => {
    expect(await made({ controllerEvents: replaced('veritee.upstream_receipt', null) })).toBe('receipt_upstream_mismatch')
  })
  it('S10: a forwarded hash that cannot be recomputed from the bytes sent, or is not stated', async () => {
    const rewritten: ReceiptEvent = { type: 'request.forwarded', body_hash: sha('a prompt with an addition') }
    const both = { workerEvents: replaced('request.received', { type: 'request.received', body_hash: rewritten.body_hash }) }
    expect(await made({ controllerEvents: replaced('request.forwarded', rewritten), ...both })).toBe('receipt_request_mismatch')
    expect(await made({ controllerEvents: replaced('request.forwarded', null) })).toBe('receipt_request_mismatch')
  })
})

describe('the session', () => {
  it('missing, or another than the receipt cites', async () => {
    const other = await sessionOf(scenario.worker, { upstream_name: 'other' })
    expect(await outcome({ records: { session: null } })).toBe('session_mismatch')
    const id = scenario.records.session?.id ?? ''
    expect(await outcome({ records: { session: { id: nonceOf('x'), text: JSON.stringify(scenario.sessionDocument) } } })).toBe('session_mismatch')
    expect(await outcome({ records: { session: { id, text: JSON.stringify(other) } } })).toBe('session_mismatch')
  })
  it('with a keyset or channel that its evidence does not bind', async () => {
    expect(await made({ session: { identity: { workload_keyset_digest: sha('x') } } })).toBe('session_mismatch')
    const binding = { type: 'tls_spki_sha256' as const, origin: 'https://127.0.0.1:1', spki_sha256: nonceOf('another key') }
    expect(await made({ session: { channel_binding: [binding] } })).toBe('session_mismatch')
    expect(await made({ session: { channel_binding: [...scenario.sessionDocument.channel_binding, binding] } })).toBe('session_mismatch')
    expect(await made({ session: { channel_binding: [] } })).toBe('session_mismatch')
  })
  it.each([
    ['before it began', { established_at: servedAt + 1 }, 'session_mismatch'],
    ['in its first second', { established_at: servedAt }, 'accepted'],
    ['in its last second', { expires_at: servedAt + 1 }, 'accepted'],
    ['when it ended', { expires_at: servedAt }, 'session_mismatch'],
  ])('served %s', async (_, session, expected) => {
    expect(await made({ session })).toBe(expected)
  })
  it('evidence over another nonce than it says, or over none', async () => {
    const { worker } = scenario
    const report = await worker.report(nonceOf('one'))
    expect(await made({ session: { evidence: await sessionEvidence(report, nonceOf('two')) } })).toBe('session_mismatch')
    const lying = report.replaceAll(nonceOf('one'), nonceOf('two'))
    expect(await made({ session: { evidence: await sessionEvidence(lying, nonceOf('two')) } })).toBe('report_nonce_mismatch')
  })
})

describe('what the controller says of the serving', () => {
  const failed: ReceiptEvent = { type: 'upstream.verified', result: 'failed', required: false, model_id: 'm', reason: 'busy' }
  it('served unverified, or does not say', async () => {
    expect(await made({ controllerEvents: replaced('upstream.verified', failed) })).toBe('policy_receipt')
    expect(await made({ controllerEvents: replaced('upstream.verified', null) })).toBe('policy_receipt')
  })
  it('verified as best effort is informational', async () => {
    const of = await makeScenario()
    const [event] = JSON.parse(of.records.receipt).event_log.filter(({ type }: ReceiptEvent) => type === 'upstream.verified')
    expect(await made({ controllerEvents: replaced('upstream.verified', { ...event, required: false }) })).toBe('policy_receipt')
  })
  it('an attempt that failed before the one that served does not matter', async () => {
    const earlier: ReceiptEvent = { ...failed, required: true }
    const before = (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] => events.toSpliced(1, 0, earlier)
    expect(await made({ controllerEvents: before })).toBe('accepted')
  })
})

describe('the worker under the policy', () => {
  const rejected = (worker: Partial<EvidencePolicy>, of = scenario): Promise<readonly [string, string | null]> =>
    blame(() => verifyScenario(of, { policy: policyOf(worker) }))
  it.each<[string, Partial<EvidencePolicy>, string]>([
    ['other weights than listed', { models: { 'demo-model': [sha('other')] } }, 'policy_models'],
    ['a model that is not listed', { models: { 'big-model': [sha('weights')] } }, 'policy_models'],
    ['more weight files than listed', { models: { 'demo-model': [sha('weights'), sha('weights')] } }, 'policy_models'],
    ['another program', { identity: [{ mrenclave: measured('other').mrenclave }] }, 'policy_identity'],
    ['another engine', { engine: [{ build: sha('other'), cpuVariant: 'any' }] }, 'policy_engine'],
    ['another CPU variant', { engine: [{ build: sha('build'), cpuVariant: 'x86-64-v4' }] }, 'policy_engine'],
    ['no operator that is listed', { operator: ['00'.repeat(32)] }, 'policy_operator'],
    ['simulated hardware', { simulated: 'refuse' }, 'policy_simulated'],
    ['TDX only', { tee: ['tdx'] }, 'policy_tee'],
  ])('S15, S23: %s names the worker', async (_, worker, code) => {
    expect(await rejected(worker)).toEqual([code, scenario.worker.digest])
  })
  it.each<[string, Partial<EvidencePolicy>, string]>([
    ['collateral that is old', { maxCollateralAge: 60 }, 'policy_collateral_age'],
    [
      'an old evaluation',
      { tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 21, gracePeriod: 0 } },
      'policy_evaluation_number',
    ],
    [
      'a TCB status',
      { tcb: { statuses: ['SWHardeningNeeded'], advisories: [], minTcbEvaluationDataNumber: 'any', gracePeriod: 0 } },
      'policy_tcb_status',
    ],
    ['an attestation that is old', { maxAttestationAge: 60 }, 'policy_attestation_age'],
  ])('S5, S19: %s is the doing of whoever chose collateral and time, and is held against nobody', async (_, worker, code) => {
    expect(await rejected(worker)).toEqual([code, null])
  })
  it('S17, S19: an operator`s signature that is not there may have been left out on its way, and is held against nobody', async () => {
    const operator = createOperator()
    const worker = await createEnclave('worker', { operator })
    const of = await makeScenario({ worker })
    expect(await blame(() => verifyScenario(of, { policy: policyOf({ operator: [operator.name] }) }))).toEqual(['accepted', null])
    const document = JSON.parse(await worker.report(nonceOf('controller challenge')))
    delete document.attestation.evidence.operator_signature
    const evidence = await sessionEvidence(JSON.stringify(document), nonceOf('controller challenge'))
    const stripped = await makeScenario({ worker, session: { evidence } })
    expect(await rejected({ operator: [operator.name] }, stripped)).toEqual(['policy_operator_unsigned', null])
  })
  it('S7: evidence of one role never satisfies the policy of another', async () => {
    const posing = await createEnclave('controller', { measured: measured('worker'), descriptor: { models: [demoModel] } })
    expect(await rejected({}, await makeScenario({ worker: posing }))).toEqual(['policy_role', posing.digest])
  })
  it('a debug worker', async () => {
    const debug = await createEnclave('worker', { measured: { ...measured('worker'), debug: true } })
    expect(await rejected({}, await makeScenario({ worker: debug }))).toEqual(['policy_debug', debug.digest])
  })
  it('S15: a simulator whose root is not trusted, whatever else is', async () => {
    const elsewhere = await createEnclave('worker', { platform: await createSimPlatform({ at: start }) })
    expect(await blame(async () => verifyScenario(await makeScenario({ worker: elsewhere })))).toEqual(['chain_untrusted', null])
    const { exchange, records, service } = scenario
    const run = (): Promise<unknown> => verifyExchange(exchange, records, service, policyOf(), { roots: [intelSgxRootCa] }, judgedAt)
    expect(await refusal(run)).toBe('chain_untrusted')
  })
  it('a policy without a section for workers is refused', async () => {
    const { worker: _, ...roles } = policyOf().roles
    expect(await outcome({ policy: { version: 'veritee.policy.v1', roles } })).toBe('policy_role_missing')
  })
  it('a worker whose keyset has ended', async () => {
    expect(await outcome({ at: new Date(start.getTime() + 86_400_000) })).toBe('keyset_expired')
  })
})

describe('the weights that ran', () => {
  it.each<[string, ReceiptEvent | null]>([
    ['none named', null],
    ['another file', { ...modelEvent, files: [{ ...demoModel.files[0], sha256: sha('cheap') }] } as ReceiptEvent],
    ['another size', { ...modelEvent, files: [{ ...demoModel.files[0], size: 8 }] } as ReceiptEvent],
    ['a further file', { ...modelEvent, files: [...demoModel.files, ...demoModel.files] } as ReceiptEvent],
    ['no files', { ...modelEvent, files: [] } as ReceiptEvent],
    ['another name', { ...modelEvent, name: 'cheap-model' } as ReceiptEvent],
    ['a name of the object prototype', { ...modelEvent, name: 'constructor' } as ReceiptEvent],
    ['another template', { ...modelEvent, chat_template_digest: null } as ReceiptEvent],
    ['sealed where the quote says plain', { ...modelEvent, sealed: true } as ReceiptEvent],
    ['weights that nobody hashed', { ...modelEvent, provenance: 'provider_asserted' } as ReceiptEvent],
  ])('%s: the worker signed it, so it is held against the worker', async (_, event) => {
    const of = await makeScenario({ workerEvents: replaced('veritee.model', event) })
    expect(await blame(() => verifyScenario(of))).toEqual(['policy_models', scenario.worker.digest])
  })
  it('bound and signed, but not listed, or not the one that was asked for', async () => {
    const cheap = { ...demoModel, name: 'cheap-model' }
    const worker = await createEnclave('worker', { descriptor: { models: [cheap] } })
    const of = await makeScenario({ worker, workerEvents: replaced('veritee.model', { ...modelEvent, name: 'cheap-model' } as ReceiptEvent) })
    expect(await blame(() => verifyScenario(of))).toEqual(['policy_models', worker.digest])
    expect(await blame(() => verifyScenario(of, { policy: policyOf({ models: 'any' }) }))).toEqual(['receipt_request_mismatch', worker.digest])
    const listed = { 'demo-model': demoModel.files.map(({ sha256 }) => sha256), 'cheap-model': cheap.files.map(({ sha256 }) => sha256) }
    expect(await blame(() => verifyScenario(of, { policy: policyOf({ models: listed }) }))).toEqual(['receipt_request_mismatch', worker.digest])
  })
})

describe('a direct service', () => {
  const direct = async (changes: Changes = {}, event: ReceiptEvent | null = modelEvent): Promise<string> => {
    const { worker } = scenario
    const nonce = nonceOf('direct')
    const service = await verifyReport(parseReport(await worker.report(nonce)), nonce, await trust(), judgedAt)
    const receipt = worker.receipt([
      { type: 'request.received', body_hash: sha(requestText) },
      { type: 'veritee.request', client_nonce: clientNonce },
      ...(event === null ? [] : [event]),
      { type: 'response.returned', body_hash: sha(plainAnswer) },
    ])
    const records = { receipt, prefixProof: null, session: null, workerReceipt: null, workerPrefixProof: null }
    return outcome(changes, { ...scenario, service, records })
  }
  it('needs one receipt, and the weights in it', async () => {
    expect(await direct()).toBe('accepted')
    expect(await direct({}, null)).toBe('policy_models')
    expect(await direct({}, { ...modelEvent, provenance: 'provider_asserted' } as ReceiptEvent)).toBe('policy_models')
    expect(await direct({ policy: policyOf({ models: { 'demo-model': [sha('other')] } }) })).toBe('policy_models')
    expect(await direct({ exchange: { responseHash: sha('x') } })).toBe('receipt_response_mismatch')
  })
  it('S7: a controller cannot pass for one: its role is under the quote', async () => {
    const { records, exchange, service } = await makeScenario()
    const posing = { ...service, serving: 'direct' as const }
    const run = async (): Promise<unknown> => verifyExchange(exchange, records, posing, policyOf(), await trust(), judgedAt)
    expect(await refusal(run)).toBe('policy_models')
  })
})

describe('S21: where the policy names a log, receipts promise it', () => {
  const log = { origin: 'log.example/receipts', key: 'k', witnesses: ['w'], quorum: 1 }
  const promising =
    (origin: string) =>
    (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] => [
      ...events.slice(0, -1),
      { type: 'veritee.log', origin, promised_by: 1_800_000_000 },
      ...events.slice(-1),
    ]
  const demanding = { policy: policyOf({ log }, { log }) }
  const both: Wishes = { controllerEvents: promising(log.origin), workerEvents: promising(log.origin) }
  it.each<[string, Wishes, string]>([
    ['both do', both, 'accepted'],
    ['neither does', {}, 'log_promise_missing'],
    ['the worker does not', { controllerEvents: promising(log.origin) }, 'log_promise_missing'],
    ['the service does not', { workerEvents: promising(log.origin) }, 'log_promise_missing'],
    ['the worker promises another log', { ...both, workerEvents: promising('other') }, 'log_promise_missing'],
    ['the service promises another log', { ...both, controllerEvents: promising('other') }, 'log_promise_missing'],
  ])('%s', async (_, wishes, code) => {
    expect(await made(wishes, demanding)).toBe(code)
    expect(await made(wishes)).toBe('accepted')
  })
  it('each section speaks of its own role', async () => {
    expect(await made({ workerEvents: promising(log.origin) }, { policy: policyOf({ log }) })).toBe('accepted')
    expect(await made({ controllerEvents: promising(log.origin) }, { policy: policyOf({}, { log }) })).toBe('accepted')
    expect(await made({}, { policy: policyOf({ log }) })).toBe('log_promise_missing')
    expect(await made({}, { policy: policyOf({}, { log }) })).toBe('log_promise_missing')
  })
  it('the checks name log and time; nobody is blamed for a missing promise', async () => {
    const verified = await verifyScenario(await makeScenario(both), demanding)
    const detail = 'log.example/receipts, promised by 1800000000 (Unix seconds)'
    expect(verified.checks.filter(({ id }) => id.endsWith('log'))).toEqual([
      { id: 'log', status: 'pass', detail },
      { id: 'worker.log', status: 'pass', detail },
    ])
    const silent = await makeScenario()
    expect(await blame(() => verifyScenario(silent, demanding))).toEqual(['log_promise_missing', null])
  })
})
