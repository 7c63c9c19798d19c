import OpenAI from 'openai'
import { parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from './network.ts'

let network: Network
let client: OpenAI

beforeAll(async () => {
  network = await startNetwork()
  client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
})
afterAll(() => network.close())

const capital = { model: 'veritee-demo', temperature: 0, messages: [{ role: 'user' as const, content: 'what is the capital of japan' }] }

describe('the official openai client, unmodified', () => {
  test('lists models', async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['veritee-demo'])
  })

  test('gets a chat completion', async () => {
    const answer = await client.chat.completions.create(capital)
    expect(answer.choices[0]?.message.content).toBe('The capital of Japan is Tokyo.')
    expect(answer.choices[0]?.finish_reason).toBe('stop')
    expect(answer.usage?.total_tokens).toBe((answer.usage?.prompt_tokens ?? 0) + (answer.usage?.completion_tokens ?? 0))
    expect(answer.usage?.completion_tokens).toBeGreaterThan(3)
  })

  test('streams a chat completion, with usage when asked', async () => {
    const stream = await client.chat.completions.create({ ...capital, stream: true, stream_options: { include_usage: true } })
    let text = ''
    const finishes: string[] = []
    let total = 0
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? ''
      if (typeof chunk.choices[0]?.finish_reason === 'string') finishes.push(chunk.choices[0].finish_reason)
      total += chunk.usage?.total_tokens ?? 0
    }
    expect(text).toBe('The capital of Japan is Tokyo.')
    expect(finishes).toEqual(['stop'])
    expect(total).toBeGreaterThan(10)
  })

  test('gives the same sampled answer for the same seed', async () => {
    const ask = async (): Promise<string | null | undefined> =>
      (
        await client.chat.completions.create({
          ...capital,
          temperature: 1.5,
          seed: 7,
          messages: [{ role: 'user', content: 'Tell me a story about a fox.' }],
        })
      ).choices[0]?.message.content
    expect(await ask()).toBe(await ask())
  })

  test('gets several answers, plain and streamed, and the receipt tells of each', async () => {
    const several = { ...capital, n: 3, temperature: 1.5, seed: 5, messages: [{ role: 'user' as const, content: 'Tell me a story about a fox.' }] }
    const { data: answer, response } = await client.chat.completions.create(several).withResponse()
    const texts = answer.choices.map(({ message }) => message.content)
    expect(answer.choices.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(new Set(texts).size).toBe(3)
    const streamed = ['', '', '']
    const finishes: unknown[] = []
    for await (const chunk of await client.chat.completions.create({ ...several, stream: true }))
      for (const { index, delta, finish_reason } of chunk.choices) {
        streamed[index] += delta.content ?? ''
        if (finish_reason !== null) finishes.push([index, finish_reason])
      }
    expect(streamed).toEqual(texts)
    expect(finishes).toEqual(answer.choices.map(({ index, finish_reason }) => [index, finish_reason]))
    const id = response.headers.get('x-receipt-id')
    const receipt = parseReceipt(
      await (await fetch(`${network.controller.api.url}/v1/veritee/receipts/${id}/upstream`, { headers: { authorization: 'Bearer unused' } })).text(),
    )
    const inference = receipt.events.find(({ type }) => type === 'veritee.inference')
    const choices = receipt.events.find(({ type }) => type === 'veritee.choices')
    if (inference?.type !== 'veritee.inference' || choices?.type !== 'veritee.choices') throw new Error('the receipt lacks an event')
    expect(inference.parameters).toMatchObject({ n: 3, seed_source: 'client' })
    expect(choices.choices).toHaveLength(3)
    expect(choices.choices.reduce((sum, choice) => sum + choice.completion_tokens, 0)).toBe(answer.usage?.completion_tokens)
  })

  test('the longest lists of parameters fit into the receipt that the controller checks', async () => {
    const logit_bias = Object.fromEntries(Array.from({ length: 256 }, (_, i) => [String(i * 7), i % 2 === 0 ? -99.12345678901234 : 1e-7]))
    const stop = Array.from({ length: 4 }, (_, i) => String.fromCharCode(97 + i).repeat(256))
    const longest = { ...capital, logit_bias, stop, max_tokens: 3, presence_penalty: -1.123456789012345, n: 4 }
    expect((await client.chat.completions.create(longest)).choices).toHaveLength(4)
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
  })

  test('stops at max_tokens with finish_reason length', async () => {
    const answer = await client.chat.completions.create({ ...capital, max_tokens: 2 })
    expect(answer.choices[0]?.finish_reason).toBe('length')
    expect(answer.usage?.completion_tokens).toBe(2)
  })

  test.for([
    ['an unknown model', { ...capital, model: 'gpt-4o' }, 404, 'model_not_found'],
    ['a temperature out of range', { ...capital, temperature: 9 }, 400, null],
    ['no messages', { ...capital, messages: [] }, 400, null],
    ['tools', { ...capital, tools: [{ type: 'function' as const, function: { name: 'f' } }] }, 400, null],
  ] as const)('sees its own error class for %s', async ([, body, status, code]) => {
    const error: unknown = await client.chat.completions
      .create(body as OpenAI.ChatCompletionCreateParamsNonStreaming)
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(OpenAI.APIError)
    const { status: found, type, code: foundCode, requestID: _, message } = error as InstanceType<typeof OpenAI.APIError>
    expect(found).toBe(status)
    expect(type).toBe('invalid_request_error')
    if (code !== null) expect(foundCode).toBe(code)
    expect(message).not.toMatch(/\n\s+at /)
  })

  test('may leave a stream early; the next request is served', async () => {
    const stream = await client.chat.completions.create({
      ...capital,
      stream: true,
      messages: [{ role: 'user', content: 'Tell me a story about a dragon named Ruby.' }],
    })
    for await (const _ of stream) break
    expect((await client.chat.completions.create(capital)).choices[0]?.message.content).toBe('The capital of Japan is Tokyo.')
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
  })
})
