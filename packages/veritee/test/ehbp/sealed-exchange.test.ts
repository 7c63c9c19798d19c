import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/bytes/index.ts'
import { generateX25519 } from '../../src/crypto/node.ts'
import {
  type Exchange,
  parseReceipt,
  parseReport,
  parseSession,
  type ReceiptEvent,
  receiptDigest,
  type SealedExchange,
  type SealedRecords,
  type SealedWorker,
  sessionId,
  verifyReport,
  verifySealedExchange,
} from '../../src/receipt/index.ts'
import { ehbpAlgorithm, ehbpKeyOf, ehbpWorkerKey } from '../../src/seal/ehbp/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, judgedAt, modelEvent, nonceOf, sha, type TestEnclave, trust } from '../receipt/enclaves.ts'
import { clientNonce, makeScenario, policyOf, prefixText, sessionOf, streamEvents, treeOf, verifyScenario } from '../receipt/scenario.ts'

const keyed = (): Promise<TestEnclave> => createEnclave('worker', { keyset: { e2ee_public_keys: [hpkeKey()] } })
const hpkeKey = (): { key_id: string; algo: string; public_key: string } => ({
  key_id: 'ehbp-1',
  algo: ehbpAlgorithm,
  public_key: Buffer.from(generateX25519().publicKey).toString('hex'),
})
const enc = 'e1'.repeat(32)
const responseNonce = 'f1'.repeat(32)
const body = '{"model":"demo-model","messages":[]}'
const wire = { requestHash: sha('request on the wire'), responseHash: sha('response on the wire') }
const ownNonce = nonceOf('own challenge of the worker')

interface Wishes {
  readonly worker?: TestEnclave
  /** Whose receipt it is, where it is not the worker's. */
  readonly signer?: TestEnclave
  readonly controllerEvents?: (events: readonly ReceiptEvent[]) => readonly ReceiptEvent[]
  readonly workerEvents?: (events: readonly ReceiptEvent[]) => readonly ReceiptEvent[]
  readonly controllerModel?: string | null
  readonly endpoint?: string
}

interface Sealed {
  readonly exchange: SealedExchange
  readonly records: SealedRecords
  readonly worker: SealedWorker
  readonly controller: Awaited<ReturnType<typeof verifyReport>>
}

let controllers: Promise<TestEnclave> | null = null
let workers: Promise<TestEnclave> | null = null

async function make(wishes: Wishes = {}): Promise<Sealed> {
  controllers ??= createEnclave('controller')
  workers ??= keyed()
  const controller = await controllers
  const worker = wishes.worker ?? (await workers)
  const same = (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] => events
  const tree = await treeOf(streamEvents)
  const echo: ReceiptEvent = { type: 'veritee.request', client_nonce: clientNonce }
  const workerReceipt = (wishes.signer ?? worker).receipt(
    (wishes.workerEvents ?? same)([
      { type: 'request.received', body_hash: sha(body) },
      { type: 'request.forwarded', body_hash: sha(body) },
      echo,
      { type: 'veritee.transport', enc, response_nonce: responseNonce, client_nonce: clientNonce },
      modelEvent,
      await tree.event(),
      { type: 'response.returned', body_hash: sha(streamEvents.join('')) },
    ]),
    { receipt_id: 'rcpt-w', ...(wishes.endpoint === undefined ? {} : { endpoint: wishes.endpoint }) },
  )
  const document = await sessionOf(worker)
  const id = await sessionId(document)
  const receipt = controller.receipt(
    (wishes.controllerEvents ?? same)([
      { type: 'request.received', body_hash: wire.requestHash },
      echo,
      { type: 'veritee.opaque', extension: 'veritee.ehbp.v1', session_id: id, enc },
      { type: 'request.forwarded', body_hash: wire.requestHash },
      { type: 'upstream.verified', result: 'verified', required: true, model_id: '', session_id: id },
      { type: 'veritee.upstream_receipt', digest: await receiptDigest(parseReceipt(workerReceipt)), result: 'match', reason: null },
      { type: 'response.returned', body_hash: wire.responseHash },
    ]),
    { model: wishes.controllerModel ?? null, chat_id: null },
  )
  const nonce = nonceOf('client challenge')
  const policy = policyOf().roles.worker
  if (policy === undefined) throw new TypeError('no section')
  return {
    exchange: {
      requestBody: utf8(body),
      responseHash: sha(streamEvents.join('')),
      stream: tree,
      complete: true,
      clientNonce,
      transport: { enc, responseNonce },
      sessionId: id,
      path: '/v1/chat/completions',
      wire,
    },
    records: { receipt, session: { text: JSON.stringify(document) }, workerReceipt, workerPrefixProof: null },
    controller: await verifyReport(parseReport(await controller.report(nonce)), nonce, await trust(), judgedAt),
    worker: {
      report: await verifyReport(parseReport(await worker.report(ownNonce)), ownNonce, await trust(), judgedAt),
      policy,
      attestedAt: judgedAt,
    },
  }
}

function verify({ exchange, records, controller, worker }: Sealed, changes: Partial<SealedExchange> = {}): Promise<string> {
  return refusal(() => verifySealedExchange({ ...exchange, ...changes }, records, controller, worker, judgedAt))
}

const edit =
  (type: ReceiptEvent['type'], members: object) =>
  (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] =>
    events.map((event) => (event.type === type ? ({ ...event, ...members } as ReceiptEvent) : event))
const without =
  (type: ReceiptEvent['type']) =>
  (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] =>
    events.filter((event) => event.type !== type)

describe('an answer of a worker to which the body was sealed', () => {
  it('verifies with both receipts, and names what was checked', async () => {
    const { exchange, records, controller, worker } = await make()
    const found = await verifySealedExchange(exchange, records, controller, worker, judgedAt)
    expect(found).toMatchObject({ outcome: 'verified', simulated: true, model: { name: 'demo-model' } })
    expect(found.checks.map(({ id }) => id)).toEqual(['receipt', 'session', 'worker.evidence', 'worker.receipt', 'model'])
  })

  it('left early, it verifies as a prefix with the proof of the worker', async () => {
    const { exchange, records, controller, worker } = await make()
    const part: SealedExchange = {
      ...exchange,
      complete: false,
      stream: await treeOf(streamEvents.slice(0, 2)),
      responseHash: sha('part'),
      wire: { ...wire, responseHash: sha('part') },
    }
    const proof = { ...records, workerPrefixProof: await prefixText([...streamEvents], 2) }
    expect(await verifySealedExchange(part, proof, controller, worker, judgedAt)).toMatchObject({ outcome: 'verified-prefix' })
    expect(await refusal(() => verifySealedExchange(part, records, controller, worker, judgedAt))).toBe('receipt_missing')
  })

  it('S4: a controller receipt paired with the receipt of another exchange is refused', async () => {
    const [ours, other] = [await make(), await make({ workerEvents: edit('veritee.transport', { response_nonce: 'aa'.repeat(32) }) })]
    expect(await verify({ ...ours, records: { ...ours.records, workerReceipt: other.records.workerReceipt } })).toBe('receipt_upstream_mismatch')
    // The controller may cite whatever it likes: what the worker says of the exchange must still be ours.
    expect(await verify(other)).toBe('receipt_transport_mismatch')
  })

  it.each<[string, Wishes, string]>([
    ['another enc at the controller', { controllerEvents: edit('veritee.opaque', { enc: 'aa'.repeat(32) }) }, 'receipt_transport_mismatch'],
    ['another session at the controller', { controllerEvents: edit('veritee.opaque', { session_id: 'aa'.repeat(32) }) }, 'session_mismatch'],
    ['another session as verified', { controllerEvents: edit('upstream.verified', { session_id: 'aa'.repeat(32) }) }, 'session_mismatch'],
    ['no veritee.opaque', { controllerEvents: without('veritee.opaque') }, 'receipt_transport_mismatch'],
    ['a controller that names the model', { controllerModel: 'demo-model' }, 'receipt_transport_mismatch'],
    [
      'a controller that forwarded other bytes',
      { controllerEvents: edit('request.forwarded', { body_hash: sha('other') }) },
      'receipt_request_mismatch',
    ],
    [
      'a controller that received other bytes',
      { controllerEvents: edit('request.received', { body_hash: sha('other') }) },
      'receipt_request_mismatch',
    ],
    [
      'a controller that returned other bytes',
      { controllerEvents: edit('response.returned', { body_hash: sha('other') }) },
      'receipt_response_mismatch',
    ],
    [
      'a controller that did not match the receipts',
      { controllerEvents: edit('veritee.upstream_receipt', { result: 'absent', digest: null }) },
      'receipt_upstream_mismatch',
    ],
    ['best effort', { controllerEvents: edit('upstream.verified', { required: false }) }, 'policy_receipt'],
    ['another enc at the worker', { workerEvents: edit('veritee.transport', { enc: 'aa'.repeat(32) }) }, 'receipt_transport_mismatch'],
    [
      'another nonce in the transport of the worker',
      { workerEvents: edit('veritee.transport', { client_nonce: null }) },
      'receipt_transport_mismatch',
    ],
    ['a worker that opened nothing', { workerEvents: without('veritee.transport') }, 'receipt_transport_mismatch'],
    ['a worker that received another body', { workerEvents: edit('request.received', { body_hash: sha('other') }) }, 'receipt_request_mismatch'],
    ['a worker that returned another answer', { workerEvents: edit('response.returned', { body_hash: sha('other') }) }, 'receipt_response_mismatch'],
    ['a worker that committed to no stream', { workerEvents: without('veritee.stream') }, 'receipt_stream_mismatch'],
    ['the receipt of another path', { endpoint: '/v1/completions' }, 'receipt_transport_mismatch'],
  ])('S4: refused: %s', async (_why, wishes, code) => {
    expect(await verify(await make(wishes))).toBe(code)
  })

  it('S21: where the policy names a log, both receipts must promise it', async () => {
    const log = { origin: 'log.example/receipts', key: 'k', witnesses: ['w'], quorum: 1 }
    const add = (events: readonly ReceiptEvent[]): readonly ReceiptEvent[] => [
      ...events,
      { type: 'veritee.log', origin: log.origin, promised_by: 1_800_000_000 },
    ]
    const judged = async (wishes: Wishes): Promise<string> => {
      const { exchange, records, controller, worker } = await make(wishes)
      const own = { ...worker, policy: { ...worker.policy, log } }
      return refusal(() => verifySealedExchange(exchange, records, controller, own, judgedAt, { log }))
    }
    expect(await judged({ controllerEvents: add, workerEvents: add })).toBe('accepted')
    expect(await judged({ workerEvents: add })).toBe('log_promise_missing')
    expect(await judged({ controllerEvents: add })).toBe('log_promise_missing')
  })

  it('S4: the receipt of another genuine worker is refused', async () => {
    expect(await verify(await make({ signer: await keyed() }))).toBe('receipt_signature_invalid')
  })

  it('S4: a receipt of an encrypted exchange is none of a plain one, nor the other way round', async () => {
    const opened: ReceiptEvent = { type: 'veritee.transport', enc, response_nonce: responseNonce, client_nonce: clientNonce }
    const sealed = await makeScenario({ controllerEvents: (events) => [...events, opened] })
    const transport: Exchange['transport'] = { enc, responseNonce }
    expect(await refusal(() => verifyScenario(sealed))).toBe('receipt_transport_mismatch')
    expect((await verifyScenario(sealed, { exchange: { transport } })).outcome).toBe('verified')
    expect(await refusal(() => verifyScenario(sealed, { exchange: { transport: { ...transport, enc: 'aa'.repeat(32) } } }))).toBe(
      'receipt_transport_mismatch',
    )
    const plain = await makeScenario()
    expect(await refusal(() => verifyScenario(plain, { exchange: { transport } }))).toBe('receipt_transport_mismatch')
    const opaque: ReceiptEvent = { type: 'veritee.opaque', extension: 'veritee.ehbp.v1', session_id: 'aa'.repeat(32), enc }
    const unread = await makeScenario({ controllerEvents: (events) => [...events, opaque] })
    expect(await refusal(() => verifyScenario(unread))).toBe('receipt_transport_mismatch')
  })
})

describe('the key to seal to', () => {
  const reportOf = async (enclave: TestEnclave, nonce: string | 'stated' = ownNonce): ReturnType<typeof verifyReport> =>
    verifyReport(parseReport(await enclave.report(ownNonce)), nonce, await trust(), judgedAt)

  it('S4: comes from a report over the own nonce only: stale evidence gives none', async () => {
    const worker = await keyed()
    expect(Buffer.from(ehbpKeyOf(await reportOf(worker)).publicKey).toString('hex')).toBe(worker.keyset.e2ee_public_keys[0]?.public_key)
    const stale = await reportOf(worker, 'stated')
    expect(await refusal(async () => ehbpKeyOf(stale))).toBe('report_nonce_mismatch')
    expect(await refusal(() => reportOf(worker, nonceOf('another challenge')))).toBe('report_nonce_mismatch')
  })

  it('S4: a session that names a genuine worker, whose report then shows another key, is refused', async () => {
    const [named, other] = [await keyed(), await keyed()]
    const document = await sessionOf(named)
    const session = await parseSession(JSON.stringify(document), await sessionId(document))
    expect(ehbpWorkerKey(session, await reportOf(named)).keysetDigest).toBe(named.digest)
    const foreign = await reportOf(other)
    expect(await refusal(async () => ehbpWorkerKey(session, foreign))).toBe('session_mismatch')
  })

  it("S4: the session's own words are not believed: its identity must be the keyset that its evidence binds", async () => {
    const [genuine, claimed] = [await keyed(), await keyed()]
    const document = await sessionOf(genuine, { identity: { workload_keyset_digest: claimed.digest } })
    const session = await parseSession(JSON.stringify(document), await sessionId(document))
    for (const enclave of [genuine, claimed]) {
      const report = await reportOf(enclave)
      expect(await refusal(async () => ehbpWorkerKey(session, report))).toBe('session_mismatch')
    }
  })

  it.each([
    ['none', []],
    ['one for E2EE v2 only', [{ ...hpkeKey(), algo: 'x25519-aes-256-gcm-hkdf-sha256' }]],
    ['two', [hpkeKey(), { ...hpkeKey(), key_id: 'ehbp-2' }]],
    ['one in capitals', [{ ...hpkeKey(), public_key: 'AB'.repeat(32) }]],
    ['one of 31 bytes', [{ ...hpkeKey(), public_key: 'ab'.repeat(31) }]],
  ])('a keyset with %s gives no key', async (_why, keys) => {
    const report = await reportOf(await createEnclave('worker', { keyset: { e2ee_public_keys: keys } }))
    expect(await refusal(async () => ehbpKeyOf(report))).toBe('ehbp_key_absent')
  })

  it('S4: the report of a controller is none of a worker', async () => {
    const controller = await createEnclave('controller', { keyset: { e2ee_public_keys: [hpkeKey()] } })
    const document = await sessionOf(controller)
    const session = await parseSession(JSON.stringify(document), await sessionId(document))
    const report = await reportOf(controller)
    expect(await refusal(async () => ehbpWorkerKey(session, report))).toBe('session_mismatch')
  })
})
