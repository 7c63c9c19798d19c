import type { ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { describe, expect, test, vi } from 'vitest'
import { holdPlain, relayStream } from '../../src/controller/relay.ts'
import { type Listening, listen } from '../../src/http/listen.ts'

const answerOf = (parts: Iterable<Buffer>, statusCode = 200): Dispatcher.ResponseData =>
  ({ statusCode, headers: {}, body: Readable.from(parts) }) as unknown as Dispatcher.ResponseData

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
    await expect(holdPlain(answerOf(counted()))).rejects.toMatchObject({ status: 502, code: 'response_too_large' })
    expect(read).toBeLessThan(80 << 20)
  })

  test('S10: its id is found without its text becoming objects', async () => {
    const parse = vi.spyOn(JSON, 'parse')
    const text = `{"id":"chatcmpl-1","choices":${'['.repeat(100_000)}`
    expect((await holdPlain(answerOf([Buffer.from(text)]))).chatId).toBe('chatcmpl-1')
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
  ])('an answer with an id that is %s has none', async (_, text) => {
    expect((await holdPlain(answerOf([Buffer.from(text)]))).chatId).toBeNull()
  })
})

test('the id of a stream is in its first event that has one', async () => {
  const relayed = Promise.withResolvers<Awaited<ReturnType<typeof relayStream>>>()
  const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
  const events = [': waiting\n\n', 'data: {"id":"chatcmpl-2","choices":[]}\n\n', 'data: {"id":"other"}\n\n', 'data: [DONE]\n\n']
  const server: Listening = await listen(bind, (_, response: ServerResponse) => {
    void relayStream(Readable.from(events.map((event) => Buffer.from(event))), response).then((one) => {
      relayed.resolve(one)
      response.end()
    }, relayed.reject)
  })
  await (await fetch(server.url)).text()
  expect((await relayed.promise).chatId).toBe('chatcmpl-2')
  await server.close()
})
