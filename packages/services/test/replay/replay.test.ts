import { createHash, createHmac } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromUtf8, utf8 } from 'veritee/bytes'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import { loadChatTemplate, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { type ServedModel, serveModel } from '../../src/enclave/worker/served-model.ts'
import { type ExchangeRecord, formatRecord, openReplayModel, parseRecord, type ReplayModel } from '../../src/replay/index.ts'
import { demoPath } from '../engine/demo.ts'
import { dequantize } from './dequantize.ts'
import { exchange, passedOff, replayed, serveFile, statusOf, story, withEvent } from './worker.ts'

let folder: string
let floatPath: string
let served: ServedModel
let float: ServedModel
let model: ReplayModel
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-replay-'))
  floatPath = join(folder, 'f32.gguf')
  writeFileSync(floatPath, dequantize(readFileSync(demoPath)))
  served = await serveFile()
  float = await serveFile(floatPath)
  model = await openReplayModel(demoPath, 1024)
}, 60_000)
afterAll(async () => {
  for (const { engine } of [served, float, model]) await engine.dispose()
  rmSync(folder, { recursive: true, force: true })
})

const hot = { temperature: 1.5, seed: 7, max_tokens: 60 }
const greedy = { temperature: 0, max_tokens: 60 }

describe('an honest answer passes, level 1', () => {
  test.for([
    ['greedy', greedy],
    ['sampled, the seed of the client', hot],
    ['sampled, a seed of the enclave', { temperature: 1 }],
    ['streamed', { ...hot, stream: true, stream_options: { include_usage: true } }],
    ['with logprobs', { ...hot, logprobs: true, top_logprobs: 3 }],
    ['streamed with logprobs', { ...hot, stream: true, logprobs: true }],
    ['cut by max_tokens', { ...hot, max_tokens: 3 }],
    ['ended by a stop string', { ...greedy, stop: ['found a', 'never'] }],
    ['with every parameter of the sampler', { ...hot, top_p: 0.9, min_p: 0.01, top_k: 40 }],
    ['with members that had no effect', { ...greedy, user: 'u', store: false }],
    ['of the only token asked for', { ...greedy, max_tokens: 1 }],
    ['with penalties and a bias', { ...hot, frequency_penalty: 0.5, presence_penalty: -0.5, repetition_penalty: 1.2, logit_bias: { 397: 2 } }],
    ['greedy with penalties', { ...greedy, frequency_penalty: 1.5, repetition_penalty: 1.3 }],
    ['held to JSON', { ...hot, response_format: { type: 'json_object' } }],
    ['three answers', { ...hot, n: 3 }],
    ['two answers, streamed, with logprobs', { ...hot, n: 2, stream: true, logprobs: true, top_logprobs: 1 }],
  ] as const)('%s', async ([, members]) => {
    const report = await replayed(await exchange(served, members), model)
    expect(report).toMatchObject({ verdict: 'pass', level: 1, reason: null, position: null })
    expect(report.tokens?.equal).toBe(report.tokens?.total)
    for (const id of ['request', 'response', 'weights', 'template', 'engine', 'prompt', 'parameters', 'tokens', 'text', 'outcome'])
      expect([id, statusOf(report, `replay.${id}`)]).toEqual([id, 'pass'])
    expect(report.signature).toBe('valid')
  })

  test('the request as sent and as the controller forwarded it are both taken', async () => {
    const record = await exchange(served, { ...greedy, provider: { order: ['x'] } })
    const sent = utf8(fromUtf8(record.request).replace('{"order"', '{"aci_verified":true,"order"'))
    expect(await replayed({ ...record, request: sent }, model)).toMatchObject({ verdict: 'pass' })
  })

  test('S9: an answer that was aborted passes as far as it went', async () => {
    const whole = await exchange(served, { ...greedy, stream: true })
    const events = fromUtf8(whole.response).split('\n\n').slice(0, 8)
    const response = utf8(`${events.join('\n\n')}\n\n`)
    const known = await replayed(whole, model)
    expect(known.verdict).toBe('pass')
    // Seven tokens were sampled; the first event only names the role.
    const tokens: number[] = []
    for await (const { token } of served.engine.generate({
      promptTokens: served.template.render([{ role: 'user', content: story }]),
      maxTokens: 7,
      sampling: { temperature: 0, topK: 1, topP: 1, minP: 0 },
      seed: Uint8Array.of(0),
    }))
      tokens.push(token)
    const aborted = withEvent(
      withEvent({ ...whole, response }, 'response.returned', (event) => ({ ...event, body_hash: digest(response) })),
      'veritee.inference',
      (event) => ({ ...event, outcome: 'aborted', completion_tokens: 7, completion_tokens_hmac: hmac(whole, tokens) }),
    )
    expect(await replayed(aborted, model)).toMatchObject({ verdict: 'pass', tokens: { total: 7, equal: 7 } })
    const other = utf8(fromUtf8(response).replace('"Once', '"Twice'))
    const lied = withEvent({ ...aborted, response: other }, 'response.returned', (event) => ({ ...event, body_hash: digest(other) }))
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail' })
  })

  test('a record is the same after it was written as a line and read', async () => {
    const record = await exchange(served, greedy)
    const line = formatRecord(record)
    expect(formatRecord(parseRecord(line))).toBe(line)
    expect(() => parseRecord(line.replace('request_b64', 'request'))).toThrow(expect.objectContaining({ code: 'malformed_document' }))
    expect(() => parseRecord('{}')).toThrow(expect.objectContaining({ code: 'malformed_document' }))
  })
})

test('the schema of the report refuses what no report says', async () => {
  const report = await replayed(await exchange(served, greedy), model)
  for (const change of [
    { reason: 'token_differs' },
    { verdict: 'fail' },
    { verdict: 'inconclusive', reason: 'token_differs' },
    { verdict: 'fail', reason: 'no_answer' },
    { level: null },
    { level: 3 },
    { signature: 'invalid' },
    { tokens: null },
    { receiptId: '' },
    { position: -1 },
    { version: 'veritee.replay.v2' },
    { checks: [{ id: 'replay.more', status: 'pass', detail: '' }] },
    { more: 1 },
  ])
    expect([change, complaints('replay-report', { ...report, ...change }).length > 0]).toEqual([change, true])
})

test('a report says which receipt it is about, also where the bytes are others', async () => {
  const record = await exchange(served, greedy)
  const { receipt_id: id } = JSON.parse(record.receipt) as { receipt_id: string }
  expect(await replayed({ ...record, request: utf8('{}') }, model)).toMatchObject({ receiptId: id, verdict: 'fail', reason: 'request_differs' })
})

describe('a lie is found', () => {
  test('another quantization run under the name of Q8_0', async () => {
    const report = await replayed(await exchange(passedOff(float, served), hot), model)
    expect(report).toMatchObject({ verdict: 'fail', level: 1, reason: 'token_differs' })
    expect(report.position).toEqual(expect.any(Number))
  })

  test('Q8_0 run under the name of F32: claimed canonical, it is refused; claimed as what it is, no bits can be demanded', async () => {
    const record = await exchange(passedOff(served, float), hot)
    const floatModel = await openReplayModel(floatPath, 1024)
    try {
      expect(await replayed(record, floatModel)).toMatchObject({ verdict: 'inconclusive', reason: 'not_canonical' })
      const boast = withEvent(record, 'veritee.inference', (event) => ({ ...event, profile: 'canonical' }))
      expect(await replayed(boast, floatModel)).toMatchObject({ verdict: 'fail', reason: 'profile_differs' })
    } finally {
      await floatModel.engine.dispose()
    }
  })

  test('swapped weights: a receipt of another file than the one at hand', async () => {
    expect(await replayed(await exchange(float, hot), model)).toMatchObject({ verdict: 'fail', level: null, reason: 'weights_differ' })
  })

  test('S23: another seed than the receipt names', async () => {
    const record = await exchange(served, { temperature: 1.5, max_tokens: 60 })
    const other = withEvent(record, 'veritee.inference', (event) => ({ ...event, seed: '00'.repeat(16) }))
    expect(await replayed(other, model)).toMatchObject({ verdict: 'fail', level: 1, reason: 'token_differs' })
  })

  test("S23: another seed than the client's, a short one of the enclave, a seed of the enclave where the client gave one", async () => {
    const change = async (record: ExchangeRecord, members: object, parameters: object = {}): Promise<unknown> =>
      replayed(
        withEvent(record, 'veritee.inference', (event) => ({ ...event, ...members, parameters: { ...(event.parameters as object), ...parameters } })),
        model,
      )
    const given = await exchange(served, hot)
    const drawn = await exchange(served, { temperature: 1 })
    const refused = { verdict: 'fail', reason: 'parameters_differ' }
    expect(await change(given, { seed: '0000000000000008' })).toMatchObject(refused)
    expect(await change(given, { seed: '00'.repeat(16) }, { seed_source: 'enclave' })).toMatchObject(refused)
    expect(await change(drawn, { seed: '00'.repeat(8) })).toMatchObject(refused)
    expect(await change(drawn, { seed: null })).toMatchObject(refused)
  })

  test('a changed token, in text and receipt alike, with its position', async () => {
    const record = await exchange(served, greedy)
    const text = fromUtf8(record.response)
    const response = utf8(text.replace('shy dragon', 'shy cat'))
    const changed = withEvent({ ...record, response }, 'response.returned', (event) => ({ ...event, body_hash: digest(response) }))
    // The worker signs the digest of the tokens of its false text: then they are known, and the very first that differs is named.
    const honest = served.engine.vocabulary
    const content = (JSON.parse(fromUtf8(response)) as { choices: [{ message: { content: string } }] }).choices[0].message.content
    const tokens = [...honest.encode(content), honest.eos as number]
    const lied = withEvent(changed, 'veritee.inference', (event) => ({
      ...event,
      completion_tokens: tokens.length,
      completion_tokens_hmac: hmac(record, tokens),
    }))
    const expected = [...honest.encode((JSON.parse(text) as { choices: [{ message: { content: string } }] }).choices[0].message.content)]
    const position = expected.findIndex((token, i) => token !== tokens[i])
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail', level: 1, reason: 'token_differs', position })
    // With the digest of the honest tokens the text does not fit them.
    expect(await replayed(changed, model)).toMatchObject({ verdict: 'fail', level: 1, reason: 'token_differs' })
  })

  test('sampling parameters that the request did not ask for', async () => {
    const record = await exchange(served, hot)
    for (const parameters of [{ temperature: '0' }, { top_k: 5 }, { max_tokens: 61 }, { stop: ['x'] }, { top_p: '0.5' }]) {
      const other = withEvent(record, 'veritee.inference', (event) => ({ ...event, parameters: { ...(event.parameters as object), ...parameters } }))
      expect(await replayed(other, model)).toMatchObject({ verdict: 'fail', reason: 'parameters_differ' })
    }
    const hidden = withEvent(record, 'veritee.inference', (event) => ({ ...event, ignored_parameters: ['temperature'] }))
    expect(await replayed(hidden, model)).toMatchObject({ verdict: 'fail', reason: 'parameters_differ' })
  })

  test('one of several answers exchanged for another, and one counted wrongly', async () => {
    const record = await exchange(served, { ...hot, n: 2 })
    const swapped = withEvent(record, 'veritee.choices', (event) => ({ ...event, choices: (event.choices as object[]).toReversed() }))
    expect(await replayed(swapped, model)).toMatchObject({ verdict: 'fail' })
    const fewer = withEvent(record, 'veritee.choices', (event) => ({
      ...event,
      choices: [...(event.choices as object[]), ...(event.choices as object[])],
    }))
    expect(await replayed(fewer, model)).toMatchObject({ verdict: 'fail', reason: 'outcome_differs' })
    const other = withEvent(record, 'veritee.inference', (event) => ({ ...event, completion_tokens_hmac: '0'.repeat(64) }))
    expect(await replayed(other, model)).toMatchObject({ verdict: 'fail', reason: 'token_differs' })
  })

  test('another form than the request asks for, and a token that the form does not allow', async () => {
    const record = await exchange(served, { ...hot, response_format: { type: 'json_object' } })
    const free = withEvent(record, 'veritee.inference', (event) => {
      const { constraint: _, constraint_hmac: __, ...parameters } = event.parameters as Record<string, unknown>
      return { ...event, parameters }
    })
    expect(await replayed(free, model)).toMatchObject({ verdict: 'fail', reason: 'parameters_differ' })
    const tokens = [...served.engine.vocabulary.encode('Hello'), served.engine.vocabulary.eos as number]
    const body = utf8(fromUtf8(record.response).replace(/"content":"(?:[^"\\]|\\.)*"/, '"content":"Hello"'))
    const broken = withEvent(
      withEvent({ ...record, response: body }, 'response.returned', (event) => ({ ...event, body_hash: digest(body) })),
      'veritee.inference',
      (event) => ({ ...event, completion_tokens: tokens.length, completion_tokens_hmac: hmac(record, tokens) }),
    )
    expect(await replayed(broken, model)).toMatchObject({ verdict: 'fail', reason: 'token_differs', position: 0 })
  })

  test('sampling otherwise than the receipt says', async () => {
    const { engine } = served
    const cold: ServedModel = {
      ...served,
      engine: Object.create(engine, {
        facts: { value: engine.facts },
        vocabulary: { value: engine.vocabulary },
        generate: {
          value: (generation: Parameters<typeof engine.generate>[0]) =>
            engine.generate({ ...generation, sampling: { ...generation.sampling, temperature: 0 } }),
        },
      }),
    }
    expect(await replayed(await exchange(cold, hot), model)).toMatchObject({ verdict: 'fail', level: 1, reason: 'token_differs' })
  })

  test('S5: prompt and answer that fit the context of the worker and not the one here show nothing', async () => {
    const small = await openReplayModel(demoPath, 32)
    try {
      const record = await exchange(served, greedy)
      expect(await replayed(record, model)).toMatchObject({ verdict: 'pass' })
      expect(await replayed(record, small)).toMatchObject({ verdict: 'inconclusive', reason: 'request_unknown' })
    } finally {
      await small.engine.dispose()
    }
  })

  test('a template swapped: the prompt is not the one that the request makes', async () => {
    const template = { ...served.template, render: () => served.template.render([{ role: 'user', content: 'Hello!' }]) }
    expect(await replayed(await exchange({ ...served, template }, greedy), model)).toMatchObject({ verdict: 'fail', reason: 'prompt_differs' })
    const named = withEvent(await exchange(served, greedy), 'veritee.model', (event) => ({
      ...event,
      chat_template_digest: `sha256:${'0'.repeat(64)}`,
    }))
    expect(await replayed(named, model)).toMatchObject({ verdict: 'fail', reason: 'template_differs' })
  })

  test('tools, where the template of this model takes none: no worker can have answered that', async () => {
    const tools = [{ type: 'function', function: { name: 'f', parameters: { type: 'object', properties: {} } } }]
    const record = await exchange(served, greedy)
    const request = utf8(JSON.stringify({ model: 'veritee-demo', messages: [{ role: 'user', content: story }], ...greedy, tools }))
    const asked = withEvent({ ...record, request }, 'request.received', (event) => ({ ...event, body_hash: digest(request) }))
    expect(await replayed(asked, model)).toMatchObject({ verdict: 'fail', reason: 'prompt_differs' })
  })

  test('an answer cut short that calls itself complete, and one that goes on', async () => {
    const record = await exchange(served, { ...greedy, max_tokens: 3 })
    const cut = withEvent(record, 'veritee.inference', (event) => ({ ...event, outcome: 'complete' }))
    expect(await replayed(cut, model)).toMatchObject({ verdict: 'fail', reason: 'outcome_differs' })
    const more = withEvent(await exchange(served, greedy, 'Hello!'), 'veritee.inference', (event) => ({ ...event, completion_tokens: 40 }))
    expect(await replayed(more, model)).toMatchObject({ verdict: 'fail', reason: 'outcome_differs' })
  })

  test('other bytes than the receipt is over', async () => {
    const record = await exchange(served, greedy)
    const other = await exchange(served, greedy, 'Hello!')
    expect(await replayed({ ...record, response: other.response }, model)).toMatchObject({ verdict: 'fail', reason: 'response_differs' })
    expect(await replayed({ ...record, request: other.request }, model)).toMatchObject({ verdict: 'fail', reason: 'request_differs' })
    expect(await replayed({ ...record, request: utf8('{') }, model)).toMatchObject({ verdict: 'fail', reason: 'request_differs' })
  })

  test('S5: another key than the receipt commits to shows nothing of the worker: whoever passed it on may have changed it', async () => {
    const record = await exchange(served, greedy)
    expect(await replayed({ ...record, receiptKey: new Uint8Array(32) }, model)).toMatchObject({ verdict: 'inconclusive', reason: 'key_missing' })
  })
})

describe('hostile responses', () => {
  const withBody = async (body: string, members: object = greedy): Promise<unknown> => {
    const response = utf8(body)
    const record = await exchange(served, { ...members })
    const changed = withEvent({ ...record, response }, 'response.returned', (event) => ({ ...event, body_hash: digest(response) }))
    return replayed(changed, model)
  }

  test.for([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['choices that are none', '{"choices":1}'],
    ['two choices where one was asked for', '{"choices":[{"index":0,"message":{"content":""}},{"index":1,"message":{"content":""}}]}'],
    ['an index beyond', '{"choices":[{"index":1,"message":{"content":""}}]}'],
    ['an index that names a method', '{"choices":[{"index":"map","message":{"content":"x"}}]}'],
    ['no message', '{"choices":[{"index":0}]}'],
    ['tokens without bytes', '{"choices":[{"index":0,"message":{"content":"x"},"logprobs":{"content":[{"token":"x"}]}}]}'],
    ['bytes that are none', '{"choices":[{"index":0,"message":{"content":"x"},"logprobs":{"content":[{"token":"x","bytes":[256]}]}}]}'],
  ] as const)('%s', async ([, body]) => {
    expect(await withBody(body)).toMatchObject({ verdict: 'fail', reason: 'text_differs' })
    expect(Object.hasOwn(Array.prototype.map, 'text')).toBe(false)
  })

  test('a text far longer than its tokens could write, plain and streamed', async () => {
    const content = 'a '.repeat(2_000_000)
    const body = JSON.stringify({ choices: [{ index: 0, message: { content }, finish_reason: 'stop' }] })
    expect(await withBody(body)).toMatchObject({ verdict: 'fail', reason: 'token_differs' })
    const event = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'a '.repeat(20) }, finish_reason: null }] })}\n\n`
    expect(await withBody(event.repeat(20_000), { ...greedy, stream: true })).toMatchObject({ verdict: 'fail', reason: 'token_differs' })
  })

  test('more tokens than the model can hold', async () => {
    const many = withEvent(await exchange(served, greedy), 'veritee.inference', (event) => ({ ...event, completion_tokens: 2 ** 40 }))
    expect(await replayed(many, model)).toMatchObject({ verdict: 'fail', reason: 'outcome_differs' })
  })
})

describe('what shows nothing is inconclusive', () => {
  test('S6: without the receipt key equal text does not make equal tokens; other text is other text', async () => {
    const record = { ...(await exchange(served, hot)), receiptKey: null }
    expect(await replayed(record, model)).toMatchObject({ verdict: 'inconclusive', level: 1, reason: 'key_missing', position: null })
    const lied = { ...(await exchange(passedOff(float, served), { ...hot, temperature: 2 })), receiptKey: null }
    expect(await replayed(lied, model)).toMatchObject({ verdict: 'fail', reason: 'token_differs' })
  })

  test('S23: another build or CPU variant', async () => {
    const record = await exchange(served, greedy)
    for (const member of ['version', 'build', 'cpu_variant']) {
      const value = member === 'build' ? `sha256:${'1'.repeat(64)}` : 'other'
      const other = withEvent(record, 'veritee.inference', (event) => ({ ...event, engine: { ...(event.engine as object), [member]: value } }))
      expect(await replayed(other, model)).toMatchObject({ verdict: 'inconclusive', level: null, reason: 'engine_differs' })
    }
  })

  test('parameters that one side does not know, and a request that this version does not take', async () => {
    const record = await exchange(served, greedy)
    const newer = withEvent(record, 'veritee.inference', (event) => ({ ...event, parameters: { ...(event.parameters as object), mirostat: '2' } }))
    expect(await replayed(newer, model)).toMatchObject({ verdict: 'inconclusive', reason: 'parameters_unknown' })
    const request = utf8(JSON.stringify({ model: 'veritee-demo', messages: [], audio: {} }))
    const unknown = withEvent({ ...record, request }, 'request.received', (event) => ({ ...event, body_hash: digest(request) }))
    expect(await replayed(unknown, model)).toMatchObject({ verdict: 'inconclusive', reason: 'request_unknown' })
  })

  test("a controller's receipt, a failed answer, an answer without tokens", async () => {
    const record = await exchange(served, greedy)
    const document = JSON.parse(record.receipt) as { event_log: { type: string }[] }
    document.event_log = document.event_log.filter(({ type }) => type !== 'veritee.inference')
    expect(await replayed({ ...record, receipt: JSON.stringify(document), signer: null }, model)).toMatchObject({
      verdict: 'inconclusive',
      reason: 'no_inference',
    })
    for (const members of [{ outcome: 'error' }, { outcome: 'aborted', completion_tokens: 0 }]) {
      const none = withEvent(record, 'veritee.inference', (event) => ({ ...event, ...members }))
      expect(await replayed(none, model)).toMatchObject({ verdict: 'inconclusive', reason: 'no_answer' })
    }
  })
})

test('S23: an answer of the fast profile says so, and shows nothing bit by bit', async () => {
  const engine = await openLlamaEngine({ path: demoPath, profile: 'fast' })
  try {
    const fast = serveModel('veritee-demo', 'model.gguf', engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
    const record = await exchange(fast, greedy)
    expect(await replayed(record, model)).toMatchObject({ verdict: 'inconclusive', reason: 'not_canonical', signature: 'valid' })
    const boasting = withEvent(record, 'veritee.inference', (event) => ({ ...event, profile: 'tolerant' }))
    expect(await replayed(boasting, model)).toMatchObject({ verdict: 'fail', reason: 'profile_differs' })
  } finally {
    await engine.dispose()
  }
})

test('no report holds text of prompt or answer', async () => {
  for (const record of [await exchange(served, greedy), await exchange(passedOff(float, served), hot)])
    expect(JSON.stringify(await replayed(record, model))).not.toMatch(/dragon|Ruby|Once/)
})

function digest(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function hmac({ receiptKey }: ExchangeRecord, tokens: readonly number[]): string {
  const bytes = Buffer.alloc(4 * tokens.length)
  for (const [i, token] of tokens.entries()) bytes.writeUInt32LE(token, 4 * i)
  return createHmac('sha256', receiptKey ?? '')
    .update(bytes)
    .digest('hex')
}
