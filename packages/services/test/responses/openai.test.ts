import OpenAI from 'openai'
import { utf8 } from 'veritee/bytes'
import { ask, connect, nodeTransport } from 'veritee/client'
import { EventSplitter, eventOf, type InferenceEvent, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'
import { demanded, toolUser, weather } from '../e2e/tool-models.ts'

const endpoint = '/v1/responses'
let network: Network
let client: OpenAI

beforeAll(async () => {
  network = await startNetwork((model) => [model, toolUser(model), demanded(model)])
  client = new OpenAI({ baseURL: `${network.controller.api.url}/v1`, apiKey: 'unused', maxRetries: 0 })
})
afterAll(() => network.close())

const capital = { model: 'veritee-demo', temperature: 0, input: 'what is the capital of japan' }
const function_ = { type: 'function' as const, strict: null, ...weather.function }
const usesTools = { model: 'tool-user', input: 'How is the weather in Rome and Oslo?', tools: [function_] }

async function inferenceOf(receiptId: string | null): Promise<InferenceEvent> {
  const url = `${network.controller.api.url}/v1/veritee/receipts/${receiptId}/upstream`
  const event = eventOf(parseReceipt(await (await fetch(url, { headers: { authorization: 'Bearer unused' } })).text()), 'veritee.inference')
  if (event === undefined) throw new Error('the receipt lacks veritee.inference')
  return event
}

describe('responses of the official openai client', () => {
  test('a text', async () => {
    const { data: response, response: raw } = await client.responses
      .create({ ...capital, metadata: { a: 'b' }, instructions: 'Be brief.' })
      .withResponse()
    expect(response).toMatchObject({
      id: expect.stringMatching(/^resp_[0-9a-f]{32}$/) as string,
      object: 'response',
      status: 'completed',
      error: null,
      incomplete_details: null,
      instructions: 'Be brief.',
      metadata: { a: 'b' },
      model: 'veritee-demo',
      store: false,
      previous_response_id: null,
      temperature: 0,
    })
    expect(response.output_text.length).toBeGreaterThan(0)
    const { input_tokens, output_tokens, total_tokens } = response.usage ?? { input_tokens: 0, output_tokens: 0, total_tokens: -1 }
    expect(total_tokens).toBe(input_tokens + output_tokens)
    const inference = await inferenceOf(raw.headers.get('x-receipt-id'))
    expect([inference.prompt_tokens, inference.completion_tokens]).toEqual([input_tokens, output_tokens])
    expect(inference).toMatchObject({ outcome: 'complete', ignored_parameters: [], parameters: { temperature: '0' } })
  })

  test('says what a chat of the same messages says', async () => {
    const seeded = { model: 'veritee-demo', temperature: 1.4, seed: 9 }
    const input = [{ role: 'user' as const, content: 'Tell me a story about a fox.' }]
    const chat = await client.chat.completions.create({ ...seeded, messages: input })
    const response = await client.responses.create({ ...seeded, input } as OpenAI.Responses.ResponseCreateParamsNonStreaming)
    expect(response.output_text).toBe(chat.choices[0]?.message.content)
  })

  test('a stream: every event in its place, numbered without gaps, and the last one is the response', async () => {
    const events: OpenAI.Responses.ResponseStreamEvent[] = []
    for await (const event of await client.responses.create({ ...capital, stream: true })) events.push(event)
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i))
    const types = events.map(({ type }) => type)
    expect(types.filter((type, i) => type !== types[i - 1])).toEqual([
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
    const text = events.map((event) => (event.type === 'response.output_text.delta' ? event.delta : '')).join('')
    const last = events.at(-1)
    const whole = await client.responses.create(capital)
    expect(text).toBe('The capital of Japan is Tokyo.')
    expect(last?.type === 'response.completed' ? last.response.output : null).toMatchObject([
      { type: 'message', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text, annotations: [] }] },
    ])
    expect(whole.output_text).toBe(text)
  })

  test('one that is cut off is incomplete, plain and streamed', async () => {
    const cut = { ...capital, max_output_tokens: 2 }
    const whole = await client.responses.create(cut)
    expect(whole).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' }, usage: { output_tokens: 2 } })
    const streamed = await client.responses.stream(cut).finalResponse()
    expect(streamed).toMatchObject({ status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } })
    expect(streamed.output_text).toBe(whole.output_text)
  })

  test('logprobs, with the answer or with its pieces', async () => {
    const wanted = { ...capital, include: ['message.output_text.logprobs' as const], top_logprobs: 2 }
    const whole = await client.responses.create(wanted)
    const [item] = whole.output
    const part = item?.type === 'message' ? item.content[0] : undefined
    const told = part?.type === 'output_text' ? (part.logprobs ?? []) : []
    expect(told.map(({ token }) => token).join('')).toBe(whole.output_text)
    expect(told[0]?.top_logprobs).toHaveLength(2)
    const pieces: unknown[] = []
    for await (const event of await client.responses.create({ ...wanted, stream: true }))
      if (event.type === 'response.output_text.delta') pieces.push(...event.logprobs.map(({ token }) => token))
    expect(pieces).toEqual(told.map(({ token }) => token))
  })

  test('a form is held to, and parse() reads it', async () => {
    const schema = { type: 'object', properties: { age: { type: 'integer' } }, required: ['age'], additionalProperties: false }
    const text = { format: { type: 'json_schema' as const, name: 'person', strict: true, schema } }
    const asked = { model: 'veritee-demo', temperature: 0, input: 'Tell me about Mia.', text }
    const parsed = await client.responses.parse(asked)
    expect(JSON.parse(parsed.output_text)).toEqual({ age: expect.any(Number) as number })
    expect((await client.responses.stream(asked).finalResponse()).output_text).toBe(parsed.output_text)
  })

  test('calls of functions and their results, sent back as they came', async () => {
    const first = await client.responses.create(usesTools)
    expect(first.output).toMatchObject([
      { type: 'message', content: [{ text: 'I will look.\n' }] },
      {
        type: 'function_call',
        status: 'completed',
        name: 'weather',
        arguments: '{"place": "Rome"}',
        call_id: expect.stringMatching(/^call_/) as string,
      },
      { type: 'function_call', name: 'weather', arguments: '{"place": "Oslo"}' },
    ])
    const results = first.output.flatMap((item) =>
      item.type === 'function_call' ? [{ type: 'function_call_output' as const, call_id: item.call_id, output: 'sunny' }] : [],
    )
    const input: OpenAI.Responses.ResponseInput = [
      { role: 'user', content: usesTools.input },
      ...(first.output as OpenAI.Responses.ResponseInputItem[]),
      ...results,
    ]
    expect((await client.responses.create({ ...usesTools, input })).output_text).toBe('It is sunny there.')
  })

  test('calls in a stream', async () => {
    const stream = client.responses.stream(usesTools)
    const done: unknown[] = []
    stream.on('response.function_call_arguments.done', (event) => done.push(event.arguments))
    const response = await stream.finalResponse()
    expect(done).toEqual(['{"place": "Rome"}', '{"place": "Oslo"}'])
    expect(response.output.map(({ type }) => type)).toEqual(['message', 'function_call', 'function_call'])
  })

  test('a demanded call is of the schema', async () => {
    const { output } = await client.responses.create({
      ...usesTools,
      model: 'demo-tools',
      temperature: 0,
      tool_choice: { type: 'function', name: 'weather' },
    })
    const [call] = output
    expect(call?.type === 'function_call' ? JSON.parse(call.arguments) : null).toEqual({ place: expect.any(String) as string })
  })

  test.for([
    ['an unknown model', { model: 'gpt-4o' }, 404, 'model'],
    ['a kept response', { store: true }, 400, 'store'],
    ['an earlier response', { previous_response_id: 'resp_1' }, 400, 'previous_response_id'],
    ['a search', { tools: [{ type: 'web_search' }] }, 400, 'tools[0].type'],
    ['an input longer than the context', { input: 'word '.repeat(3000) }, 400, 'input'],
    ['more tokens than there is room for', { max_output_tokens: 1_000_000 }, 400, 'max_output_tokens'],
  ] as const)('its own error class for %s', async ([, members, status, param]) => {
    const error: unknown = await client.responses
      .create({ ...capital, ...members } as OpenAI.Responses.ResponseCreateParamsNonStreaming)
      .catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(status === 404 ? OpenAI.NotFoundError : OpenAI.BadRequestError)
    expect(error).toMatchObject({ status, param, type: 'invalid_request_error' })
    expect((error as Error).message).not.toMatch(/messages|max_tokens/)
  })

  test('nothing is kept to be fetched later', async () => {
    const { id } = await client.responses.create(capital)
    await expect(client.responses.retrieve(id)).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })

  test('may be left early; the next request is served', async () => {
    const stream = await client.responses.create({ ...capital, input: 'Tell me a story about a dragon named Ruby.', stream: true })
    for await (const _ of stream) break
    expect((await client.responses.create(capital)).output_text).toBe('The capital of Japan is Tokyo.')
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
  })
})

describe('proofs of responses', () => {
  const body = (more: object = {}): Uint8Array => utf8(JSON.stringify({ ...capital, ...more }))

  test.for([false, true])('every proof stands, stream %s', async (stream) => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    const answer = await ask(service, endpoint, body({ stream }))
    expect(answer.proof).toMatchObject({ outcome: 'verified', inferenceOutcome: 'complete' })
    expect(answer.proof.receipt).toMatchObject({ endpoint, chatId: expect.stringMatching(/^resp_/) as string })
    expect(answer.proof.worker?.receipt).toMatchObject({ endpoint })
    service.transport.close()
  })

  test('S9: a stream that is left early is verified as a prefix', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    let events = 0
    const story = body({ stream: true, input: 'Tell me a story about a dragon named Ruby.' })
    const answer = await ask(service, endpoint, story, { onEvent: () => ++events < 6 })
    expect(answer.proof.outcome).toBe('verified-prefix')
    service.transport.close()
  })

  test('constraints are cut out as of any request, and a foreign pin is refused with a receipt', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    expect((await ask(service, endpoint, body({ provider: { aci_session_ids: [network.sessionId] } }))).proof.outcome).toBe('verified')
    const refused = await service.transport.send({ method: 'POST', path: endpoint, body: body({ provider: { aci_session_ids: ['0'.repeat(64)] } }) })
    expect([refused.status, typeof refused.headers['x-receipt-id']]).toEqual([412, 'string'])
    service.transport.close()
  })

  test('a stream is LF framed, each event with its name, without [DONE]', async () => {
    const response = await fetch(`${network.controller.api.url}${endpoint}`, {
      method: 'POST',
      body: new TextDecoder().decode(body({ stream: true })),
    })
    const bytes = new Uint8Array(await response.arrayBuffer())
    const splitter = new EventSplitter()
    const events = splitter.push(bytes).map((event) => Buffer.from(event).toString())
    expect(splitter.rest).toHaveLength(0)
    for (const event of events) {
      const [, name, data] = /^event: ([\w.]+)\ndata: (.*)\n\n$/.exec(event) ?? []
      expect(name).toBe((JSON.parse(data ?? '') as { type: string }).type)
    }
    expect(Buffer.from(bytes).includes('[DONE]') || bytes.includes(0x0d)).toBe(false)
    expect(events.at(-1)).toMatch(/^event: response\.completed\n/)
  })
})
