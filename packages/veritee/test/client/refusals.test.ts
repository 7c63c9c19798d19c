import { describe, expect, it } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import type { Json } from '../../src/bytes/index.ts'
import { type Connection, type ConnectionOptions, connect, explain, type Proof, type ProofEvidence } from '../../src/client/index.ts'
import { parseReceipt, type ReceiptEvent, receiptDigest } from '../../src/receipt/index.ts'
import { sha, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { type Behaviour, type FakeService, fakeService } from './service.ts'

const plain = '{"model":"demo-model","messages":[]}'
const words = '{"error":{"message":"the context is full"}}'
type Told = readonly [Proof, ProofEvidence]

/** The receipt of a refusal by a worker behind the controller, as it is or as `edit` makes it. */
function refusing(
  outcome: 'refused' | 'complete' = 'refused',
  edit: (events: readonly (ReceiptEvent | Json)[]) => readonly (ReceiptEvent | Json)[] = (events) => events,
): Partial<Behaviour> {
  const controllerEvents = (events: readonly (ReceiptEvent | Json)[]): readonly (ReceiptEvent | Json)[] =>
    edit([
      ...events.map((event) =>
        (event as ReceiptEvent).type === 'veritee.upstream_receipt'
          ? { type: 'veritee.upstream_receipt', digest: null, result: 'absent', reason: 'the worker refused the request' }
          : event,
      ),
      { type: 'veritee.outcome', outcome },
    ])
  return { status: 400, plain: words, sealing: { controllerEvents } }
}

async function open(
  fake: FakeService,
  changes: Partial<ConnectionOptions> = {},
): Promise<{ readonly c: Connection; readonly told: readonly Told[] }> {
  const told: Told[] = []
  // Bodies as they are, so that their digests are known here.
  const options = { policy: policyOf(), trust: await trust(), freshSeed: false, onProof: (...one: Told) => void told.push(one) }
  return { c: await connect(fake.url, { ...options, ...changes }), told }
}
const post = (c: Connection): Promise<Response> => c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: plain })

describe('an error that names a receipt', () => {
  it('is shown to be what the service signed, and is no answer', async () => {
    const fake = await fakeService(refusing())
    const { c, told } = await open(fake)
    const response = await post(c)
    expect(response.status).toBe(400)
    expect(await response.text()).toBe(words)
    const proof = await c.proofOf(response)
    expect(proof).toMatchObject({
      status: 'unproven',
      error: { code: 'service_refused' },
      bytes: { request: sha(plain), response: sha(words), complete: true },
      receipts: { service: { id: 'rcpt-1' }, worker: null },
      model: null,
      outcome: null,
    })
    expect(proof.checks.filter(({ of }) => of === 'answer')).toMatchObject([{ id: 'receipt', status: 'pass' }])
    expect(proof.receipts.service?.digest).toBe(await receiptDigest(parseReceipt(told[0]?.[1].seen.receipt ?? '')))
    expect(told.map(([one]) => one)).toEqual([proof])
    expect(complaints('proof', JSON.parse(JSON.stringify(proof)))).toEqual([])
    expect(explain(proof)).toContain('signed that')
    // Whose refusal it was is there to see; of a receipt that the controller says it has not, nothing is asked.
    expect(told[0]?.[1].seen).toMatchObject({ session: expect.stringContaining('established_at'), workerReceipt: null })
    expect(fake.requests.filter((line) => line.includes('upstream'))).toEqual([])
  })

  const elsewhere = (type: string, changes: object) => (events: readonly (ReceiptEvent | Json)[]) =>
    events.map((event) => ((event as ReceiptEvent).type === type ? { ...(event as object), ...changes } : event) as Json)
  it.each<[string, Partial<Behaviour>, string]>([
    ['of other words', refusing('refused', elsewhere('response.returned', { body_hash: sha('sorry') })), 'receipt_response_mismatch'],
    ['of another request', refusing('refused', elsewhere('request.received', { body_hash: sha('{}') })), 'receipt_request_mismatch'],
    ['under another nonce', refusing('refused', elsewhere('veritee.request', { client_nonce: '00'.repeat(32) })), 'receipt_nonce_mismatch'],
    ['of an answer', refusing('complete'), 'receipt_response_mismatch'],
    ['that is gone', { ...refusing(), document: () => null }, 'receipt_missing'],
    ['that is none', { ...refusing(), document: () => '{}' }, 'receipt_malformed'],
  ])('with a receipt %s is not signed', async (_, behaviour, code) => {
    const { c } = await open(await fakeService(behaviour))
    const response = await post(c)
    expect(await response.text()).toBe(words)
    const proof = await c.proofOf(response)
    expect(proof).toMatchObject({ status: code === 'receipt_missing' ? 'unproven' : 'rejected', error: { code }, receipts: { service: null } })
  })

  it('is given before its receipt is, in every mode', async () => {
    const { promise: late, resolve: atLast } = Promise.withResolvers<void>()
    const fake = await fakeService({ ...refusing(), document: async (_, text) => late.then(() => text) })
    const { c, told } = await open(fake, { mode: 'buffered' })
    const response = await post(c)
    expect(await response.text()).toBe(words)
    expect(told).toEqual([])
    atLast()
    expect((await c.proofOf(response)).receipts.service).not.toBeNull()
  })

  it('has a proof whether or not it is read', async () => {
    const { c } = await open(await fakeService(refusing()))
    expect((await c.proofOf(await post(c))).receipts.service).not.toBeNull()
  })
})

it('an error that names no receipt has no proof', async () => {
  const fake = await fakeService({ ...refusing(), receiptId: null })
  const { c, told } = await open(fake)
  const response = await post(c)
  expect(await response.text()).toBe(words)
  await expect(c.proofOf(response)).rejects.toMatchObject({ code: 'usage' })
  expect(told).toEqual([])
  expect(fake.requests.filter((line) => line.includes('receipts'))).toEqual([])
})

describe('S20: of an answer that does not verify, everybody fetches what there is', () => {
  it('where it broke off: receipt, session and worker`s receipt, once each', async () => {
    const fake = await fakeService({ cutAfter: 1 })
    const { c, told } = await open(fake)
    const response = await post(c)
    await expect(response.text()).rejects.toMatchObject({ code: 'service_unavailable' })
    expect((await c.proofOf(response)).status).toBe('unproven')
    const { receipt, session, workerReceipt } = told[0]?.[1].seen ?? {}
    for (const document of [receipt, session, workerReceipt]) expect(document).toMatch(/^\{/)
    const documents = fake.requests.filter((line) => line.startsWith('GET') && !line.includes('attestation'))
    expect(new Set(documents).size).toBe(documents.length)
    expect(documents.length).toBe(3)
  })

  it('and its reader does not wait for them', async () => {
    const { promise: late, resolve: atLast } = Promise.withResolvers<void>()
    const { c, told } = await open(await fakeService({ cutAfter: 1, document: async (_, text) => late.then(() => text) }))
    const response = await post(c)
    await expect(response.text()).rejects.toMatchObject({ code: 'service_unavailable' })
    expect(told).toEqual([])
    atLast()
    await c.proofOf(response)
    expect(told[0]?.[1].seen.receipt).not.toBeNull()
  })
})
