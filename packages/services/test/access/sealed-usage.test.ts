import { nodeTransport } from 'veritee/client'
import { eventOf, parseReceipt, receiptDigest, verifySealedStatement } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chargesOf } from '../../src/controller/access/usage.ts'
import { type Controller, createController } from '../../src/controller/controller.ts'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { bytesOf, type Network, now, rulesOf, startNetwork } from '../e2e/network.ts'
import { chatBody, openClient, sealTo, send } from '../ehbp/sealing-client.ts'

let network: Network
let controller: Controller
let api: Listening
const archive = ReceiptArchive.inMemory()
beforeAll(async () => {
  network = await startNetwork()
  const { machine } = network
  controller = await createController({
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.controller)),
    collateral: () => machine.platform.collateral,
    rules: rulesOf(network),
    allowLoopbackWorkers: true,
    configuration: {},
    archive,
    now,
  })
  api = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: true }, controller.api, controller.keysetDigestOf)
}, 60_000)
afterAll(async () => {
  await api.close()
  await controller.close()
  await network.close()
})

test('what a key has used encrypted is in its account too, and follows from a statement that the worker signed', async () => {
  const { server, worker } = network.worker
  const { service, session } = await controller.registry.admit(server.url, worker.identity.keysetDigest)
  const transport = nodeTransport(api.url)
  const client = await openClient(network, transport, session.id)
  const authorization = 'Bearer sk-of-somebody'
  const answer = await send(
    client.service.transport,
    await sealTo(network, client, chatBody(false), { session_id: session.id }),
    '/v1/chat/completions',
    {
      authorization,
    },
  )
  expect(answer.status).toBe(200)
  const { usage } = JSON.parse(answer.body.toString()) as { usage: { prompt_tokens: number; completion_tokens: number } }
  const { charges } = await chargesOf(archive, archive.credentialTag('sk-of-somebody'), 0)
  const [charge] = charges
  expect(charges.length).toBe(1)
  expect(charge).toMatchObject({ prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens, model: null })

  // What anybody with the credential does to check it.
  const get = async (path: string): Promise<string> =>
    (await bytesOf(await transport.send({ method: 'GET', path, headers: { authorization } }))).toString()
  const own = parseReceipt(await get(`/v1/aci/receipts/${charge?.receipt_id}`))
  expect(await receiptDigest(own)).toBe(charge?.receipt_digest)
  const [received, returned] = [eventOf(own, 'request.received'), eventOf(own, 'response.returned')]
  const { enc } = eventOf(own, 'veritee.opaque') ?? { enc: '' }
  const statement = await verifySealedStatement(
    await get(`/v1/veritee/receipts/${charge?.receipt_id}/upstream`),
    service.report.keyset,
    service.report.keysetDigest,
    {
      receiptId: answer.headers['x-veritee-worker-receipt-id'] ?? '',
      enc,
      clientNonce: eventOf(own, 'veritee.request')?.client_nonce ?? null,
      sessionId: session.id,
      requestHash: received?.body_hash ?? '',
      responseHash: returned?.body_hash ?? null,
    },
  )
  expect(statement).toMatchObject({ receipt_digest: charge?.upstream_receipt_digest, ...{ prompt_tokens: usage.prompt_tokens } })
  expect((await chargesOf(archive, archive.credentialTag('another'), 0)).charges).toEqual([])
  transport.close()
})
