import type { IncomingMessage } from 'node:http'
import https from 'node:https'
import { utf8 } from 'veritee/bytes'
import { nodeTransport } from 'veritee/client'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesOf, type Network, startNetwork } from '../e2e/network.ts'
import { chatBody, openClient, prove, recordsOf, type SealingClient, sealTo, send, sha, textOf, workerReceipt } from './sealing-client.ts'

let network: Network
let client: SealingClient
beforeAll(async () => {
  network = await startNetwork()
  client = await openClient(network, nodeTransport(network.controller.api.url))
}, 60_000)
afterAll(async () => {
  client.service.transport.close()
  await network.close()
})

const controllerReceipt = async (id: string | undefined): Promise<ReturnType<typeof parseReceipt>> =>
  parseReceipt((await bytesOf(await client.service.transport.send({ method: 'GET', path: `/v1/aci/receipts/${id}` }))).toString())

describe('S4: a body encrypted to a worker behind a controller', () => {
  test.for([false, true])('is answered, and both receipts prove it, stream %s', async (stream) => {
    const body = chatBody(stream)
    const answer = await send(client.service.transport, await sealTo(network, client, body))
    expect(answer.status).toBe(200)
    expect(textOf(answer.body.toString())).toBe('The capital of Japan is Tokyo.')
    expect(answer.wire.includes('chatcmpl')).toBe(false)
    const proof = await prove(network, client, answer, body)
    expect(proof).toMatchObject({ outcome: 'verified', simulated: true, inferenceOutcome: 'complete', model: { name: 'veritee-demo' } })
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
  })

  test('S6: the controller learns token counts and a digest, and nothing of the content', async () => {
    const answer = await send(client.service.transport, await sealTo(network, client, chatBody(false)))
    expect(answer.headers['x-veritee-receipt-key']).toBeUndefined()
    expect(answer.opened.receiptKey?.length).toBe(32)
    const receipt = await controllerReceipt(answer.headers['x-receipt-id'])
    expect(receipt.model).toBeNull()
    expect(receipt.chatId).toBeNull()
    expect(receipt.events.map(({ type }) => type)).toEqual([
      'request.received',
      'veritee.request',
      'veritee.opaque',
      'request.forwarded',
      'upstream.verified',
      'veritee.upstream_receipt',
      'veritee.outcome',
      'response.returned',
      'veritee.chain',
    ])
    // What the controller could ask the worker for itself: the receipt is kept under a credential that it never sees.
    const worker = nodeTransport(network.worker.server.url)
    const id = answer.headers['x-veritee-worker-receipt-id']
    const asked = await worker.send({ method: 'GET', path: `/v1/aci/receipts/${id}` })
    expect(asked.status).toBe(401)
    const statement = JSON.parse((await bytesOf(await worker.send({ method: 'GET', path: `/v1/veritee/statements/${id}` }))).toString())
    expect(Object.keys(statement as object).sort()).toEqual(
      [
        'api_version',
        'client_nonce',
        'completion_tokens',
        'enc',
        'key_id',
        'outcome',
        'prompt_tokens',
        'receipt_digest',
        'receipt_id',
        'request_hash',
        'response_hash',
        'session_id',
        'signature',
        'workload_keyset_digest',
      ].sort(),
    )
    worker.close()
  })

  test("the worker's receipt hashes the body after the line, and its token digests are under the sealed key", async () => {
    const body = chatBody(false)
    const answer = await send(client.service.transport, await sealTo(network, client, body))
    const own = parseReceipt((await recordsOf(network, client, answer)).workerReceipt)
    expect(eventOf(own, 'request.received')?.body_hash).toBe(sha(body))
    expect(eventOf(own, 'response.returned')?.body_hash).toBe(sha(answer.body))
    expect(eventOf(own, 'veritee.transport')).toEqual({
      type: 'veritee.transport',
      enc: answer.request.enc,
      response_nonce: answer.opened.responseNonce,
      client_nonce: answer.request.binding.client_nonce,
    })
  })

  test('another credential fetches nothing', async () => {
    const [first, second] = [
      await send(client.service.transport, await sealTo(network, client, chatBody(false))),
      await send(client.service.transport, await sealTo(network, client, chatBody(false))),
    ]
    const foreign = { ...first, opened: second.opened }
    const refused = await workerReceipt(network, client, foreign)
    expect(refused.status).toBe(404)
    expect(JSON.parse(refused.body.toString())).toMatchObject({ error: { type: 'not_found' } })
  })

  test('S9: a prefix proof comes by the same way', async () => {
    const answer = await send(client.service.transport, await sealTo(network, client, chatBody(true)))
    const proof = await workerReceipt(network, client, answer, 1)
    expect(JSON.parse(proof.body.toString())).toMatchObject({ prefix: 1 })
    expect((await workerReceipt(network, client, answer, 100_000)).status).toBe(404)
  })

  test('what the worker refuses is told encrypted, and the controller signs that it was', async () => {
    const answer = await send(
      client.service.transport,
      await sealTo(network, client, utf8('{"model":"other","messages":[{"role":"user","content":"Hello"}]}'), { model: 'other' }),
    )
    expect(answer.status).toBe(404)
    expect(JSON.parse(answer.body.toString())).toMatchObject({ error: { code: 'model_not_found' } })
    const receipt = await controllerReceipt(answer.headers['x-receipt-id'])
    expect(eventOf(receipt, 'veritee.outcome')?.outcome).toBe('refused')
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(sha(answer.wire))
  })

  test('texts and embeddings are answered too', async () => {
    const texts = utf8('{"model":"veritee-demo","prompt":"Once upon a time","max_tokens":4,"temperature":0}')
    const path = '/v1/completions'
    expect((await send(client.service.transport, await sealTo(network, client, texts, { path }), path)).status).toBe(200)
    const inputs = utf8('{"model":"veritee-demo","input":"Tokyo"}')
    const embeddings = '/v1/embeddings'
    expect((await send(client.service.transport, await sealTo(network, client, inputs, { path: embeddings }), embeddings)).status).toBe(200)
  })
})

describe('S4: a worker asked directly', () => {
  test.for([false, true])(
    'S6: puts no receipt in clear behind an encrypted answer, whoever adds that he takes trailers, stream %s',
    async (stream) => {
      const request = await sealTo(network, client, chatBody(stream), { session_id: null })
      const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
      const headers = { ...request.headers, te: 'trailers' }
      https
        .request(`${network.worker.server.url}/v1/chat/completions`, { method: 'POST', headers, rejectUnauthorized: false, agent: false }, resolve)
        .once('error', reject)
        .end(request.body)
      const response = await promise
      for await (const _ of response) expect(response.statusCode).toBe(200)
      expect([response.headers.trailer, response.trailers]).toEqual([undefined, {}])
    },
  )

  test('opens bodies that name no session, and demands the line', async () => {
    const worker = nodeTransport(network.worker.server.url)
    const answer = await send(worker, await sealTo(network, client, chatBody(false), { session_id: null }))
    expect(answer.status).toBe(200)
    expect(answer.body.toString()).toContain('Tokyo')
    worker.close()
  })
})

describe('S25: what an encrypted answer shows by its length', () => {
  test('every frame of a stream is a multiple of 256 bytes, and the end is the last event', async () => {
    const answer = await send(client.service.transport, await sealTo(network, client, chatBody(true, 'Tell me a story about a fox.')))
    expect(answer.frames.length).toBeGreaterThan(1)
    expect(answer.frames.filter((length) => length % 256 !== 0)).toEqual([])
    expect(answer.body.toString().endsWith('data: [DONE]\n\n')).toBe(true)
    expect(answer.body.toString()).toMatch(/\n\n: +\n\n/)
  })

  test('a plain answer has spaces behind it, which the receipt hashes', async () => {
    const answer = await send(client.service.transport, await sealTo(network, client, chatBody(false)))
    expect(answer.body.length % 256).toBe(0)
    expect(answer.body.toString()).toMatch(/\} *$/)
    expect((JSON.parse(answer.body.toString()) as { model: string }).model).toBe('veritee-demo')
  })
})
