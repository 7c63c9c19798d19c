import { createHmac } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import OpenAI from 'openai'
import { type InferenceEvent, parseReceipt, type Receipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startWorker } from '../../src/demo/system.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { type Network, now, startNetwork } from './network.ts'

let network: Network
let client: OpenAI

beforeAll(async () => {
  network = await startNetwork()
  client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
})
afterAll(() => network.close())

async function receiptOf(response: { readonly headers: Headers }): Promise<{ receipt: Receipt; inference: InferenceEvent; key: Buffer }> {
  const url = `${network.controller.api.url}/v1/veritee/receipts/${response.headers.get('x-receipt-id')}/upstream`
  const receipt = parseReceipt(await (await fetch(url, { headers: { authorization: 'Bearer unused' } })).text())
  const inference = receipt.events.find(({ type }) => type === 'veritee.inference')
  if (inference?.type !== 'veritee.inference') throw new Error('the receipt lacks veritee.inference')
  return { receipt, inference, key: Buffer.from(response.headers.get('x-veritee-receipt-key') ?? '', 'hex') }
}

const tokensOf = (text: string): number[] => network.model.engine.vocabulary.encode(text)

describe('/v1/completions of the official openai client', () => {
  const asked = { model: 'veritee-demo', prompt: 'Once upon a time', temperature: 0, max_tokens: 12 }

  test('continues a text, plain and streamed, with a receipt of that endpoint', async () => {
    const { data, response } = await client.completions.create(asked).withResponse()
    expect(data).toMatchObject({
      object: 'text_completion',
      id: expect.stringMatching(/^cmpl-[0-9a-f]{32}$/),
      choices: [{ index: 0, logprobs: null }],
    })
    let streamed = ''
    for await (const chunk of await client.completions.create({ ...asked, stream: true })) streamed += chunk.choices[0]?.text ?? ''
    expect(streamed).toBe(data.choices[0]?.text)
    expect(streamed).not.toBe('')
    const { receipt, inference } = await receiptOf(response)
    expect(receipt.endpoint).toBe('/v1/completions')
    expect(inference).toMatchObject({ prompt_tokens: tokensOf(asked.prompt).length + 1, parameters: { max_tokens: 12 } })
  })

  test('continues token ids as they are', async () => {
    const { bos } = network.model.engine.vocabulary
    const tokens = [bos ?? 0, ...tokensOf(asked.prompt)]
    expect((await client.completions.create({ ...asked, prompt: tokens })).choices).toEqual((await client.completions.create(asked)).choices)
  })

  test('probabilities in the form of this endpoint, several answers, a form', async () => {
    const { choices } = await client.completions.create({ ...asked, logprobs: 2, n: 2, temperature: 1, seed: 4 })
    for (const { text, logprobs } of choices) {
      const tokens = logprobs?.tokens ?? []
      expect(tokens.join('')).toBe(text)
      expect(logprobs?.token_logprobs).toHaveLength(tokens.length)
      expect(logprobs?.text_offset?.[0]).toBe(0)
      expect(logprobs?.text_offset?.at(-1)).toBe(text.length - (tokens.at(-1)?.length ?? 0))
      expect(Object.keys(logprobs?.top_logprobs?.[0] ?? {}).length).toBeGreaterThan(0)
    }
    expect(choices).toHaveLength(2)
    const held = await client.completions.create({ ...asked, guided_choice: ['yes', 'no'] } as OpenAI.CompletionCreateParamsNonStreaming)
    expect(['yes', 'no']).toContain(held.choices[0]?.text)
  })

  test('control words in a text stay text', async () => {
    const { response } = await client.completions.create({ ...asked, prompt: '<|im_start|>user\nx<|im_end|>', max_tokens: 1 }).withResponse()
    const { inference } = await receiptOf(response)
    expect(inference.prompt_tokens).toBeGreaterThanOrEqual(1 + tokensOf('<|im_start|>').length + tokensOf('<|im_end|>').length)
  })

  test.for([
    ['a suffix', { suffix: 'x' }, 'suffix'],
    ['echo', { echo: true }, 'echo'],
    ['best_of', { best_of: 3 }, 'best_of'],
    ['several prompts', { prompt: ['a', 'b'] }, 'prompt'],
    ['an empty prompt', { prompt: '' }, 'prompt'],
    ['a token outside the vocabulary', { prompt: [1, 99_999] }, 'prompt'],
    ['a long prompt', { prompt: 'word '.repeat(3000) }, 'prompt'],
    ['six probabilities', { logprobs: 6 }, 'logprobs'],
  ] as const)('refuses %s', async ([, members, param]) => {
    const error: unknown = await client.completions
      .create({ ...asked, ...members } as OpenAI.CompletionCreateParamsNonStreaming)
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ param })
  })
})

describe('/v1/embeddings of the official openai client', () => {
  const asked = { model: 'veritee-demo', input: ['The capital of Japan is Tokyo.', 'What is 17 + 25?'] }

  test('gives vectors of length 1; base64, which the client asks for by itself, holds the same numbers', async () => {
    const floats = await client.embeddings.create({ ...asked, encoding_format: 'float' })
    const decoded = await client.embeddings.create(asked)
    expect(floats.data.map(({ index, embedding }) => [index, embedding.length])).toEqual([
      [0, 128],
      [1, 128],
    ])
    for (const [i, { embedding }] of floats.data.entries()) {
      expect(Math.hypot(...embedding)).toBeCloseTo(1, 5)
      expect(decoded.data[i]?.embedding).toEqual(embedding)
    }
    expect(floats.data[0]?.embedding).not.toEqual(floats.data[1]?.embedding)
    expect(floats.usage).toEqual({ prompt_tokens: 2 + asked.input.flatMap(tokensOf).length, total_tokens: 2 + asked.input.flatMap(tokensOf).length })
    const ids = await client.embeddings.create({ ...asked, input: asked.input.map(tokensOf), encoding_format: 'float' })
    expect(ids.data).toEqual(floats.data)
  })

  test('S6: the receipt has keyed digests only, of the tokens and of the bytes of the vectors', async () => {
    const { data, response } = await client.embeddings.create({ ...asked, encoding_format: 'float' }).withResponse()
    const { receipt, inference, key } = await receiptOf(response)
    const bytes = Buffer.concat(data.data.map(({ embedding }) => Buffer.from(Float32Array.from(embedding).buffer)))
    expect(receipt.endpoint).toBe('/v1/embeddings')
    expect(inference).toMatchObject({
      completion_tokens: 0,
      completion_tokens_hmac: createHmac('sha256', key).digest('hex'),
      prompt_tokens: data.usage.prompt_tokens,
      parameters: { dimensions: 128, encoding_format: 'float', inputs: 2, vectors_hmac: createHmac('sha256', key).update(bytes).digest('hex') },
      seed: null,
      outcome: 'complete',
    })
  })

  test.for([
    ['no input', { input: [] }, 'input'],
    ['an empty text', { input: ['a', ''] }, 'input[1]'],
    ['other dimensions', { dimensions: 64 }, 'dimensions'],
    ['an unknown encoding', { encoding_format: 'hex' }, 'encoding_format'],
    ['many inputs', { input: Array(257).fill('a') }, 'input'],
    ['a long text', { input: ['a', 'word '.repeat(3000)] }, 'input[1]'],
    ['a token outside the vocabulary', { input: [[99_999]] }, 'input'],
  ] as const)('refuses %s', async ([, members, param]) => {
    const error: unknown = await client.embeddings
      .create({ ...asked, ...members } as unknown as OpenAI.EmbeddingCreateParams)
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.BadRequestError)
    expect(error).toMatchObject({ param })
  })
})

test('S9: a requester that leaves during embeddings ends them, and the receipt says aborted', async () => {
  const body = JSON.stringify({ model: 'veritee-demo', input: Array(256).fill('word '.repeat(400)) })
  const id = await new Promise<string>((resolve) => {
    const sent = httpsRequest(`${network.worker.server.url}/v1/embeddings`, {
      method: 'POST',
      rejectUnauthorized: false,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    })
    sent.on('error', () => undefined)
    sent.end(body)
    const { ledger } = network.worker.worker
    const open = ledger.open.bind(ledger)
    ledger.open = (credential) => {
      const pending = open(credential)
      resolve(pending.id)
      ledger.open = open
      // All of it takes many times as long.
      setTimeout(() => sent.destroy(), 300)
      return pending
    }
  })
  const { ledger } = network.worker.worker
  await expect.poll(async () => (await ledger.find(id, null)).kind).toBe('found')
  const found = await ledger.find(id, null)
  if (found.kind !== 'found') throw new Error('no receipt')
  expect(parseReceipt(found.text).events.find(({ type }) => type === 'veritee.inference')).toMatchObject({ outcome: 'aborted', completion_tokens: 0 })
})

test('S22: between the texts of one request for embeddings others have their turn', async () => {
  const { engine, served } = network.model
  const turns: number[] = []
  let turn = 0
  let ticking = setImmediate(function tick() {
    turn++
    ticking = setImmediate(tick)
  })
  const encodeText: typeof served.template.encodeText = (text, param) => {
    turns.push(turn)
    return served.template.encodeText(text, param)
  }
  const worker = await startWorker(network.machine, [serveModel(served.name, 'm.gguf', engine, { ...served.template, encodeText })], 0, now)
  const body = JSON.stringify({ model: served.name, input: ['a', 'b', 'c', 'd'] })
  const statusCode = await new Promise((resolve, reject) => {
    httpsRequest(`${worker.server.url}/v1/embeddings`, { method: 'POST', rejectUnauthorized: false }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode))
    })
      .once('error', reject)
      .end(body)
  })
  clearImmediate(ticking)
  await worker.server.close()
  expect([statusCode, turns.length, new Set(turns).size]).toEqual([200, 4, 4])
})
