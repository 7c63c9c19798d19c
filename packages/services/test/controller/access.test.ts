import { request } from 'undici'
import { chatBody } from 'veritee/client'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Controller, createController } from '../../src/controller/controller.ts'
import type { Access, Settlement } from '../../src/controller/stages/access.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { HttpError } from '../../src/http/errors.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, now, rulesOf, startNetwork } from '../e2e/network.ts'

let network: Network
let controller: Controller
let api: Listening
let access: Access
let settled: Settlement[]
beforeAll(async () => {
  network = await startNetwork()
  const { machine } = network
  controller = await createController({
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.controller)),
    collateral: () => machine.platform.collateral,
    rules: rulesOf(network),
    allowLoopbackWorkers: true,
    configuration: {},
    access: { authenticate: (incoming) => access.authenticate?.(incoming) ?? null, admit: (...asked) => access.admit(...asked) },
    now,
  })
  api = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: true }, controller.api)
  const { server, worker } = network.worker
  await controller.registry.admit(server.url, worker.identity.keysetDigest)
})
beforeEach(() => {
  settled = []
  access = { admit: () => ({ tenant: 'a', settle: (facts) => void settled.push(facts) }) }
})
afterAll(async () => {
  await api.close()
  await controller.close()
  await network.close()
})

async function post(body: Uint8Array | string): Promise<{ status: number; receipt: string | undefined; text: string }> {
  const answer = await request(`${api.url}/v1/chat/completions`, { method: 'POST', body: Buffer.from(body) })
  return { status: answer.statusCode, receipt: answer.headers['x-receipt-id'] as string | undefined, text: await answer.body.text() }
}

test.for([true, false])('an answer (stream: %s) is settled once, with the counts that the worker signed', async (stream) => {
  const { status, receipt } = await post(chatBody('veritee-demo', 'Who are you?', { stream, maxTokens: 4, temperature: 0 }))
  expect([status, settled]).toEqual([
    200,
    [{ receiptId: receipt, model: 'veritee-demo', outcome: 'complete', usage: { promptTokens: expect.any(Number), completionTokens: 4 } }],
  ])
  expect(settled[0]?.usage?.promptTokens).toBeGreaterThan(3)
})

test('what is refused after it was admitted is settled too, without counts', async () => {
  const refused = await post(chatBody('veritee-demo', 'Who are you?', { stream: false, maxTokens: -1 }))
  expect([refused.status, settled]).toEqual([400, [{ receiptId: refused.receipt, model: 'veritee-demo', outcome: 'refused', usage: null }]])
  settled = []
  expect((await post(chatBody('unknown', 'Who are you?', { stream: false }))).status).toBe(404)
  expect(settled).toMatchObject([{ model: 'unknown', outcome: 'error', usage: null }])
})

test('S22: whoever is refused reaches no worker, costs no receipt, and is not read where he is unknown', async () => {
  const before = [controller.ledger.size, network.worker.worker.ledger.size]
  const body = chatBody('veritee-demo', 'Who are you?', { stream: false })
  access = { admit: () => new HttpError(429, 'rate_limit_error', 'too many', { headers: { 'retry-after': '7' } }) }
  expect(await post(body)).toMatchObject({ status: 429, receipt: undefined })
  let admitted = 0
  access = {
    authenticate: async () => new HttpError(401, 'unauthorized', 'no key'),
    admit: () => {
      admitted++
      return new HttpError(500, 'server_error', 'not reached')
    },
  }
  expect(await post('not even JSON')).toMatchObject({ status: 401, receipt: undefined })
  expect([admitted, settled, [controller.ledger.size, network.worker.worker.ledger.size]]).toEqual([0, [], before])
})
