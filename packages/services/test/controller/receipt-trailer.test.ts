import { createHash } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request } from 'undici'
import { ask, chatBody, connect, nodeTransport, type Service } from 'veritee/client'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type RunningController, startController } from '../../src/demo/system.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, now, startNetwork } from '../e2e/network.ts'

const endpoint = '/v1/chat/completions'
const name = 'x-veritee-receipt'

const encoded = (receipt: string): string => Buffer.from(receipt).toString('base64url')

let network: Network
/** In front of the worker, with its TLS key: sees what the controller asks, and may change what the worker adds to its answers. */
let worker: Listening
let fetched: string[] = []
let promised: string[] = []
/** Gives the field to be sent. */
let edit: (receipt: string) => string | null = encoded

beforeAll(async () => {
  network = await startNetwork()
  const { worker: inner } = network.worker
  const handle = (incoming: IncomingMessage, response: ServerResponse): void => {
    if (incoming.url?.startsWith('/v1/aci/receipts/') === true) fetched.push(incoming.url)
    const add = response.addTrailers.bind(response)
    response.addTrailers = (trailers) => {
      const [[, value]] = trailers as [[string, string]]
      promised.push(value)
      const field = edit(Buffer.from(value, 'base64url').toString('utf8'))
      if (field !== null) add([[name, field]])
    }
    inner.handler(incoming, response)
  }
  worker = await listen({ host: '127.0.0.1', port: 0, tls: inner.identity.tls, simulated: true, apiKeys: false }, handle)
})
afterAll(async () => {
  await worker.close()
  await network.close()
})

let running: RunningController | null = null
afterEach(async () => {
  fetched = []
  promised = []
  edit = encoded
  await running?.api.close()
  await running?.control.close()
  await running?.controller.close()
  running = null
})

/** A fresh controller each time: what does not match costs the keyset its place there. */
async function start(): Promise<{ controller: RunningController; service: Service }> {
  running = await startController(network.machine, network.policy, { api: 0, control: 0 }, now)
  await running.controller.registry.admit(worker.url, network.worker.worker.identity.keysetDigest)
  return { controller: running, service: await connect(nodeTransport(running.api.url), network.options()) }
}

const body = (stream: boolean): Uint8Array => chatBody('veritee-demo', 'Who are you?', { stream, maxTokens: 6, temperature: 0 })

describe('a receipt with the answer', () => {
  test.for([false, true])('S10: spares the controller to fetch it, and is verified and cited as a fetched one is (stream: %s)', async (stream) => {
    const { service } = await start()
    const { proof, records } = await ask(service, endpoint, body(stream))
    expect(proof.outcome).toBe('verified')
    // The one that fetched is the client, from the controller.
    expect([fetched, promised.length]).toEqual([[], 1])
    expect(eventOf(parseReceipt(records.receipt), 'veritee.upstream_receipt')).toMatchObject({ result: 'match', reason: null })
    expect(records.workerReceipt).toBe(Buffer.from(promised[0] ?? '', 'base64url').toString('utf8'))
  })

  test.for([false, true])('S10: where it is missing, too long, garbled or a digest, the controller fetches it (stream: %s)', async (stream) => {
    const { service } = await start()
    const edits: readonly (typeof edit)[] = [
      () => null,
      () => 'x'.repeat(4097),
      () => 'not base64url!',
      (receipt) => `sha256:${createHash('sha256').update(receipt).digest('hex')}`,
    ]
    for (const [i, change] of edits.entries()) {
      edit = change
      expect((await ask(service, endpoint, body(stream))).proof.outcome).toBe('verified')
      expect(fetched).toHaveLength(i + 1)
    }
  })

  test.for([
    [
      'of another answer',
      (receipt: string) => receipt.replace(/"client_nonce":"[0-9a-f]{64}"/, `"client_nonce":"${'0'.repeat(64)}"`),
      /receipt_signature_invalid/,
    ],
    ['that is no receipt', () => '{"api_version":"aci/1"}', /receipt_malformed/],
    ['that is no JSON', () => '{', /receipt_malformed/],
  ] as const)('S10: one %s is a mismatch: the plain answer is withheld, and the keyset serves no more', async ([, change, reason]) => {
    const { controller } = await start()
    edit = (receipt) => encoded(change(receipt))
    const { statusCode, body: answer } = await request(`${controller.api.url}${endpoint}`, { method: 'POST', body: Buffer.from(body(false)) })
    expect([statusCode, await answer.json()]).toMatchObject([502, { error: { code: 'upstream_receipt_mismatch' } }])
    expect(controller.controller.registry.all()[0]?.quarantine).toMatch(reason)
    expect(fetched).toEqual([])
  })

  test('S10: a digest of another receipt is a mismatch', async () => {
    const { controller } = await start()
    edit = () => `sha256:${'0'.repeat(64)}`
    const { statusCode, body: answer } = await request(`${controller.api.url}${endpoint}`, { method: 'POST', body: Buffer.from(body(false)) })
    await answer.dump()
    expect([statusCode, fetched.length]).toEqual([502, 1])
    expect(controller.controller.registry.all()[0]?.quarantine).toMatch(/not the one that it announced/)
  })

  test('S10: an earlier one, truly signed, is a mismatch for the answer that it comes with', async () => {
    const { controller, service } = await start()
    await ask(service, endpoint, body(false))
    const earlier = Buffer.from(promised[0] ?? '', 'base64url').toString('utf8')
    edit = () => encoded(earlier)
    const { statusCode, body: answer } = await request(`${controller.api.url}${endpoint}`, { method: 'POST', body: Buffer.from(body(false)) })
    await answer.dump()
    expect(statusCode).toBe(502)
    expect(controller.controller.registry.all()[0]?.quarantine).toMatch(/receipt_\w+_mismatch/)
  })

  test('S9: after a stream that was left early there is none, and the controller fetches receipt and prefix proof', async () => {
    const { controller, service } = await start()
    const { body: answer, headers } = await request(`${controller.api.url}${endpoint}`, {
      method: 'POST',
      body: Buffer.from(chatBody('veritee-demo', 'Tell me a story about a dragon named Ruby.', { stream: true, maxTokens: 400, temperature: 1 })),
    })
    await answer[Symbol.asyncIterator]().next()
    answer.destroy()
    const id = String(headers['x-receipt-id'])
    await expect.poll(() => controller.controller.ledger.find(id, null).then(({ kind }) => kind), { timeout: 20_000 }).toBe('found')
    const found = await controller.controller.ledger.find(id, null)
    const receipt = parseReceipt(found.kind === 'found' ? found.text : '')
    expect(eventOf(receipt, 'veritee.outcome')).toMatchObject({ outcome: 'aborted' })
    expect(eventOf(receipt, 'veritee.upstream_receipt')).toMatchObject({ result: 'match' })
    expect(fetched.some((path) => path.includes('?prefix='))).toBe(true)
    service.transport.close()
  })

  test('nobody gets it who did not ask for it, and requesters of a controller never do', async () => {
    const { controller } = await start()
    for (const [url, te] of [
      [worker.url, undefined],
      [controller.api.url, 'trailers'],
    ] as const) {
      promised = []
      const transport = nodeTransport(url)
      const answer = await transport.send({ method: 'POST', path: endpoint, headers: te === undefined ? {} : { te }, body: body(true) })
      for await (const _ of answer.body);
      expect(answer.headers).not.toHaveProperty('trailer')
      expect(promised).toHaveLength(te === undefined ? 0 : 1)
      transport.close()
    }
  })
})
