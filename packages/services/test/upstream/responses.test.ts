import { createHash } from 'node:crypto'
import type { Answer } from 'veritee/client'
import { chatOfResponses, eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dialects } from './dialects.ts'
import { data, type FakeEngine, fakeEngine, type Json, json, sse } from './fake-engine.ts'
import { askResponse, outcomeIn, post, receiptOf, type UpstreamWorker, upstreamWorker } from './upstream-worker.ts'

interface Item {
  readonly type: string
  readonly [member: string]: unknown
}

const textOf = ({ responseBody }: Answer): string => Buffer.from(responseBody).toString('utf8')
const eventsIn = (text: string): Item[] =>
  text.split('\n\n').flatMap((event) => {
    const line = event.split('\n').find((found) => found.startsWith('data: '))
    return line === undefined ? [] : [JSON.parse(line.slice(6)) as Item]
  })
const typesIn = (text: string): string[] => eventsIn(text).map(({ type }) => type)
const hello = { type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: 'Hello there', annotations: [] }] }
const weather = { type: 'function', name: 'weather', description: 'Of a place', parameters: { type: 'object' }, strict: false }
const postResponse = (url: string, body: object) => post(url, JSON.stringify({ model: 'm', input: 'Say hello', ...body }), undefined, '/v1/responses')

describe.each(dialects.map((dialect) => [dialect.kind, dialect] as const))('responses of %s', (kind, dialect) => {
  let engine: FakeEngine
  let worker: UpstreamWorker
  beforeAll(async () => {
    engine = await fakeEngine(kind, (body, response) => dialect.answer(body, response))
    worker = await upstreamWorker(engine, kind)
  })
  afterAll(async () => {
    await worker.close()
    await engine.close()
  })

  test('S2: a streamed one verifies: every event in its place, numbered without gaps, and the last one is the response', async () => {
    const answer = await askResponse(await worker.connect(), { stream: true, temperature: 0.5, metadata: { a: 'b' } })
    expect(answer.proof.outcome).toBe('verified')
    expect(answer.proof.checks).toContainEqual(
      expect.objectContaining({ id: 'rewrite', status: 'pass', detail: expect.stringContaining('told it as a chat') }),
    )
    const events = eventsIn(textOf(answer))
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i))
    expect(events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1])).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ])
    const usage = { input_tokens: 3, output_tokens: 3, total_tokens: 6 }
    expect(events.at(-1)?.response).toMatchObject({ model: 'm', status: 'completed', temperature: 0.5, metadata: { a: 'b' }, output: [hello], usage })
    expect(textOf(answer)).not.toMatch(/\[DONE\]|secret|timings/)
    const receipt = parseReceipt(answer.records.receipt)
    expect([receipt.endpoint, receipt.chatId]).toEqual(['/v1/responses', (events.at(-1) as unknown as { response: Json }).response.id])
    expect(eventOf(receipt, 'veritee.external_engine')).toMatchObject({ outcome: 'complete', prompt_tokens: 3, parameters: { temperature: '0.5' } })
  })

  test('a plain one verifies', async () => {
    const answer = await askResponse(await worker.connect(), { instructions: 'Be brief.' })
    expect(answer.proof.outcome).toBe('verified')
    expect(JSON.parse(textOf(answer))).toMatchObject({
      object: 'response',
      status: 'completed',
      instructions: 'Be brief.',
      store: false,
      output: [hello],
      usage: { input_tokens: 3, input_tokens_details: { cached_tokens: 0 }, output_tokens: 3, total_tokens: 6 },
    })
  })

  test('S10: the engine gets the chat that the client computes, changed by the signed patch and in nothing else', async () => {
    const asked = {
      instructions: 'Be brief.',
      max_output_tokens: 7,
      user: 'é',
      custom: [1.5],
      stream: true,
      text: { format: { type: 'json_object' } },
    }
    const answer = await askResponse(await worker.connect(), asked)
    const rewrite = eventOf(parseReceipt(answer.records.receipt), 'veritee.rewrite')
    const got = engine.requests.at(-1) ?? ''
    expect(rewrite?.translation).toBe('veritee.responses-to-chat.v1')
    expect(rewrite?.body_hash).toBe(`sha256:${createHash('sha256').update(got).digest('hex')}`)
    expect(JSON.parse(got)).toMatchObject({
      model: 'org/model-7b',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Say hello' },
      ],
      max_tokens: 7,
      response_format: { type: 'json_object' },
      stream_options: { include_usage: true },
      user: 'é',
      custom: [1.5],
    })
    for (const name of ['input', 'instructions', 'max_output_tokens', 'text', 'metadata', 'store']) expect(JSON.parse(got)).not.toHaveProperty(name)
    const external = eventOf(parseReceipt(answer.records.receipt), 'veritee.external_engine')
    expect(external?.passed_parameters).toEqual(['custom', 'response_format', 'user'])
    expect(external?.parameters).toMatchObject({ max_tokens: 7 })
  })

  test('a failure within a stream is a failed response and a receipt, without a word of the engine', async () => {
    engine.chat = (body, response) => dialect.breakOff(body, response)
    const { status, headers, text } = await postResponse(worker.url, { stream: true })
    engine.chat = (body, response) => dialect.answer(body, response)
    expect(status).toBe(200)
    expect(eventsIn(text).at(-1)).toMatchObject({
      type: 'response.failed',
      response: { status: 'failed', output: [], error: { code: 'server_error' } },
    })
    expect(text).not.toMatch(/died|opt|shift|prompt/)
    const receipt = await receiptOf(worker, headers.get('x-receipt-id'))
    expect(outcomeIn(receipt)).toBe('error')
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  })

  test('one that is too long is OpenAI`s error, by the name of the member that is there', async () => {
    const [code, body] = dialect.tooLong
    engine.chat = (_, response) => json(response, body, code)
    for (const stream of [true, false]) {
      const { status, text } = await postResponse(worker.url, { stream })
      expect([status, (JSON.parse(text) as { error: object }).error]).toMatchObject([400, { param: 'input', code: 'context_length_exceeded' }])
    }
    engine.chat = (request, response) => dialect.answer(request, response)
  })
})

describe('responses of an engine with tools', () => {
  let engine: FakeEngine
  let worker: UpstreamWorker
  beforeAll(async () => {
    engine = await fakeEngine('vllm', () => undefined)
    worker = await upstreamWorker(engine, 'vllm', { capabilities: ['logprobs', 'tools'] })
  })
  afterAll(async () => {
    await worker.close()
    await engine.close()
  })
  const choice = (delta: object, finish: string | null = null, more: object = {}): string =>
    data({ choices: [{ index: 0, delta, finish_reason: finish, ...more }] })
  const calls = [
    { id: 'call_a', type: 'function', function: { name: 'weather', arguments: '{"place":"Rome"}' } },
    { id: 'not an id!', type: 'function', function: { name: 'weather', arguments: '' } },
  ]
  const outputOf = (text: string): Item[] => (eventsIn(text).at(-1) as unknown as { response: { output: Item[] } }).response.output

  test('a call comes whole, after the text before it; the next round has call and result in the engine`s words', async () => {
    engine.chat = (_, response) =>
      sse(response, [
        choice({ role: 'assistant', content: '' }),
        choice({ content: 'I look.' }),
        choice({ tool_calls: [{ index: 0, id: 'call_a', type: 'function', function: { name: 'weather', arguments: '' } }] }),
        choice({ tool_calls: [{ index: 0, function: { arguments: '{"place"' } }] }),
        choice({ tool_calls: [{ index: 0, function: { arguments: ':"Rome"}' } }] }),
        choice({ tool_calls: [{ index: 1, id: 'not an id!', type: 'function', function: { name: 'weather', arguments: '' } }] }),
        choice({}, 'tool_calls'),
        data('[DONE]'),
      ])
    const asked = { stream: true, tools: [weather], tool_choice: { type: 'function', name: 'weather' }, parallel_tool_calls: true }
    const answer = await askResponse(await worker.connect(), asked)
    expect(answer.proof.outcome).toBe('verified')
    const output = outputOf(textOf(answer))
    expect(output).toMatchObject([
      { type: 'message', content: [{ text: 'I look.' }] },
      { type: 'function_call', call_id: 'call_a', name: 'weather', arguments: '{"place":"Rome"}', status: 'completed' },
      { type: 'function_call', call_id: expect.stringMatching(/^call_[0-9a-f]{24}$/), name: 'weather', arguments: '{}' },
    ])
    expect(JSON.parse(engine.requests.at(-1) ?? '')).toMatchObject({
      tools: [{ type: 'function', function: { name: 'weather', description: 'Of a place', parameters: { type: 'object' } } }],
      tool_choice: { type: 'function', function: { name: 'weather' } },
      parallel_tool_calls: true,
    })

    engine.chat = (_, response) =>
      json(response, { choices: [{ index: 0, message: { content: null, tool_calls: calls }, finish_reason: 'tool_calls' }] })
    const input = [{ role: 'user', content: 'Rome?' }, ...output, { type: 'function_call_output', call_id: output[2]?.call_id, output: 'rain' }]
    const next = await askResponse(await worker.connect(), { input, tools: [weather] })
    expect(next.proof.outcome).toBe('verified')
    expect((JSON.parse(engine.requests.at(-1) ?? '') as { messages: object[] }).messages).toMatchObject([
      { role: 'user', content: 'Rome?' },
      {
        role: 'assistant',
        content: 'I look.',
        tool_calls: [{ id: 'call_a', function: { arguments: '{"place":"Rome"}' } }, { id: output[2]?.call_id }],
      },
      { role: 'tool', tool_call_id: output[2]?.call_id, content: 'rain' },
    ])
    expect((JSON.parse(textOf(next)) as { output: Item[] }).output.map(({ type }) => type)).toEqual(['function_call', 'function_call'])
  })

  test('S10: one whose end is too long for an event, with what a response repeats, has failed, and has a receipt', async () => {
    const piece = 'word '.repeat(2_000)
    engine.chat = (_, response) =>
      sse(response, [...Array.from({ length: 90 }, () => choice({ content: piece })), choice({}, 'stop'), data('[DONE]')])
    const { status, headers, text } = await postResponse(worker.url, { stream: true, instructions: 'x'.repeat(200_000) })
    expect(status).toBe(200)
    expect(typesIn(text)).toContain('response.output_item.done')
    expect(eventsIn(text).at(-1)).toMatchObject({ type: 'response.failed', response: { status: 'failed', output: [] } })
    const receipt = await receiptOf(worker, headers.get('x-receipt-id'))
    expect(outcomeIn(receipt)).toBe('error')
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  })

  test('logprobs, with the answer or with its pieces', async () => {
    const told = { token: 'Hello', bytes: [72], logprob: -0.5, top_logprobs: [] }
    engine.chat = (body, response) =>
      body.stream === true
        ? sse(response, [choice({ content: 'Hello' }, null, { logprobs: { content: [told] } }), choice({}, 'length'), data('[DONE]')])
        : json(response, { choices: [{ index: 0, message: { content: 'Hello' }, logprobs: { content: [told] }, finish_reason: 'length' }] })
    const wanted = { include: ['message.output_text.logprobs'], top_logprobs: 2 }
    const plain = JSON.parse(textOf(await askResponse(await worker.connect(), wanted))) as Json
    expect(plain).toMatchObject({
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ content: [{ logprobs: [told] }] }],
    })
    expect(JSON.parse(engine.requests.at(-1) ?? '')).toMatchObject({ logprobs: true, top_logprobs: 2 })
    const streamed = eventsIn(textOf(await askResponse(await worker.connect(), { ...wanted, stream: true })))
    expect(streamed.find(({ type }) => type === 'response.output_text.delta')).toMatchObject({ delta: 'Hello', logprobs: [told] })
    expect(streamed.at(-1)?.type).toBe('response.incomplete')
  })

  test.for<[string, (response: Parameters<FakeEngine['chat']>[1]) => void]>([
    ['another choice', (r) => sse(r, [data({ choices: [{ index: 1, delta: { content: 'x' }, finish_reason: 'stop' }] }), data('[DONE]')])],
    ['a text that is none', (r) => sse(r, [choice({ content: { a: 1 } }, 'stop'), data('[DONE]')])],
    ['calls that are no list', (r) => sse(r, [choice({ tool_calls: 'x' }, 'stop'), data('[DONE]')])],
    ['a call without a name', (r) => sse(r, [choice({ tool_calls: [{ index: 0, id: 'a', function: {} }] }, 'stop'), data('[DONE]')])],
    ['a call out of order', (r) => sse(r, [choice({ tool_calls: [{ index: 3, function: { name: 'weather' } }] }, 'stop'), data('[DONE]')])],
    [
      'more text than an event holds',
      (r) => sse(r, [...Array.from({ length: 12 }, () => choice({ content: 'a'.repeat(100_000) })), choice({}, 'stop'), data('[DONE]')]),
    ],
  ])('%s from the engine is a failed response and a receipt that says error', async ([, act]) => {
    engine.chat = (_, response) => act(response)
    const { text, headers } = await postResponse(worker.url, { stream: true, tools: [weather] })
    expect(typesIn(text).at(-1)).toBe('response.failed')
    expect(outcomeIn(await receiptOf(worker, headers.get('x-receipt-id')))).toBe('error')
  })

  test.for<[string, object, string | null]>([
    ['a kept response', { previous_response_id: 'resp_1' }, 'previous_response_id'],
    ['keeping one', { store: true }, 'store'],
    ['an item that is kept elsewhere', { input: [{ type: 'item_reference', id: 'x' }] }, 'input[0].type'],
    ['a picture', { input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'http://x' }] }] }, 'input[0].content[0]'],
    ['a tool of the service', { tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    ['messages', { messages: [{ role: 'user', content: 'x' }] }, 'messages'],
    ['logprobs as a chat asks for them', { logprobs: true }, 'logprobs'],
    ['another template', { chat_template: 'x' }, 'chat_template'],
    ['several answers', { n: 2 }, 'n'],
    ['token ids', { return_token_ids: true }, 'return_token_ids'],
    ['logprobs of the prompt', { prompt_logprobs: 1 }, 'prompt_logprobs'],
    ['a temperature that is none', { temperature: 'hot' }, 'temperature'],
  ])('%s is refused before the engine is asked', async ([, body, param]) => {
    const before = engine.requests.length
    const { status, text, headers } = await postResponse(worker.url, body)
    expect([status, (JSON.parse(text) as { error: { param: string | null } }).error.param]).toEqual([400, param])
    expect([engine.requests.length, headers.get('x-receipt-id')]).toEqual([before, null])
  })

  test('what an engine cannot do is refused by the names that a response has', async () => {
    const plain = await upstreamWorker(engine, 'vllm', { capabilities: [] })
    const { text } = await postResponse(plain.url, { include: ['message.output_text.logprobs'] })
    expect((JSON.parse(text) as { error: object }).error).toMatchObject({
      message: 'include is not supported by the engine of this model',
      param: 'include',
    })
    await plain.close()
  })
})

test('a request that could be read as a chat too has no translation', () => {
  expect(() => chatOfResponses({ model: 'm', input: 'a', messages: [] })).toThrow(expect.objectContaining({ code: 'receipt_malformed' }))
})
