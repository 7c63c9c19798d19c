import { randomBytes } from 'node:crypto'
import { Agent, type Dispatcher, request } from 'undici'
import { chatBody } from 'veritee/client'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LoadedModel, loadModel, type SimulatedMachine, simulateMachine } from '../../src/demo/system.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { createWorker, type Worker } from '../../src/enclave/worker/worker.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { resolveModel } from '../../src/models/locate.ts'
import { Disk } from './disk.ts'
import { now } from './enclave.ts'

/** What a requester sees of the store: over TLS, with the demo model. */

let machine: SimulatedMachine
let model: LoadedModel
const disk = new Disk()
let worker: Worker
let server: Listening
const dispatcher = new Agent({ connect: { rejectUnauthorized: false } })

beforeAll(async () => {
  machine = await simulateMachine(now)
  model = await loadModel(await resolveModel('demo'))
  worker = await createWorker({
    callers: 'anybody',
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.worker)),
    collateral: () => machine.platform.collateral,
    models: [model.served],
    configuration: {},
    now,
    archive: await ReceiptArchive.over(disk, sealingKey('file', randomBytes(32))),
  })
  server = await listen({ host: '127.0.0.1', port: 0, tls: worker.identity.tls, simulated: true, apiKeys: false }, worker.handler)
})
afterAll(async () => {
  await dispatcher.close()
  await server.close()
  await worker.close()
  await model.engine.dispose()
})

const post = (stream: boolean, options: object = {}): Promise<Dispatcher.ResponseData> =>
  request(`${server.url}/v1/chat/completions`, {
    method: 'POST',
    dispatcher,
    headers: { 'content-type': 'application/json', authorization: 'Bearer mine' },
    body: Buffer.from(chatBody('veritee-demo', 'Who are you?', { stream, maxTokens: 4, temperature: 0 })),
    ...options,
  })

const postResponse = (): Promise<Dispatcher.ResponseData> =>
  request(`${server.url}/v1/responses`, {
    method: 'POST',
    dispatcher,
    headers: { authorization: 'Bearer mine' },
    body: JSON.stringify({ model: 'veritee-demo', input: 'Who are you?', stream: true, max_output_tokens: 4, temperature: 0 }),
  })

async function get(path: string, key = 'mine'): Promise<{ status: number; body: string }> {
  const { statusCode, body } = await request(`${server.url}${path}`, { dispatcher, headers: { authorization: `Bearer ${key}` } })
  return { status: statusCode, body: await body.text() }
}

/** What came before the end, and how the response ended. */
async function read(answer: Dispatcher.ResponseData): Promise<{ text: string; whole: boolean }> {
  let text = ''
  try {
    for await (const part of answer.body as AsyncIterable<Buffer>) text += part.toString()
    return { text, whole: true }
  } catch {
    return { text, whole: false }
  }
}

async function whileFailing(play: () => Promise<void>): Promise<void> {
  disk.failing = true
  try {
    await play()
  } finally {
    disk.failing = false
    await expect.poll(() => worker.ledger.figures.veritee_store_failing, { timeout: 20_000 }).toBe(0)
  }
}

describe('no answer without a durable receipt', { timeout: 90_000 }, () => {
  test.for([
    ['a chat', () => post(true), '"role":"assistant"', 'data: [DONE]'],
    ['a response', postResponse, 'event: response.created', 'event: response.incomplete'],
  ] as const)('a stream does not say that it is whole before its receipt is durable: %s', async ([, ask, before, last]) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    disk.gate = promise
    const answer = await ask()
    let text = ''
    const reading = (async () => {
      for await (const part of answer.body as AsyncIterable<Buffer>) text += part.toString()
    })()
    await expect.poll(() => text, { timeout: 20_000 }).toContain(before)
    await new Promise((later) => setTimeout(later, 50))
    expect(text).not.toContain(last)
    resolve()
    await reading
    expect(text.trimEnd().split('\n\n').at(-1)).toContain(last)
    const { status, body } = await get(`/v1/aci/receipts/${String(answer.headers['x-receipt-id'])}`)
    expect([status, eventOf(parseReceipt(body), 'veritee.inference')?.outcome]).toEqual([200, 'length'])
  })

  test.for([
    ['a chat', () => post(true), '[DONE]'],
    ['a response', postResponse, 'response.incomplete'],
  ] as const)('where it cannot be made durable, a stream breaks off, and the receipt is served once it can: %s', async ([, ask, last]) => {
    let id = ''
    await whileFailing(async () => {
      const answer = await ask()
      id = String(answer.headers['x-receipt-id'])
      const { text, whole } = await read(answer)
      expect([whole, text.includes(last), text.includes('data: {')]).toEqual([false, false, true])
      // And the next request does not begin.
      const next = await post(true)
      expect([next.statusCode, await next.body.json()]).toMatchObject([503, { error: { code: 'receipt_store_unavailable' } }])
    })
    expect((await get(`/v1/aci/receipts/${id}`)).status).toBe(200)
  })

  test('a plain answer is not given at all, and the reason on the disk stays inside', async () => {
    await whileFailing(async () => {
      const { statusCode, headers, body } = await post(false)
      const text = await body.text()
      expect([statusCode, headers['x-receipt-id']]).toEqual([503, undefined])
      expect(JSON.parse(text)).toMatchObject({ error: { code: 'receipt_store_unavailable' } })
      expect(text).not.toMatch(/secret|disk/)
    })
  })
})

test('S25: the report of the present keyset and of no unknown one is served by digest', async () => {
  const { status, body } = await get(`/v1/veritee/keysets/${worker.identity.keysetDigest}`)
  expect([status, JSON.parse(body)]).toMatchObject([200, { workload_keyset_digest: worker.identity.keysetDigest }])
  expect((await get(`/v1/veritee/keysets/sha256:${'0'.repeat(64)}`)).status).toBe(404)
})

test('whoever leaves has a receipt too, and refusals before the model have none', async () => {
  const signed = worker.ledger.figures.veritee_store_signed_receipts_total ?? 0
  const refused = await request(`${server.url}/v1/chat/completions`, { method: 'POST', dispatcher, body: '{"model":"none","messages":[]}' })
  await refused.body.dump()
  expect([refused.statusCode, refused.headers['x-receipt-id']]).toEqual([400, undefined])
  expect(worker.ledger.figures.veritee_store_signed_receipts_total).toBe(signed)
  const abort = new AbortController()
  const body = chatBody('veritee-demo', 'Tell me a long story', { stream: true, maxTokens: 400, temperature: 0.5 })
  const answer = await post(true, { body: Buffer.from(body), signal: abort.signal })
  for await (const _ of answer.body as AsyncIterable<Buffer>) break
  abort.abort()
  const found = await get(`/v1/aci/receipts/${String(answer.headers['x-receipt-id'])}`)
  expect([found.status, eventOf(parseReceipt(found.body), 'veritee.inference')?.outcome]).toEqual([200, 'aborted'])
})
