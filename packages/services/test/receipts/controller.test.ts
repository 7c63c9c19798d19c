import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { request } from 'undici'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { eventOf, parseReceipt, receiptDigest } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Controller, createController } from '../../src/controller/controller.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, startNetwork } from '../e2e/network.ts'
import { now, type StateDirectory, stateDirectory } from './enclave.ts'

let network: Network
let state: StateDirectory
beforeAll(async () => {
  network = await startNetwork()
  state = await stateDirectory()
})
afterAll(async () => {
  await network.close()
  await rm(dirname(state.file), { recursive: true, force: true })
})

async function start(): Promise<{ controller: Controller; api: Listening; stop: () => Promise<void> }> {
  const { machine, policy } = network
  const controller = await createController({
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.controller)),
    collateral: () => machine.platform.collateral,
    policy,
    trust: machine.trust,
    allowLoopbackWorkers: true,
    configuration: {},
    now,
    archive: await state.open(),
  })
  const api = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, controller.api)
  const stop = async (): Promise<void> => {
    await api.close()
    await controller.close()
  }
  return { controller, api, stop }
}

async function get(api: Listening, path: string): Promise<{ status: number; body: string }> {
  const { statusCode, body } = await request(`${api.url}${path}`)
  return { status: statusCode, body: await body.text() }
}

test("S25: a controller that restarted serves its receipts with the sessions and the workers' receipts they cite, and proves prefixes without the worker", async () => {
  const first = await start()
  const { server, worker } = network.worker
  await first.controller.registry.admit(server.url, worker.identity.keysetDigest)
  const transport = nodeTransport(first.api.url)
  const service = await connect(transport, network.options())
  const body = chatBody('veritee-demo', 'Who are you?', { stream: true, maxTokens: 8, temperature: 0 })
  const { proof, records } = await ask(service, '/v1/chat/completions', body)
  expect(proof.outcome).toBe('verified')
  transport.close()
  const receipt = parseReceipt(records.receipt)
  const verified = eventOf(receipt, 'upstream.verified')
  const session = verified?.result === 'verified' ? verified.session_id : ''
  const paths = [
    `/v1/aci/receipts/${receipt.receiptId}`,
    `/v1/aci/receipts/${receipt.receiptId}?prefix=3`,
    `/v1/veritee/receipts/${receipt.receiptId}/upstream`,
    `/v1/veritee/receipts/${receipt.receiptId}/upstream?prefix=3`,
    `/v1/aci/sessions/${session}`,
    `/v1/veritee/keysets/${receipt.keysetDigest}`,
  ]
  const before = await Promise.all(paths.map((path) => get(first.api, path)))
  expect(before.map(({ status }) => status)).toEqual(paths.map(() => 200))
  await first.stop()

  const second = await start()
  expect(second.controller.registry.all()).toEqual([])
  expect(await Promise.all(paths.map((path) => get(second.api, path)))).toEqual(before)
  const cited = eventOf(receipt, 'veritee.upstream_receipt')?.digest
  expect(await receiptDigest(parseReceipt(before[2]?.body ?? ''))).toBe(cited)
  // A session in the store is history: nothing is routed by it (rule S3).
  const refused = await request(`${second.api.url}/v1/chat/completions`, { method: 'POST', body: Buffer.from(body) })
  expect([refused.statusCode, await refused.body.json()]).toMatchObject([404, { error: { code: 'model_not_found' } }])
  await second.stop()
})
