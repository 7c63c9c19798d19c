import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { utf8 } from 'veritee/bytes'
import { nodeTransport } from 'veritee/client'
import { eventOf } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openUpstreamModel } from '../../src/enclave/worker/upstream/index.ts'
import { data, type FakeEngine, fakeEngine, json, sse } from './fake-engine.ts'
import { askFor, digest, outcomeIn, post, receiptOf, type UpstreamWorker, upstreamWorker } from './upstream-worker.ts'

/** Words of the "engine" that no client may ever see. */
const leak = 'LEAK 10.0.0.7 /opt/engine Say hello'
const first = data({ choices: [{ index: 0, delta: { role: 'assistant', content: 'Hello' }, finish_reason: null }] })
const last = data({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })
const done = data('[DONE]')
const plain = (choice: object): object => ({ id: leak, choices: [choice], usage: { prompt_tokens: 1, completion_tokens: 1 } })
const choice = { index: 0, message: { role: 'assistant', content: 'Hello' }, finish_reason: 'stop' }

let engine: FakeEngine
let worker: UpstreamWorker
beforeAll(async () => {
  engine = await fakeEngine('vllm', () => undefined)
  worker = await upstreamWorker(engine, 'vllm', { times: { connectMs: 1000, headersMs: 300, idleMs: 300, totalMs: 1500 } })
})
afterAll(async () => {
  await worker.close()
  await engine.close()
})

type Act = (response: ServerResponse) => void
const raw =
  (text: string, end = true): Act =>
  (response) => {
    response.socket?.write(text)
    if (end) response.socket?.end()
  }
const head = (headers: string): string => `HTTP/1.1 200 OK\r\n${headers}\r\n\r\n`
const inPlainJson = 'Content-Type: application/json'
const inStream = 'Content-Type: text/event-stream'

async function outcome(act: Act, stream: boolean): Promise<{ status: number; text: string; outcome: string | undefined; code: unknown }> {
  engine.chat = (_body, response) => act(response)
  const { status, headers, text } = await post(worker.url, { stream })
  expect(text).not.toContain('LEAK')
  expect(text).not.toMatch(/10\.0\.0\.7|opt|veritee-engine/)
  const receipt = await receiptOf(worker, headers.get('x-receipt-id'))
  // Whatever happened: the receipt is over exactly what came.
  expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`)
  const error = /"error":(\{.*?\})\}/.exec(text)?.[1]
  return { status, text, outcome: outcomeIn(receipt), code: error === undefined ? null : (JSON.parse(error) as { code: unknown }).code }
}

describe('plain answers of a hostile engine', () => {
  test.for<[string, Act, number, string]>([
    ['status 500 with words', (r) => json(r, { error: { message: leak } }, 500), 502, 'engine_failed'],
    ['status 400 with words', (r) => json(r, { error: { message: leak } }, 400), 400, 'engine_refused'],
    ['status 422 with the request in it', (r) => json(r, { detail: [{ loc: ['body'], input: leak }] }, 422), 400, 'engine_refused'],
    ['status 401', (r) => json(r, { error: leak }, 401), 502, 'engine_failed'],
    ['status 404', (r) => json(r, { error: { message: leak } }, 404), 502, 'engine_failed'],
    ['status 429', (r) => json(r, { error: leak }, 429), 429, 'engine_busy'],
    ['status 503 while the model is loaded', (r) => json(r, { error: { code: 503, message: 'Loading model' } }, 503), 503, 'engine_unavailable'],
    ['a redirect to another machine', (r) => void r.writeHead(307, { location: 'http://10.0.0.7/' }).end(), 502, 'engine_failed'],
    ['no content', (r) => void r.writeHead(204).end(), 502, 'engine_failed'],
    ['an answer of another type', (r) => void r.writeHead(200, { 'content-type': 'text/html' }).end(leak), 502, 'engine_failed'],
    ['an answer without a type', (r) => void r.writeHead(200).end(JSON.stringify(plain(choice))), 502, 'engine_failed'],
    [
      'a compressed answer',
      (r) => void r.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }).end('x'),
      502,
      'engine_failed',
    ],
    ['no JSON', raw(`${head(`${inPlainJson}\r\nContent-Length: ${leak.length}`)}${leak}`), 502, 'engine_failed'],
    ['no UTF-8', (r) => void r.writeHead(200, { 'content-type': 'application/json' }).end(Buffer.from([0x22, 0xff, 0x22])), 502, 'engine_failed'],
    ['a list', (r) => json(r, [leak]), 502, 'engine_failed'],
    ['an error with status 200', (r) => json(r, { error: leak }), 502, 'engine_failed'],
    ['a flat error with status 200', (r) => json(r, { object: 'error', message: leak }), 502, 'engine_failed'],
    ['no choices', (r) => json(r, { id: leak }), 502, 'engine_failed'],
    ['an empty list of choices', (r) => json(r, { choices: [] }), 502, 'engine_failed'],
    ['a choice without an end', (r) => json(r, plain({ ...choice, finish_reason: null })), 502, 'engine_failed'],
    ['a choice that was given up', (r) => json(r, plain({ ...choice, finish_reason: 'abort' })), 502, 'engine_failed'],
    ['a choice without a message', (r) => json(r, plain({ index: 0, finish_reason: 'stop' })), 502, 'engine_failed'],
    ['a choice out of bounds', (r) => json(r, plain({ ...choice, index: 1e9 })), 502, 'engine_failed'],
    ['token ids that are none', (r) => json(r, plain({ ...choice, token_ids: [1, -1] })), 502, 'engine_failed'],
    ['less than it announced', raw(`${head(`${inPlainJson}\r\nContent-Length: 1000`)}${JSON.stringify(plain(choice))}`), 502, 'engine_failed'],
    ['a connection cut at once', (r) => void r.socket?.destroy(), 502, 'engine_failed'],
    ['no HTTP', raw('SSH-2.0-OpenSSH_9.6\r\n'), 502, 'engine_failed'],
    ['two lengths', raw(`${head(`${inPlainJson}\r\nContent-Length: 2\r\nContent-Length: 3`)}{}`), 502, 'engine_failed'],
    ['a length and chunks', raw(`${head(`${inPlainJson}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked`)}0\r\n\r\n`), 502, 'engine_failed'],
    ['another protocol', raw('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n'), 502, 'engine_failed'],
    ['headers without an end', (r) => void r.socket?.write(`HTTP/1.1 200 OK\r\n${`X-A: ${'a'.repeat(1000)}\r\n`.repeat(40)}`), 502, 'engine_failed'],
    ['no headers at all', () => undefined, 504, 'engine_failed'],
    ['a body that stands still', raw(`${head(`${inPlainJson}\r\nContent-Length: 1000`)}{`, false), 504, 'engine_failed'],
  ])('%s', async ([, act, status, code]) => {
    const found = await outcome(act, false)
    expect([found.status, found.code]).toEqual([status, code])
    expect(found.outcome).toBe(['engine_refused', 'engine_busy', 'engine_unavailable'].includes(code) ? 'refused' : 'error')
  })

  test('more than it announced: the rest is not read, and the next request is not answered with it', async () => {
    const body = JSON.stringify(plain(choice))
    const smuggled = `${head(`${inPlainJson}\r\nContent-Length: ${body.length}`)}${body.replace('Hello', 'Other')}`
    const found = await outcome(raw(`${head(`${inPlainJson}\r\nContent-Length: ${body.length}`)}${body}${smuggled}`, false), false)
    // Either the answer as announced, or none: never the one behind it.
    expect(found.text).not.toContain('Other')
    const next = await outcome((r) => json(r, plain({ ...choice, message: { role: 'assistant', content: 'Next' } })), false)
    expect([next.status, JSON.parse(next.text).choices[0].message.content]).toEqual([200, 'Next'])
  })

  test('an answer that is too large is not kept', async () => {
    const found = await outcome((r) => {
      r.writeHead(200, { 'content-type': 'application/json' })
      const part = Buffer.alloc(1 << 20, 0x20)
      for (let i = 0; i < 20; i++) r.write(part)
    }, false)
    expect([found.status, found.code]).toEqual([502, 'engine_failed'])
  })
})

describe('streams of a hostile engine', () => {
  test.for<[string, Act, string | null]>([
    ['that end without [DONE]', (r) => sse(r, [first, last]), 'engine_failed'],
    ['that end within an event', (r) => sse(r, [first, 'data: {"choices"']), 'engine_failed'],
    ['that are done before they finish', (r) => sse(r, [first, done]), 'engine_failed'],
    ['that are done before they begin', (r) => sse(r, [done]), 'engine_failed'],
    ['with an error, then silence', (r) => sse(r, [first, data({ error: { message: leak } })]), 'engine_failed'],
    ['with an event too large', (r) => sse(r, [first, `data: ${'a'.repeat(1 << 20)}\n\n`, done]), 'engine_failed'],
    [
      'with bytes that are no UTF-8',
      (r) =>
        void r
          .writeHead(200, { 'content-type': 'text/event-stream' })
          .end(Buffer.concat([Buffer.from(first), Buffer.from([0x64, 0xff, 0x0a, 0x0a])])),
      'engine_failed',
    ],
    ['with something that is no JSON', (r) => sse(r, [first, data(leak), done]), 'engine_failed'],
    ['with a chunk of no object', (r) => sse(r, [first, data('7'), done]), 'engine_failed'],
    ['cut in the middle', raw(`${head(`${inStream}\r\nTransfer-Encoding: chunked`)}${first.length.toString(16)}\r\n${first}\r\n`), 'engine_failed'],
    [
      'with a broken chunk',
      raw(`${head(`${inStream}\r\nTransfer-Encoding: chunked`)}${first.length.toString(16)}\r\n${first}\r\nZZ\r\n`),
      'engine_failed',
    ],
    ['that stand still', (r) => void r.writeHead(200, { 'content-type': 'text/event-stream' }).write(first), 'engine_failed'],
    ['that send comments for ever', keepTalking(': ping\n\n'), 'engine_failed'],
    ['that send words for ever', keepTalking(first), 'engine_failed'],
    ['with more after [DONE]', (r) => sse(r, [first, last, done, data({ choices: [{ index: 0, delta: { content: leak } }] })]), null],
  ])('%s', async ([, act, code]) => {
    const found = await outcome(act, true)
    expect([found.status, found.code]).toEqual([200, code])
    expect(found.outcome).toBe(code === null ? 'complete' : 'error')
    expect(found.text.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  test.for<[string, Act, number]>([
    ['a plain answer to a request for a stream', (r) => json(r, plain(choice)), 502],
    ['an error status', (r) => json(r, { error: leak }, 500), 502],
    ['a compressed stream', (r) => void r.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': 'br' }).end('x'), 502],
  ])('%s is an error, not a stream', async ([, act, status]) => {
    const found = await outcome(act, true)
    expect([found.status, found.code, found.outcome]).toEqual([status, 'engine_failed', 'error'])
  })

  test('several choices: cut at the length is said where one of them was', async () => {
    const piece = (index: number, content: string, finish: string | null): string =>
      data({ choices: [{ index, delta: { content }, finish_reason: finish }] })
    const found = await outcome((r) => sse(r, [piece(1, 'b', null), piece(0, 'a', 'stop'), piece(1, '', 'length'), done]), true)
    expect(found.outcome).toBe('length')
  })
})

/** Writes until nobody listens. */
function keepTalking(event: string): Act {
  return (response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const timer = setInterval(() => response.write(event), 20)
    response.once('close', () => clearInterval(timer))
  }
}

test('a client that leaves closes the connection to the engine; the receipt says aborted, over what was sent', async () => {
  const closed = Promise.withResolvers<void>()
  engine.chat = (_body, response) => {
    response.once('close', () => closed.resolve())
    keepTalking(first)(response)
  }
  const service = await worker.connect()
  let seen = 0
  const answer = await askFor(service, { stream: true }, { onEvent: () => ++seen < 3 })
  await closed.promise
  expect(answer.proof.outcome).toBe('verified-prefix')
  expect(outcomeIn(await receiptOf(worker, answer.receiptId))).toBe('aborted')
})

test('a client that leaves before anything came closes it too', async () => {
  const closed = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  engine.chat = (_body, response) => {
    response.once('close', () => closed.resolve())
    asked.resolve()
  }
  const leaving = new AbortController()
  const posted = post(worker.url, {}, leaving.signal).catch(() => null)
  await asked.promise
  leaving.abort()
  await posted
  await closed.promise
})

test('a client that reads slowly holds the engine back: nothing piles up in the worker', async () => {
  const total = 64 << 20
  const event = Buffer.from(data({ choices: [{ index: 0, delta: { content: 'a'.repeat(60_000) }, finish_reason: null }] }))
  let written = 0
  engine.chat = async (_body, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    while (written < total) {
      written += event.length
      if (!response.write(event)) await once(response, 'drain')
    }
    response.end(last + done)
  }
  const patient = await upstreamWorker(engine, 'vllm')
  const transport = nodeTransport(patient.url)
  const body = utf8(JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content: 'x' }] }))
  const response = await transport.send({ method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json' }, body })
  // Nobody reads: the engine writes until every buffer on the way is full, and no further.
  let before = -1
  while (before !== written || written === 0) {
    before = written
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  expect(written).toBeLessThan(total / 2)
  let length = 0
  for await (const part of response.body) length += part.length
  expect(written).toBeGreaterThanOrEqual(total)
  expect(length).toBeGreaterThan(total)
  transport.close()
  await patient.close()
})

test('more requests than the engine is meant for are told to wait', async () => {
  const narrow = await upstreamWorker(engine, 'vllm', { maxConcurrent: 1 })
  const release = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  engine.chat = async (_body, response) => {
    asked.resolve()
    await release.promise
    json(response, plain(choice))
  }
  const running = post(narrow.url, {})
  await asked.promise
  const second = await post(narrow.url, {})
  expect([second.status, second.headers.get('retry-after'), JSON.parse(second.text).error.code]).toEqual([429, '1', 'engine_busy'])
  expect(second.headers.get('x-receipt-id')).toBeNull()
  release.resolve()
  expect((await running).status).toBe(200)
  await narrow.close()
})

describe('at start', () => {
  const options = { name: 'm', kind: 'vllm', digest } as const
  const refusal = (address: string, kind: 'vllm' | 'sglang' | 'llama-server' | 'ollama' = 'vllm'): Promise<unknown> =>
    openUpstreamModel({ ...options, kind, address }).then(
      () => 'opened',
      (error: { code?: string }) => error.code,
    )

  test('an engine of another kind, or none, is no engine', async () => {
    for (const kind of ['sglang', 'llama-server', 'ollama'] as const) expect(await refusal(engine.address, kind)).toBe('engine_unavailable')
    expect(await refusal('unix:/nowhere/engine.sock')).toBe('engine_unavailable')
    const silent = createServer((socket) => void socket.end('220 smtp\r\n'))
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    expect(await refusal(`http://127.0.0.1:${(silent.address() as { port: number }).port}`)).toBe('engine_unavailable')
    silent.close()
  })

  test.for([
    'http://10.0.0.7:8000',
    'http://engine.example:8000',
    'https://127.0.0.1:8000',
    'http://127.0.0.1:8000/v1',
    'http://user:pass@127.0.0.1:8000',
    'unix:relative.sock',
    `unix:/${'a'.repeat(107)}`,
    '127.0.0.1:8000',
    '',
  ])('S2: an engine at %s is refused: it must be on this machine', async (address) => {
    expect(await refusal(address)).toBe('usage')
  })

  test('what a kind cannot do is not believed, and a digest must be one', async () => {
    const open = (changes: object): Promise<unknown> => openUpstreamModel({ ...options, address: engine.address, ...changes })
    await expect(open({ digest: 'sha256:1' })).rejects.toMatchObject({ code: 'usage' })
    await expect(open({ kind: 'ollama', capabilities: ['deterministic'] })).rejects.toMatchObject({ code: 'usage' })
    await expect(open({ kind: 'llama-server', capabilities: ['tokenIds'] })).rejects.toMatchObject({ code: 'usage' })
  })
})
