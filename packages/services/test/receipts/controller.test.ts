import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { request } from 'undici'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { eventOf, parseReceipt, receiptDigest } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Controller, type ControllerOptions, createController } from '../../src/controller/controller.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, rulesOf, startNetwork } from '../e2e/network.ts'
import { Disk } from './disk.ts'
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

function base(): Omit<ControllerOptions, 'archive'> {
  const { machine } = network
  return {
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.controller)),
    collateral: () => machine.platform.collateral,
    rules: rulesOf(network),
    allowLoopbackWorkers: true,
    configuration: {},
    now,
  }
}

async function start(): Promise<{ controller: Controller; api: Listening; stop: () => Promise<void> }> {
  const controller = await createController({ ...base(), archive: await state.open() })
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
  expect([refused.statusCode, await refused.body.json()]).toMatchObject([503, { error: { type: 'upstream_verification_failed' } }])
  await second.stop()
})

test('no [DONE] of a stream before the receipt of the controller is durable, and none where it cannot be', async () => {
  const disk = new Disk()
  const controller = await createController({
    ...base(),
    archive: await ReceiptArchive.over(disk, sealingKey('file', randomBytes(32))),
  })
  const api = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, controller.api)
  const { server, worker } = network.worker
  await controller.registry.admit(server.url, worker.identity.keysetDigest)
  const body = Buffer.from(chatBody('veritee-demo', 'Who are you?', { stream: true, maxTokens: 4, temperature: 0 }))
  for (const fails of [false, true]) {
    const { promise, resolve } = Promise.withResolvers<void>()
    disk.gate = promise
    const answer = await request(`${api.url}/v1/chat/completions`, { method: 'POST', body })
    let text = ''
    const reading = (async () => {
      for await (const part of answer.body as AsyncIterable<Buffer>) text += part.toString()
    })().then(
      () => 'whole',
      () => 'broken',
    )
    await expect.poll(() => text, { timeout: 20_000 }).toContain('"finish_reason":"length"')
    await expect.poll(() => controller.ledger.figures.veritee_store_signed_receipts_total, { timeout: 20_000 }).toBe(fails ? 2 : 1)
    expect(text).not.toContain('[DONE]')
    disk.failing = fails
    resolve()
    expect([await reading, text.endsWith('data: [DONE]\n\n')]).toEqual(fails ? ['broken', false] : ['whole', true])
  }
  disk.failing = false
  await api.close()
  await controller.close()
})
