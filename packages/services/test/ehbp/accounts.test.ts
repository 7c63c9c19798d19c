import { nodeTransport } from 'veritee/client'
import { parseReceipt, parseStatement, receiptDigest } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chargesOf } from '../../src/controller/access/usage.ts'
import { createController } from '../../src/controller/controller.ts'
import type { Access, Settlement } from '../../src/controller/stages/access.ts'
import { admit, type RunningController } from '../../src/demo/system.ts'
import { policyRules } from '../../src/enclave/runtime/admission/rules.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { HttpError } from '../../src/http/errors.ts'
import { listen } from '../../src/http/listen.ts'
import { bytesOf, type Network, now, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath, openClient, recordsOf, type SealingClient, sealTo, send } from './sealing-client.ts'

let network: Network
let client: SealingClient
let controller: RunningController
const archive = ReceiptArchive.inMemory()
const settled: Settlement[] = []
const admitted: string[] = []
const access: Access = {
  authenticate: ({ headers }) => (headers.authorization === 'Bearer key' ? null : new HttpError(401, 'invalid_request_error', 'no key')),
  admit: (_, model) => {
    admitted.push(model)
    return { tenant: 'key', headers: { 'x-ratelimit-limit-requests': '7' }, settle: (facts) => settled.push(facts) }
  },
}

beforeAll(async () => {
  const first = await startNetwork()
  const { platform, enclaves, trust } = first.machine
  const made = await createController({
    quoter: createQuoter(createSimDevice(platform, enclaves.controller)),
    collateral: () => platform.collateral,
    rules: policyRules(async () => ({ policy: first.policy, trust })),
    allowLoopbackWorkers: true,
    configuration: {},
    now,
    access,
    archive,
  })
  const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: true }
  controller = {
    controller: made,
    api: await listen(bind, made.api, made.keysetDigestOf),
    control: await listen(bind, made.control, made.keysetDigestOf),
  }
  network = { ...first, sessionId: await admit(controller, first.worker) }
  client = await openClient(network, nodeTransport(controller.api.url))
}, 60_000)
afterAll(async () => {
  client.service.transport.close()
  await controller.api.close()
  await controller.control.close()
  await controller.controller.close()
  await network.close()
})

test('S4: what cannot be read is counted by what the worker signed of it, and the statement is kept beside the receipt', async () => {
  const request = await sealTo(network, client, chatBody(false))
  const sealed = await sealTo(network, client, chatBody(false))
  const key = { authorization: 'Bearer key' }
  const answer = await send(client.service.transport, request, chatPath, key)
  expect([answer.status, answer.headers['x-ratelimit-limit-requests'], admitted]).toEqual([200, '7', ['veritee-demo']])
  const [facts] = settled
  const id = answer.headers['x-receipt-id']
  const get = async (path: string): Promise<string> =>
    (await bytesOf(await client.service.transport.send({ method: 'GET', path, headers: key }))).toString()
  const { statement } = parseStatement(await get(`/v1/veritee/receipts/${id}/upstream`))
  expect(facts).toMatchObject({ receiptId: id, outcome: 'complete' })
  expect(facts?.usage).toEqual({ promptTokens: statement.prompt_tokens, completionTokens: statement.completion_tokens })
  expect(statement.completion_tokens).toBeGreaterThan(3)
  const { charges } = await chargesOf(archive, archive.credentialTag('key'), 0)
  expect(charges).toMatchObject([
    {
      receipt_id: id,
      model: null,
      prompt_tokens: statement.prompt_tokens,
      completion_tokens: statement.completion_tokens,
      upstream_receipt_digest: statement.receipt_digest,
    },
  ])
  const own = await recordsOf(network, { ...client, service: { ...client.service, transport: withKey() } }, answer)
  expect(await receiptDigest(parseReceipt(own.workerReceipt))).toBe(statement.receipt_digest)

  // Without a key nothing is read, passed on or remembered.
  const refused = await client.service.transport.send({ method: 'POST', path: chatPath, headers: sealed.headers, body: sealed.body })
  expect(refused.status).toBe(401)
  await bytesOf(refused)
  expect((await send(client.service.transport, sealed, chatPath, key)).status).toBe(200)
})

test('S22: a body for the controller is not opened before its key was asked for', async () => {
  const { identity } = controller.controller
  const publicKey = Buffer.from(identity.ehbp?.publicKey ?? '', 'hex')
  const request = await sealTo({ ...network }, { key: { publicKey, keysetDigest: identity.keysetDigest } }, chatBody(false), { session_id: null })
  const refused = await client.service.transport.send({ method: 'POST', path: chatPath, headers: request.headers, body: request.body })
  expect([refused.status, refused.headers['ehbp-response-nonce']]).toEqual([401, undefined])
  await bytesOf(refused)
  expect((await send(client.service.transport, request, chatPath, { authorization: 'Bearer key' })).status).toBe(200)
})

function withKey(): SealingClient['service']['transport'] {
  const { transport } = client.service
  return { ...transport, send: (request) => transport.send({ ...request, headers: { ...request.headers, authorization: 'Bearer key' } }) }
}
