import { constants } from 'node:http2'
import { ask, chatBody, connect, type Service, type Transport } from 'veritee/client'
import { EventSplitter, eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { bytesOf, type Network, startNetwork } from '../../e2e/network.ts'
import { chatPath, openClient, prove, chatBody as sealedBody, sealTo, send, textOf } from '../../ehbp/sealing-client.ts'
import { attestedChannel, nodeHttp2, type OverTls, serveOverTls, undiciHttp2 } from './transports.ts'

/** Whole exchanges with a controller over HTTP/2, by clients that are not ours, and the proofs of them by the library. */

let network: Network
let served: OverTls
const transports: Transport[] = []
beforeAll(async () => {
  const plain = await startNetwork()
  network = { ...plain, policy: attestedChannel(plain), options: (changes = {}) => ({ ...plain.options(changes), policy: attestedChannel(plain) }) }
  served = await serveOverTls(network)
}, 60_000)
afterEach(() => {
  for (const transport of transports.splice(0)) transport.close()
  served.versions.clear()
})
afterAll(async () => {
  await served.listening.close()
  await network.close()
})

function opened<T extends Transport>(transport: T): T {
  transports.push(transport)
  return transport
}

const question = 'what is the capital of japan'
const story = chatBody('veritee-demo', 'Tell me a long story.', { stream: true, maxTokens: 400 })

async function documentOf({ transport }: Pick<Service, 'transport'>, path: string): Promise<{ status: number; text: string }> {
  const { status, body } = await transport.send({ method: 'GET', path, headers: { authorization: 'Bearer somebody' } })
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return { status, text: Buffer.concat(parts).toString() }
}

describe.for([
  ['node:http2', nodeHttp2],
  ['undici', undiciHttp2],
] as const)('a controller over HTTP/2, asked by %s', ([, client]) => {
  test('S10: its key is that of the connection, and answers verify, plain and streamed', async () => {
    const service = await connect(opened(client(served.listening)), network.options())
    const plain = await ask(service, chatPath, chatBody('veritee-demo', question, { temperature: 0 }))
    expect([plain.proof.outcome, textOf(Buffer.from(plain.responseBody).toString())]).toEqual(['verified', expect.stringContaining('Tokyo')])
    const events: Uint8Array[] = []
    const onEvent = (event: Uint8Array): undefined => void events.push(event)
    const stream = await ask(service, chatPath, chatBody('veritee-demo', question, { temperature: 0, stream: true }), { onEvent })
    expect([stream.proof.outcome, textOf(Buffer.from(stream.responseBody).toString())]).toEqual(['verified', expect.stringContaining('Tokyo')])
    expect(events.length).toBeGreaterThan(2)
    expect([...served.versions]).toEqual(['2.0'])
  })

  test('S9: who leaves a stream stops the worker, and what had come is proven', async () => {
    const service = await connect(opened(client(served.listening)), network.options({ apiKey: 'somebody' }))
    let count = 0
    const left = await ask(service, chatPath, story, { onEvent: () => ++count < 3 })
    expect(left.proof.outcome).toBe('verified-prefix')
    expect(new EventSplitter().push(left.responseBody).length).toBe(3)
    const receipt = await documentOf(service, `/v1/aci/receipts/${left.receiptId}`)
    expect(eventOf(parseReceipt(receipt.text), 'veritee.outcome')?.outcome).toBe('aborted')
    const upstream = await documentOf(service, `/v1/veritee/receipts/${left.receiptId}/upstream`)
    expect(eventOf(parseReceipt(upstream.text), 'veritee.inference')?.outcome).toBe('aborted')
    // Others of the same connection go on.
    expect((await ask(service, chatPath, chatBody('veritee-demo', question, { temperature: 0 }))).proof.outcome).toBe('verified')
  })

  test.for([
    ['plain', false],
    ['a stream', true],
  ] as const)('S4: a body that is encrypted to the worker is passed on, %s, and the exchange verifies', async ([, stream]) => {
    const sealing = await openClient(network, opened(client(served.listening)))
    const body = sealedBody(stream)
    const answer = await send(sealing.service.transport, await sealTo(network, sealing, body))
    expect([answer.status, textOf(answer.body.toString()), answer.wire.includes('Tokyo')]).toEqual([200, expect.stringContaining('Tokyo'), false])
    expect(await prove(network, sealing, answer, body)).toMatchObject({ outcome: 'verified' })
    expect([...served.versions]).toEqual(['2.0'])
  })
})

test.for(['its stream', 'the connection'] as const)(
  'S9: who resets %s before an event has come is missed, with a receipt that says so',
  async (what) => {
    const transport = opened(nodeHttp2(served.listening))
    const stream = transport.session.request({ ':method': 'POST', ':path': chatPath, authorization: 'Bearer somebody' })
    stream.on('error', () => undefined)
    const id = new Promise<string>((resolve) => stream.once('response', (headers) => resolve(String(headers['x-receipt-id']))))
    stream.end(story)
    const receiptId = await id
    if (what === 'its stream') stream.close(constants.NGHTTP2_CANCEL)
    else transport.session.destroy()
    const other = { transport: opened(nodeHttp2(served.listening)) }
    const fetched = () => documentOf(other, `/v1/aci/receipts/${receiptId}`)
    await expect.poll(async () => (await fetched()).status, { timeout: 20_000 }).toBe(200)
    expect(eventOf(parseReceipt((await fetched()).text), 'veritee.outcome')?.outcome).toBe('aborted')
    await expect.poll(() => network.controller.controller.registry.all().map(({ load }) => load.outstanding)).toEqual([0])
  },
)

test('S19: many streams of one connection are answered beside each other', async () => {
  const service = await connect(opened(nodeHttp2(served.listening)), network.options())
  const asked = Array.from({ length: 12 }, (_, i) =>
    ask(service, chatPath, chatBody('veritee-demo', `${i}: ${question}`, { stream: true, maxTokens: 4 })),
  )
  expect((await Promise.all(asked)).map(({ proof }) => proof.outcome)).toEqual(Array.from({ length: 12 }, () => 'verified'))
})

test('a controller that is stopping refuses work, and has its requesters open other connections once what is under way has ended', async () => {
  const stopping = await serveOverTls(network)
  try {
    const transport = opened(nodeHttp2(stopping.listening))
    const begun = await transport.send({ method: 'POST', path: chatPath, body: story })
    const drained = stopping.gate.drain(60_000)
    const goaway = new Promise((resolve) => transport.session.once('goaway', resolve))
    const refused = await transport.send({ method: 'POST', path: chatPath, body: story })
    expect([refused.status, refused.headers['x-veritee-draining'], refused.headers.connection]).toEqual([503, '1', undefined])
    expect((await bytesOf(refused)).toString()).toContain('service_draining')
    expect(await goaway).toBe(constants.NGHTTP2_NO_ERROR)
    expect((await bytesOf(begun)).toString()).toMatch(/data: \[DONE\]\n\n$/)
    const next = opened(nodeHttp2(stopping.listening))
    expect((await documentOf({ transport: next }, `/v1/aci/receipts/${begun.headers['x-receipt-id']}`)).status).toBe(200)
    next.close()
    expect(await drained).toBe(true)
  } finally {
    await stopping.listening.close()
  }
})
