import type { ServerResponse } from 'node:http'
import { maxStreamEvents } from 'veritee/receipt'
import { describe, expect, test, vi } from 'vitest'
import { bodyHash, heldPlain, maxPlainBytes, relayStream } from '../../src/controller/relay.ts'
import { streamFormOf } from '../../src/controller/stages/stream-form.ts'
import { readWhole, type WorkerAnswer } from '../../src/controller/worker-answer.ts'
import { type Listening, listen } from '../../src/http/listen.ts'

const answerOf = (parts: Iterable<Buffer>, statusCode = 200): WorkerAnswer => ({
  statusCode,
  headers: {},
  read: async (take) => {
    for (const part of parts) take(part)
    return {}
  },
  pause: () => undefined,
  resume: () => undefined,
  abort: () => undefined,
})

function* zeros(bytes: number): Generator<Buffer> {
  const part = Buffer.alloc(1 << 20, 0x20)
  for (let at = 0; at < bytes; at += part.length) yield part
}

describe('a plain answer of a worker', () => {
  test('S10: one that is longer than any answer is refused with its code, and not read to its end', async () => {
    let read = 0
    const counted = function* (): Generator<Buffer> {
      for (const part of zeros(1 << 30)) {
        read += part.length
        yield part
      }
    }
    await expect(readWhole(answerOf(counted()), maxPlainBytes)).rejects.toMatchObject({ status: 502, code: 'response_too_large' })
    expect(read).toBeLessThan(80 << 20)
  })

  test('S10: its id is found without its text becoming objects', () => {
    const parse = vi.spyOn(JSON, 'parse')
    const text = `{"id":"chatcmpl-1","choices":${'['.repeat(100_000)}`
    expect(heldPlain(200, { bytes: Buffer.from(text), trailers: {} }).chatId).toBe('chatcmpl-1')
    expect(parse).not.toHaveBeenCalled()
    parse.mockRestore()
  })

  test.each([
    ['none', '{"object":"list"}'],
    ['one that is not first', '{"object":"list","id":"a"}'],
    ['one that is no text', '{"id":1}'],
    ['an empty one', '{"id":""}'],
    ['one that is too long', `{"id":"${'a'.repeat(129)}"}`],
    ['one with an escape', '{"id":"a\\u0062"}'],
    ['one with a line break', '{"id":"a\nb"}'],
    ['one that does not end', '{"id":"a'],
    ['nothing at all', ''],
  ])('an answer with an id that is %s has none', (_, text) => {
    expect(heldPlain(200, { bytes: Buffer.from(text), trailers: {} }).chatId).toBeNull()
  })
})

/** What a requester gets, and what is known of it, where a worker sends these events. */
async function relayed(
  endpoint: string,
  events: readonly string[],
  breaksOff = false,
): Promise<{ one: Awaited<ReturnType<typeof relayStream>>; text: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<typeof relayStream>>>()
  const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
  const body = answerOf(
    (function* () {
      for (const event of events) yield Buffer.from(event)
      if (breaksOff) throw new Error('the connection is gone')
    })(),
  )
  const server: Listening = await listen(bind, (_, response: ServerResponse) => {
    void relayStream(body, response, streamFormOf(endpoint)).then((one) => {
      resolve(one)
      response.end()
    }, reject)
  })
  const text = await (await fetch(server.url)).text()
  const one = await promise
  await server.close()
  return { one, text }
}

test('the id of a stream is in its first event that has one', async () => {
  const events = [': waiting\n\n', 'data: {"id":"chatcmpl-2","choices":[]}\n\n', 'data: {"id":"other"}\n\n', 'data: [DONE]\n\n']
  expect((await relayed('/v1/chat/completions', events)).one.chatId).toBe('chatcmpl-2')
})

test.for([1, 100, maxStreamEvents - 1, maxStreamEvents + 100])(
  'S9: of a stream with too many events the receipt is over what the requester gets, where the worker sends %i of them at a time',
  async (together) => {
    const events = Array.from({ length: maxStreamEvents + 200 }, (_, i) => `${i}\n\n`)
    const parts = Array.from({ length: Math.ceil(events.length / together) }, (_, i) => events.slice(i * together, (i + 1) * together).join(''))
    const { one, text } = await relayed('/v1/chat/completions', parts)
    expect(one).toMatchObject({ complete: false, appended: true, outcome: 'error' })
    expect(one.returnedHash).toBe(bodyHash(Buffer.from(text)))
    expect(one.returned?.events).toBe(maxStreamEvents)
    expect(text.split('\n\n').length - 1).toBe(maxStreamEvents)
    expect(one.receivedHash).toBe(bodyHash(Buffer.from(events.slice(0, maxStreamEvents - 1).join(''))))
  },
)

describe('a stream of /v1/responses', () => {
  const endpoint = '/v1/responses'
  const event = (type: string, rest: string): string => `event: ${type}\ndata: {"type":"${type}",${rest}}\n\n`
  const created = event('response.created', '"sequence_number":0,"response":{"id":"resp_1","object":"response"}')

  test.for(['completed', 'incomplete', 'failed'])('S9: ends with response.%s, which is kept back until there is a receipt', async (how) => {
    const last = event(`response.${how}`, '"sequence_number":1,"response":{"id":"resp_1"}')
    const { one, text } = await relayed(endpoint, [created, last])
    expect(text).toBe(created)
    expect(Buffer.from(one.last ?? []).toString()).toBe(last)
    expect(one).toMatchObject({ chatId: 'resp_1', complete: true, outcome: 'complete', appended: false })
    expect(one.received?.events).toBe(2)
  })

  test('an event that only looks like the last one is passed on', async () => {
    const events = [
      event('response.output_text.delta', '"delta":"event: response.completed"'),
      ': event: response.completed\n\n',
      'data: [DONE]\n\n',
      event('response.completed_not', '"x":1'),
    ]
    const { one, text } = await relayed(endpoint, events)
    expect(text).toBe(events.join(''))
    expect([one.last, one.chatId]).toEqual([null, null])
  })

  test("S9: a worker that breaks off gets one error event, in the form of this endpoint and with the stream's next number", async () => {
    const { one, text } = await relayed(endpoint, [created], true)
    const [, added = ''] = text.split('\n\n')
    expect(added.split('\n')[0]).toBe('event: error')
    expect(JSON.parse(added.split('data: ')[1] ?? '')).toMatchObject({
      type: 'error',
      sequence_number: 1,
      code: 'upstream_broken',
      error: { code: 'upstream_broken', type: 'server_error' },
    })
    expect(one).toMatchObject({ complete: false, appended: true, outcome: 'error' })
  })
})
