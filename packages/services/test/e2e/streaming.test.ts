import OpenAI from 'openai'
import { request } from 'undici'
import { utf8 } from 'veritee/bytes'
import { ask, connect, nodeTransport } from 'veritee/client'
import { EventSplitter, eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createQuoter } from '../../src/enclave/runtime/quote.ts'
import { createSimDevice } from '../../src/enclave/runtime/sim-device.ts'
import type { Engine } from '../../src/enclave/worker/engine/index.ts'
import { registerWorker } from '../../src/enclave/worker/register.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { createWorker, type Worker } from '../../src/enclave/worker/worker.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, now, startNetwork } from './network.ts'

let network: Network
let slow: Worker
let slowServer: Listening

/** Says nothing for a while before each of its first tokens, and takes its time for the others. */
function hesitant(engine: Engine): Engine {
  const generate: Engine['generate'] = (generation) => {
    const tokens = engine.generate(generation)
    return (async function* () {
      let told = 0
      for await (const token of tokens) {
        await new Promise((resolve) => setTimeout(resolve, told++ < 2 ? 120 : 20))
        yield token
      }
    })()
  }
  return Object.create(engine, {
    generate: { value: generate },
    facts: { value: engine.facts },
    model: { value: engine.model },
    vocabulary: { value: engine.vocabulary },
    ready: { get: () => engine.ready },
    load: { get: () => engine.load },
  }) as Engine
}

beforeAll(async () => {
  network = await startNetwork((model) => [
    model,
    { ...model, served: { ...model.served, name: 'slow', described: { ...model.served.described, name: 'slow' } } },
  ])
  const { machine, model, controller } = network
  slow = await createWorker({
    callers: 'anybody',
    quoter: createQuoter(createSimDevice(machine.platform, machine.enclaves.worker)),
    collateral: () => machine.platform.collateral,
    models: [serveModel('slow', model.served.described.files[0]?.name ?? '', hesitant(model.engine), model.served.template)],
    configuration: {},
    now,
    heartbeatMs: 25,
  })
  slowServer = await listen({ host: '127.0.0.1', port: 0, tls: slow.identity.tls, simulated: true, apiKeys: false }, slow.handler)
  await registerWorker(controller.control.url, slowServer.url, slow)
})
afterAll(async () => {
  await slowServer.close()
  await network.close()
  await slow.close()
})

const chat = '/v1/chat/completions'
const hello = { model: 'veritee-demo', temperature: 0, messages: [{ role: 'user', content: 'what is the capital of japan' }] }

async function post(path: string, body: object): Promise<{ status: number; text: string; receiptId: string }> {
  const answer = await request(`${network.controller.api.url}${path}`, { method: 'POST', body: JSON.stringify(body) })
  return { status: answer.statusCode, text: await answer.body.text(), receiptId: String(answer.headers['x-receipt-id']) }
}

async function workerReceipt(id: string): Promise<ReturnType<typeof parseReceipt>> {
  return parseReceipt(await (await request(`${network.controller.api.url}/v1/veritee/receipts/${id}/upstream`)).body.text())
}

describe('streams through a controller', () => {
  test.for([
    [chat, hello],
    ['/v1/completions', { model: 'veritee-demo', temperature: 0, prompt: 'Once upon a time', max_tokens: 8 }],
  ] as const)('%s: LF framing, one line of data each, the last one [DONE]', async ([path, body]) => {
    const { text } = await post(path, { ...body, stream: true })
    const splitter = new EventSplitter()
    const events = splitter.push(utf8(text)).map((event) => Buffer.from(event).toString())
    expect(splitter.rest).toHaveLength(0)
    expect(text).not.toContain('\r')
    expect(events.at(-1)).toBe('data: [DONE]\n\n')
    for (const event of events.slice(0, -1)) {
      const [, data] = /^data: (\{.*\})\n\n$/.exec(event) ?? []
      expect(JSON.parse(data ?? '')).toMatchObject({ model: 'veritee-demo' })
    }
  })

  test('usage: null in every chunk and told in one more at the end, where it was asked for; else nowhere', async () => {
    const chunksOf = (text: string): { usage?: unknown; choices: unknown[] }[] =>
      text
        .split('\n\n')
        .filter((event) => event.startsWith('data: {'))
        .map((event) => JSON.parse(event.slice(6)) as { usage?: unknown; choices: unknown[] })
    const told = chunksOf((await post(chat, { ...hello, stream: true, stream_options: { include_usage: true } })).text)
    expect(told.slice(0, -1).every(({ usage }) => usage === null)).toBe(true)
    expect(told.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: expect.any(Number) as number } })
    for (const chunk of chunksOf((await post(chat, { ...hello, stream: true })).text)) expect(chunk).not.toHaveProperty('usage')
  })

  test('logprobs, n and a seed: as plain, and as the worker itself says', async () => {
    const wanted = { ...hello, logprobs: true, top_logprobs: 2, n: 2, seed: 11, temperature: 1.3, max_tokens: 12 }
    const plain = JSON.parse((await post(chat, wanted)).text) as OpenAI.ChatCompletion
    const { text } = await post(chat, { ...wanted, stream: true })
    const tokens: string[][] = [[], []]
    for (const event of text.split('\n\n').filter((one) => one.startsWith('data: {')))
      for (const { index, logprobs } of (JSON.parse(event.slice(6)) as OpenAI.ChatCompletionChunk).choices)
        tokens[index]?.push(...(logprobs?.content ?? []).map(({ token }) => token))
    expect(tokens).toEqual(plain.choices.map(({ logprobs }) => logprobs?.content?.map(({ token }) => token)))
    expect(plain.choices[0]?.logprobs?.content?.[0]?.top_logprobs).toHaveLength(2)
  })
})

describe('parameters that are not known', () => {
  test.for([chat, '/v1/responses'])('reach the worker byte for byte, which names them in its receipt: %s', async (path) => {
    const input = path === chat ? { messages: hello.messages } : { input: 'Hello!' }
    const { status, receiptId } = await post(path, { model: 'veritee-demo', temperature: 0, ...input, surprise: { a: [1] }, zeta: 'x', user: 'u' })
    expect(status).toBe(200)
    const receipt = await workerReceipt(receiptId)
    expect(eventOf(receipt, 'veritee.inference')?.ignored_parameters).toEqual(['surprise', 'user', 'zeta'])
    const own = parseReceipt(await (await request(`${network.controller.api.url}/v1/aci/receipts/${receiptId}`)).body.text())
    // Nothing was taken out on the way.
    expect(eventOf(own, 'request.forwarded')?.body_hash).toBe(eventOf(own, 'request.received')?.body_hash)
    expect(eventOf(receipt, 'request.received')?.body_hash).toBe(eventOf(own, 'request.forwarded')?.body_hash)
  })

  test('that would change the answer are refused by the worker, in its own words', async () => {
    const { status, text } = await post(chat, { ...hello, min_tokens: 5 })
    expect([status, JSON.parse(text)]).toMatchObject([400, { error: { code: 'unsupported_value', param: 'min_tokens' } }])
  })
})

describe('a worker that is silent for a while', () => {
  const asked = { ...hello, model: 'slow', stream: true }
  // The other worker has a model of this name too: what is shown here is of the slow one.
  beforeAll(() => {
    const { registry } = network.controller.controller
    for (const worker of registry.all()) if (worker.origin !== slowServer.url) registry.quarantine(worker, 'for this test', 'session')
  })

  test.for([chat, '/v1/responses'])('S9: comments of the worker are part of what both sign, and every proof stands: %s', async (path) => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    const body = path === chat ? asked : { model: 'slow', input: 'what is the capital of japan', temperature: 0, stream: true }
    const { proof, responseBody } = await ask(service, path, utf8(JSON.stringify(body)))
    expect(proof.outcome).toBe('verified')
    const events = new TextDecoder().decode(responseBody).split('\n\n').slice(0, -1)
    expect(events.filter((event) => event === ': keep-alive').length).toBeGreaterThan(1)
    expect(eventOf(proof.receipt, 'veritee.stream')?.events).toBe(events.length)
    expect(proof.worker === null ? null : eventOf(proof.worker.receipt, 'veritee.stream')?.events).toBe(events.length)
    service.transport.close()
  })

  test('the official client reads over them', async () => {
    const client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
    const stream = await client.chat.completions.create({ ...asked, stream: true } as OpenAI.ChatCompletionCreateParamsStreaming)
    let text = ''
    for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
    expect(text).toBe('The capital of Japan is Tokyo.')
    const responses = await client.responses.create({ model: 'slow', input: 'what is the capital of japan', temperature: 0, stream: true })
    let response = ''
    for await (const event of responses) if (event.type === 'response.output_text.delta') response += event.delta
    expect(response).toBe(text)
  })

  test('S9: where it dies, the official client gets the error in its own class, and the receipt says what the worker had sent', async () => {
    const client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
    const story = 'Tell me a story about a dragon named Ruby.'
    const [chatStream, responseStream] = await Promise.all([
      client.chat.completions.create({ model: 'slow', stream: true, messages: [{ role: 'user', content: story }] }).withResponse(),
      client.responses.create({ model: 'slow', stream: true, input: story }).withResponse(),
    ])
    const dying = Promise.withResolvers<void>()
    let begun = 0
    const read = async (stream: AsyncIterable<{ type?: string; choices?: { delta: { content?: string | null } }[] }>): Promise<void> => {
      let counted = false
      for await (const event of stream) {
        if (counted || !(event.type === 'response.output_text.delta' || event.choices?.[0]?.delta.content)) continue
        counted = true
        if (++begun === 2) dying.resolve()
      }
    }
    const readings = [read(chatStream.data), read(responseStream.data)]
    const outcomes = Promise.allSettled(readings)
    await dying.promise
    await slowServer.close()
    for (const outcome of await outcomes) {
      if (outcome.status !== 'rejected') throw new Error('expected an error')
      expect(outcome.reason).toBeInstanceOf(OpenAI.APIError)
      expect(outcome.reason).toMatchObject({ code: 'upstream_broken', type: 'server_error' })
    }
    for (const { response } of [chatStream, responseStream]) {
      const url = `${network.controller.api.url}/v1/aci/receipts/${response.headers.get('x-receipt-id')}`
      const receipt = parseReceipt(await (await request(url, { headers: { authorization: 'Bearer unused' } })).body.text())
      expect(eventOf(receipt, 'veritee.outcome')?.outcome).toBe('error')
      const sent = eventOf(receipt, 'veritee.stream')?.events ?? 0
      expect(eventOf(receipt, 'veritee.response.received')?.events).toBe(sent - 1)
    }
  })
})
