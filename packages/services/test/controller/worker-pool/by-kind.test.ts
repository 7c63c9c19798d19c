import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import { afterEach, expect, test } from 'vitest'
import { Cancellation } from '../../../src/controller/cancellation.ts'
import { pinnedWorker } from '../../../src/controller/pinned-pool.ts'
import { mostShared, plainAtOnce } from '../../../src/controller/worker-pool/by-kind.ts'
import { ask, begin, closeAll, party, post, type Serving, serveHttp2 } from './fake-worker.ts'

afterEach(closeAll)

const plain = (path: string) => post(path, Buffer.from('{}'), { plain: true })

interface Worker {
  readonly serving: Serving
  /** Answers with the protocol, once it may. */
  readonly waiting: (() => void)[]
  readonly asked: { 'HTTP/1.1': number; 'HTTP/2': number }
}

/** Speaks both; `/wait` is answered when the test says so. */
async function both(): Promise<Worker> {
  const asked = { 'HTTP/1.1': 0, 'HTTP/2': 0 }
  const waiting: (() => void)[] = []
  const answer = (path: string, end: () => void): void => void (path === '/wait' ? waiting.push(end) : end())
  const overHttp2 = (stream: ServerHttp2Stream, path: string): void => {
    asked['HTTP/2']++
    answer(path, () => {
      stream.respond({ ':status': 200 })
      stream.end('HTTP/2')
    })
  }
  const { server, ...serving } = await serveHttp2(overHttp2, { allowHTTP1: true, settings: { maxConcurrentStreams: 256 } })
  server.on('request', (request: Http2ServerRequest, response: Http2ServerResponse) => {
    if (request.httpVersion !== '1.1') return
    asked['HTTP/1.1']++
    if (request.url === '/broken') request.socket.destroy()
    else answer(request.url, () => void response.end('HTTP/1.1'))
  })
  return { serving, waiting, asked }
}

test('plain answers come over HTTP/1.1, and all else over HTTP/2, from a worker that speaks both', async () => {
  const { serving, asked } = await both()
  const pool = pinnedWorker(serving.url, serving.own.spki, 1028)
  try {
    const texts = [await ask(pool, plain('/')), await ask(pool, post('/')), await ask(pool, plain('/'))].map(({ text }) => text)
    expect(texts).toEqual(['HTTP/1.1', 'HTTP/2', 'HTTP/1.1'])
    expect([asked, pool.protocol]).toEqual([{ 'HTTP/1.1': 2, 'HTTP/2': 1 }, 'HTTP/2'])
  } finally {
    await pool.destroy()
  }
})

test('a burst of plain answers opens no more connections than it may: the rest go with the streams, and places come back however an answer ends', async () => {
  const { serving, waiting, asked } = await both()
  const pool = pinnedWorker(serving.url, serving.own.spki, 1028)
  try {
    const leaving = new Cancellation()
    const left = begin(pool, plain('/wait'), leaving)
    const answers = Array.from({ length: plainAtOnce + 9 }, () => ask(pool, plain('/wait')))
    await expect.poll(() => waiting.length).toBe(plainAtOnce + 10)
    expect([asked, serving.sockets.all]).toEqual([{ 'HTTP/1.1': plainAtOnce, 'HTTP/2': 10 }, plainAtOnce + 1])
    leaving.abort(new Error('left'))
    await expect(left).rejects.toThrow('left')
    for (const end of waiting.splice(0)) end()
    await Promise.all(answers)
    for (let i = 0; i < plainAtOnce; i++) await expect(ask(pool, plain('/broken'))).rejects.toThrow()
    const again = Array.from({ length: plainAtOnce }, () => ask(pool, plain('/wait')))
    await expect.poll(() => waiting.length).toBe(plainAtOnce)
    for (const end of waiting) end()
    expect((await Promise.all(again)).map(({ text }) => text)).toEqual(Array(plainAtOnce).fill('HTTP/1.1'))
  } finally {
    await pool.destroy()
  }
})

test('S5: another key gets no request, plain or not', async () => {
  const { serving, asked } = await both()
  const pool = pinnedWorker(serving.url, (await party()).spki, 1028)
  try {
    for (const request of [plain('/'), post('/')]) await expect(ask(pool, request)).rejects.toMatchObject({ code: 'channel_mismatch' })
    expect(asked).toEqual({ 'HTTP/1.1': 0, 'HTTP/2': 0 })
  } finally {
    await pool.destroy()
  }
})

test('closing lets what is under way end, on both', async () => {
  const { serving, waiting } = await both()
  const pool = pinnedWorker(serving.url, serving.own.spki, 1028)
  const answers = [ask(pool, plain('/wait')), ask(pool, post('/wait'))]
  await expect.poll(() => waiting.length).toBe(2)
  const closed = pool.close()
  for (const end of waiting) end()
  expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(['HTTP/1.1', 'HTTP/2'])
  await closed
  await expect(ask(pool, plain('/'))).rejects.toThrow()
})

test('S19: large bodies share no connection, however many there are: answers over HTTP/2 come while they wait', async () => {
  const { serving, waiting, asked } = await both()
  const pool = pinnedWorker(serving.url, serving.own.spki, 1028)
  try {
    const large = [...Array<number>(plainAtOnce + 2).fill(mostShared + 1), 30_000_000, 30_000_000, 30_000_000]
    const uploads = large.map((length) => ask(pool, post('/wait', Buffer.alloc(length))))
    await expect.poll(() => waiting.length).toBe(large.length)
    for (let i = 0; i < 3; i++) expect((await ask(pool, post('/', Buffer.alloc(mostShared)))).text).toBe('HTTP/2')
    expect(asked).toEqual({ 'HTTP/1.1': large.length, 'HTTP/2': 3 })
    // One that is answered before it has been taken.
    expect((await ask(pool, post('/', Buffer.alloc(30_000_000)))).text).toBe('HTTP/1.1')
    for (const end of waiting) end()
    expect((await Promise.all(uploads)).map(({ text }) => text)).toEqual(large.map(() => 'HTTP/1.1'))
  } finally {
    await pool.destroy()
  }
})
