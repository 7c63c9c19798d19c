import { createHash } from 'node:crypto'
import type { Answer } from 'veritee/client'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { tokensHmac } from '../../src/enclave/worker/served-model.ts'
import { dialects } from './dialects.ts'
import { type FakeEngine, fakeEngine, json } from './fake-engine.ts'
import { askFor, digest, outcomeIn, post, receiptOf, type UpstreamWorker, upstreamWorker } from './upstream-worker.ts'

const textOf = ({ responseBody }: Answer): string => Buffer.from(responseBody).toString('utf8')
const chunksOf = (answer: Answer): Record<string, unknown>[] =>
  textOf(answer)
    .split('\n\n')
    .filter((event) => event.startsWith('data: {'))
    .map((event) => JSON.parse(event.slice(6)) as Record<string, unknown>)
const saidIn = (answer: Answer): string =>
  chunksOf(answer)
    .flatMap(({ choices }) => choices as { delta: { content?: string | null } }[])
    .map(({ delta }) => delta.content ?? '')
    .join('')
const eventsOf = (answer: Answer) => {
  const receipt = parseReceipt(answer.records.receipt)
  const inference = eventOf(receipt, 'veritee.external_engine')
  const rewrite = eventOf(receipt, 'veritee.rewrite')
  if (inference === undefined || rewrite === undefined) throw new Error('expected an external engine')
  return { inference, rewrite, model: eventOf(receipt, 'veritee.model') }
}

describe.each(dialects.map((dialect) => [dialect.kind, dialect] as const))('%s', (kind, dialect) => {
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

  test('S2: a streamed answer verifies, and its receipt says that the engine is external', async () => {
    const answer = await askFor(await worker.connect(), { stream: true, temperature: 0.5 })
    expect(answer.proof.outcome).toBe('verified')
    expect(answer.proof.checks).toContainEqual(
      expect.objectContaining({ id: 'engine', status: 'waived', detail: expect.stringContaining(`EXTERNAL engine ${kind}`) }),
    )
    expect(saidIn(answer)).toBe('Hello there')
    const { inference, model } = eventsOf(answer)
    expect(model).toMatchObject({ files: [], format: 'unknown', provenance: 'provider_asserted' })
    expect(inference).toMatchObject({
      engine: { name: kind, build: digest, cpu_variant: 'external' },
      engine_provenance: 'provider_asserted',
      weights_provenance: 'provider_asserted',
      placement: 'simulation',
      transport: 'unix',
      replayable: false,
      prompt_tokens: 3,
      completion_tokens: 3,
      outcome: 'complete',
      parameters: { temperature: '0.5', top_p: '1', stop: [], seed_source: 'enclave' },
    })
  })

  test('a stream is framed anew: our id, our name of the model, no member that tells of the machine', async () => {
    const answer = await askFor(await worker.connect(), { stream: true })
    const text = textOf(answer)
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
    for (const [i, event] of text.split('\n\n').slice(0, -1).entries()) expect(event, `event ${i}`).toMatch(/^data: [^\n\r]+$/)
    for (const chunk of chunksOf(answer)) {
      expect(chunk).toMatchObject({ object: 'chat.completion.chunk', model: 'm', id: expect.stringMatching(/^chatcmpl-[0-9a-f]{32}$/) })
      expect(chunk.id).toBe(parseReceipt(answer.records.receipt).chatId)
      expect(Object.keys(chunk).filter((name) => !['id', 'object', 'created', 'model', 'choices', 'system_fingerprint'].includes(name))).toEqual([])
    }
    // Nobody asked for counts or ids: they are in the receipt, not in the answer.
    expect(text).not.toMatch(/usage|token_ids|timings|secret/)
  })

  test('usage is the engine`s own, and passed on to who asks for it', async () => {
    const answer = await askFor(await worker.connect(), { stream: true, stream_options: { include_usage: true } })
    const chunks = chunksOf(answer)
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 } })
    for (const chunk of chunks.slice(0, -1)) expect(chunk.usage).toBeNull()
  })

  test('a plain answer verifies', async () => {
    const answer = await askFor(await worker.connect(), {})
    expect(answer.proof.outcome).toBe('verified')
    const body = JSON.parse(textOf(answer)) as Record<string, unknown>
    expect(body).toMatchObject({
      object: 'chat.completion',
      model: 'm',
      choices: [{ index: 0, message: { role: 'assistant', content: 'Hello there' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 3, completion_tokens: 3, total_tokens: 6 },
    })
    expect(textOf(answer)).not.toMatch(/token_ids|timings|__verbose|secret/)
    expect(eventsOf(answer).inference).toMatchObject({ prompt_tokens: 3, completion_tokens: 3, outcome: 'complete' })
  })

  test('token ids are in the receipt by their keyed digest, or said not to be known', async () => {
    for (const stream of [true, false]) {
      const answer = await askFor(await worker.connect(), { stream })
      const { inference } = eventsOf(answer)
      expect(inference.capabilities.includes('tokenIds')).toBe(dialect.promptTokens !== null)
      if (dialect.promptTokens === null) {
        expect([inference.prompt_tokens_hmac, inference.completion_tokens_hmac]).toEqual([null, null])
        continue
      }
      const { headers } = await post(worker.url, { stream })
      const other = eventOf(await receiptOf(worker, headers.get('x-receipt-id')), 'veritee.external_engine')
      const key = Buffer.from(headers.get('x-veritee-receipt-key') ?? '', 'hex')
      expect(other?.prompt_tokens_hmac).toBe(tokensHmac(key, dialect.promptTokens))
      expect(other?.completion_tokens_hmac).toBe(tokensHmac(key, dialect.completionTokens ?? []))
      expect(other?.prompt_tokens_hmac).not.toBe(inference.prompt_tokens_hmac)
    }
  })

  test('S10: the engine gets the client`s own bytes, changed by the signed patch and in nothing else', async () => {
    const service = await worker.connect()
    const extra = { stream: true, user: 'é', chat_template_kwargs: { enable_thinking: false }, custom: [1.5, { deep: null }] }
    const answer = await askFor(service, { ...extra, temperature: null })
    const { rewrite, inference } = eventsOf(answer)
    const got = engine.requests.at(-1) ?? ''
    expect(rewrite.body_hash).toBe(`sha256:${createHash('sha256').update(got).digest('hex')}`)
    expect(answer.proof.checks).toContainEqual(expect.objectContaining({ id: 'rewrite', status: 'pass' }))
    expect(JSON.parse(got)).toMatchObject({ ...extra, model: 'org/model-7b', temperature: 1, top_p: 1, stream_options: { include_usage: true } })
    expect(inference.passed_parameters).toEqual(['chat_template_kwargs', 'custom', 'user'])
    expect(JSON.parse(got).cache_prompt).toBe(kind === 'llama-server' ? false : undefined)
    expect(JSON.parse(got).return_token_ids).toBe(kind === 'vllm' ? true : undefined)
  })

  test('S23: without a client`s seed the worker draws one, gives it to the engine and records it', async () => {
    const service = await worker.connect()
    const seeds = new Set<number>()
    for (let i = 0; i < 4; i++) {
      const { inference, rewrite } = eventsOf(await askFor(service, {}))
      const got = (JSON.parse(engine.requests.at(-1) ?? '') as { seed: number }).seed
      expect(rewrite.patch).toContainEqual({ op: 'add', path: '/seed', value: got })
      expect(inference.seed).toBe(got.toString(16).padStart(16, '0'))
      expect(inference.parameters.seed_source).toBe('enclave')
      expect(got).toBeLessThan(kind === 'llama-server' || kind === 'ollama' ? 2 ** 31 : 2 ** 48)
      seeds.add(got)
    }
    expect(seeds.size).toBe(4)
    const { inference, rewrite } = eventsOf(await askFor(service, { seed: -7 }))
    expect(inference).toMatchObject({ seed: 'fffffffffffffff9', parameters: { seed_source: 'client' } })
    expect(rewrite.patch.map(({ path }) => path)).not.toContain('/seed')
  })

  test('a failure within a stream is an error event and a receipt, without a word of the engine', async () => {
    engine.chat = (body, response) => dialect.breakOff(body, response)
    const { status, headers, text } = await post(worker.url, { stream: true })
    engine.chat = (body, response) => dialect.answer(body, response)
    expect(status).toBe(200)
    expect(text).toContain('Hello')
    const events = text.split('\n\n')
    expect(JSON.parse(events.at(-3)?.slice(6) ?? '')).toMatchObject({ error: { type: 'server_error', code: 'engine_failed' } })
    expect(events.at(-2)).toBe('data: [DONE]')
    expect(text).not.toMatch(/died|opt|shift|prompt/)
    const receipt = await receiptOf(worker, headers.get('x-receipt-id'))
    expect(outcomeIn(receipt)).toBe('error')
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  })

  test('a prompt that is too long is OpenAI`s error, without a word of the prompt', async () => {
    const [code, body] = dialect.tooLong
    engine.chat = (_, response) => json(response, body, code)
    for (const stream of [true, false]) {
      const { status, headers, text } = await post(worker.url, { stream })
      expect([status, JSON.parse(text)]).toEqual([
        400,
        {
          error: {
            message: 'prompt and answer do not fit the context of the model',
            type: 'invalid_request_error',
            param: 'messages',
            code: 'context_length_exceeded',
          },
        },
      ])
      expect(outcomeIn(await receiptOf(worker, headers.get('x-receipt-id')))).toBe('refused')
    }
    engine.chat = (request, response) => dialect.answer(request, response)
  })
})

test('an engine is reached over loopback too, and the receipt says so', async () => {
  const [dialect] = dialects
  if (dialect === undefined) throw new Error('no dialect')
  const engine = await fakeEngine(dialect.kind, (body, response) => dialect.answer(body, response), 'loopback')
  const worker = await upstreamWorker(engine, dialect.kind, { capabilities: ['deterministic', 'tokenIds'] })
  const { inference } = eventsOf(await askFor(await worker.connect(), {}))
  expect(inference).toMatchObject({ transport: 'loopback', replayable: true, capabilities: ['deterministic', 'tokenIds'] })
  // Nothing of the client's headers goes along.
  expect(Object.keys(engine.headers.at(-1) ?? {}).toSorted()).toEqual([
    'accept',
    'accept-encoding',
    'connection',
    'content-length',
    'content-type',
    'host',
  ])
  await worker.close()
  await engine.close()
})
