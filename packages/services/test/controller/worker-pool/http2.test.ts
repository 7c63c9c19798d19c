import type { ServerHttp2Stream } from 'node:http2'
import { errors } from 'undici'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Cancellation } from '../../../src/controller/cancellation.ts'
import { ask, begin, closeAll, field, flags, frame, get, ok, party, poolTo, post, serveFrames, serveHttp2, serveTls, types } from './fake-worker.ts'

afterEach(closeAll)
afterEach(() => vi.restoreAllMocks())

function whole(stream: ServerHttp2Stream, text: string, trailers: Record<string, string> = {}): void {
  stream.respond({ ':status': 200 }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers(trailers))
  stream.end(text)
}

/** HTTP/1.1, as far as these tests ask. */
const plainAnswer = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain'

describe('which protocol a worker speaks', () => {
  test('HTTP/2: a burst at a pool that has no connection is answered over one', async () => {
    const serving = await serveHttp2((stream, path) => whole(stream, path))
    const pool = poolTo(serving, 1028)
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => ask(pool, post(`/${i}`))))
    expect(answers.map(({ text }) => text)).toEqual(answers.map((_, i) => `/${i}`))
    expect([serving.sockets.all, pool.protocol, pool.connections]).toEqual([1, 'HTTP/2', 1])
  })

  test('HTTP/2: more than a connection takes go over as many as they need, and no more than the worker says', async () => {
    const held: ServerHttp2Stream[] = []
    const serving = await serveHttp2((stream) => void held.push(stream), { settings: { maxConcurrentStreams: 10 } })
    const pool = poolTo(serving, 1028)
    const asked = Array.from({ length: 45 }, (_, i) => ask(pool, post(`/${i}`)))
    await expect.poll(() => held.length).toBe(45)
    expect([serving.sockets.all, pool.connections]).toEqual([5, 5])
    for (const stream of held) whole(stream, 'x')
    expect((await Promise.all(asked)).every(({ text }) => text === 'x')).toBe(true)
    // The connections that are there serve on.
    const more = Array.from({ length: 45 }, () => ask(pool, post('/')))
    await expect.poll(() => held.length).toBe(90)
    for (const stream of held.slice(45)) whole(stream, 'x')
    await Promise.all(more)
    expect(serving.sockets.all).toBe(5)
  })

  test('HTTP/1.1 by ALPN, or no ALPN at all: a connection for each request, and the one that found out is one of them', async () => {
    for (const protocols of [['http/1.1'], undefined]) {
      let asked = 0
      const waiting: (() => void)[] = []
      const serving = await serveTls(protocols, (socket) => {
        socket.on('data', () => {
          asked++
          waiting.push(() => socket.write(plainAnswer))
        })
      })
      const pool = poolTo(serving, 20)
      const answers = Array.from({ length: 20 }, () => ask(pool, get('/')))
      await expect.poll(() => asked).toBe(20)
      for (const answer of waiting) answer()
      expect((await Promise.all(answers)).map(({ text }) => text)).toEqual(Array(20).fill('plain'))
      expect([serving.sockets.all, pool.protocol]).toEqual([20, 'HTTP/1.1'])
    }
  })

  test('S5: another key behind the address gets no request, of those that wait and after a connection was lost', async () => {
    let asked = 0
    const serving = await serveHttp2((stream) => {
      asked++
      whole(stream, 'x')
    })
    const strange = poolTo({ url: serving.url, own: await party() })
    const refused = await Promise.allSettled(Array.from({ length: 20 }, () => ask(strange, post('/'))))
    expect(refused.map((one) => one.status === 'rejected' && one.reason.code)).toEqual(Array(20).fill('channel_mismatch'))
    expect(asked).toBe(0)
    const pool = poolTo(serving)
    await ask(pool, post('/'))
    serving.server.setSecureContext(await party())
    for (const socket of serving.sockets.open) socket.destroy()
    await expect.poll(() => pool.connections).toBe(0)
    await expect(ask(pool, post('/'))).rejects.toMatchObject({ code: 'channel_mismatch' })
    expect(asked).toBe(1)
  })
})

describe('an answer over HTTP/2', () => {
  test('has its status, headers, body and trailers, and the worker has the request', async () => {
    const seen: unknown[] = []
    const serving = await serveHttp2((stream) => {
      const parts: Buffer[] = []
      stream.on('data', (part: Buffer) => parts.push(part))
      stream.on('end', () => {
        seen.push(Buffer.concat(parts).toString())
        stream.respond({ ':status': 418, 'x-a': 'b' }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ 'x-veritee-receipt': 'r'.repeat(4096) }))
        stream.end('no')
      })
    })
    serving.server.on('stream', (_, headers) => seen.push({ ...headers }))
    const answer = await ask(poolTo(serving), post('/v1/x?a=b', Buffer.from('asked'), { headers: { te: 'trailers', 'x-veritee-nonce': '00' } }))
    expect(answer).toEqual({ status: 418, text: 'no', trailers: { 'x-veritee-receipt': 'r'.repeat(4096) } })
    const host = new URL(serving.url).host
    expect(seen[0]).toMatchObject({
      ':method': 'POST',
      ':scheme': 'https',
      ':authority': host,
      ':path': '/v1/x?a=b',
      te: 'trailers',
      'x-veritee-nonce': '00',
      'content-length': '5',
    })
    expect(seen[1]).toBe('asked')
  })

  test('comes whole where its reader paused and its trailers were there before', async () => {
    const serving = await serveHttp2((stream) => whole(stream, 'a'.repeat(60_000), { 'x-end': '1' }))
    const pool = poolTo(serving)
    const answer = await begin(pool, post('/'))
    let length = 0
    let paused = 0
    const trailers = await answer.read((part) => {
      length += part.length
      paused++
      answer.pause()
      // Everything has come when another request is answered.
      void ask(pool, get('/')).then(
        () => answer.resume(),
        () => undefined,
      )
    })
    expect([length, paused > 1, trailers['x-end']]).toEqual([60_000, true, '1'])
  })

  test.for(['without an error', 'with one'])('that had come before its connection ended, %s, is whole for a reader who had paused', async (how) => {
    const all = Buffer.from(Array.from({ length: 60_000 }, (_, i) => i % 251))
    const serving = await serveFrames((socket, stream) => {
      socket.write(frame(types.headers, flags.endHeaders, stream, ok))
      for (let at = 0; at < all.length; at += 5000) socket.write(frame(types.data, 0, stream, all.subarray(at, at + 5000)))
      socket.write(frame(types.headers, flags.endHeaders | flags.end, stream, field('x-end', '1')))
    })
    const pool = poolTo(serving)
    const answer = await begin(pool, post('/'))
    const parts: Buffer[] = []
    const read = answer.read((part) => {
      parts.push(part)
      answer.pause()
    })
    // Everything has come when another request is answered.
    await ask(pool, get('/'))
    for (const socket of serving.sockets.open) {
      // What is no frame breaks the session off.
      if (how === 'with one') socket.write(Buffer.alloc(1000, 0xff))
      else socket.destroy()
    }
    await expect.poll(() => pool.connections).toBe(0)
    answer.resume()
    expect((await read)['x-end']).toBe('1')
    expect(Buffer.concat(parts).equals(all)).toBe(true)
  })

  test('a reader that takes nothing slows its own stream down, and holds up no other, however many there are', async () => {
    const written = new Map<string, number>()
    const serving = await serveHttp2((stream, path) => {
      if (path === '/quick') return whole(stream, 'q'.repeat(500_000))
      stream.respond({ ':status': 200 })
      const part = Buffer.alloc(16_384)
      const more = (): void => {
        do written.set(path, (written.get(path) ?? 0) + part.length)
        while (stream.write(part))
      }
      stream.on('drain', more)
      more()
    })
    const pool = poolTo(serving, 64)
    const slow = await Promise.all(Array.from({ length: 40 }, (_, i) => begin(pool, post(`/slow/${i}`))))
    const reads = slow.map((answer) => {
      const read = answer.read(() => answer.pause())
      read.catch(() => undefined)
      return read
    })
    for (let i = 0; i < 5; i++) expect((await ask(pool, get('/quick'))).text.length).toBe(500_000)
    expect(pool.connections).toBe(1)
    // The window of a stream, what Node holds on either side of it, and a part.
    for (const [, bytes] of written) expect(bytes).toBeLessThan(65_536 * 4)
    for (const answer of slow) answer.abort()
    expect((await Promise.allSettled(reads)).every(({ status }) => status === 'rejected')).toBe(true)
  })

  test('that is no longer wanted is reset at the worker, before and after it has begun', async () => {
    const codes: number[] = []
    const serving = await serveHttp2((stream, path) => {
      stream.on('close', () => codes.push(stream.rstCode))
      if (path === '/begun') {
        stream.respond({ ':status': 200 })
        stream.write('x')
      }
    })
    const pool = poolTo(serving)
    const [never, soon] = [new Cancellation(), new Cancellation()]
    const unanswered = begin(pool, post('/never'), never)
    const begun = await begin(pool, post('/begun'), soon)
    const read = begun.read(() => undefined)
    never.abort(new Error('gone'))
    soon.abort(new Error('gone too'))
    await expect(unanswered).rejects.toThrow('gone')
    await expect(read).rejects.toThrow('gone too')
    await expect.poll(() => codes).toEqual([8, 8])
    expect((await begin(pool, post('/begun'))).statusCode).toBe(200)
    expect(serving.sockets.all).toBe(1)
  })

  test('S19: the place of one that was reset is given away only when the worker has let go of it: no other is refused', async () => {
    const serving = await serveHttp2(
      (stream, path) => {
        if (path === '/quick') whole(stream, 'x')
        else stream.respond({ ':status': 200 })
      },
      { settings: { maxConcurrentStreams: 4 } },
    )
    const pool = poolTo(serving, 4)
    for (let round = 0; round < 5; round++) {
      const leaving = new Cancellation()
      const begun = await Promise.all(Array.from({ length: 4 }, () => begin(pool, post('/'), leaving)))
      for (const answer of begun) answer.read(() => undefined).catch(() => undefined)
      const next = Array.from({ length: 4 }, () => ask(pool, post('/quick')))
      leaving.abort(new Error('gone'))
      expect((await Promise.all(next)).map(({ text }) => text)).toEqual(['x', 'x', 'x', 'x'])
    }
    expect(serving.sockets.all).toBe(1)
  })

  test('one that does not begin in time is given up by the error of HTTP/1.1, is reset, and is not asked for again', async () => {
    const seen: string[] = []
    const serving = await serveHttp2((stream, path) => {
      seen.push(path)
      stream.on('close', () => seen.push(`${path} ${stream.rstCode}`))
      if (path === '/quick') whole(stream, 'x')
    })
    const pool = poolTo(serving)
    await expect(begin(pool, post('/late', Buffer.from('x'), { headersTimeout: 50 }))).rejects.toBeInstanceOf(errors.HeadersTimeoutError)
    await expect.poll(() => seen).toEqual(['/late', '/late 8'])
    expect((await ask(pool, post('/quick'))).text).toBe('x')
    expect(seen[2]).toBe('/quick')
  })

  test('S19: bodies that are given up, by who asked or since the answer was there before, take nothing from those that come after', async () => {
    const serving = await serveHttp2((stream, path) => path !== '/up' && whole(stream, 'x'), {
      settings: { initialWindowSize: 1000, maxConcurrentStreams: 256 },
    })
    const pool = poolTo(serving)
    const body = Buffer.alloc(131_072)
    for (let i = 0; i < 300; i++) expect((await ask(pool, post('/early', body))).text).toBe('x')
    for (let i = 0; i < 10; i++) {
      const leaving = new Cancellation()
      const left = Array.from({ length: 30 }, () => begin(pool, post('/up', body), leaving))
      // Those before it have been sent as far as they can be.
      await ask(pool, get('/quick'))
      leaving.abort(new Error('left'))
      await Promise.allSettled(left)
    }
    expect((await ask(pool, get('/quick'))).text).toBe('x')
    expect(serving.sockets.all).toBe(1)
  })

  test('time in which this process stands still is not the worker`s: an answer that came meanwhile is whole', async () => {
    let stood = 0
    const now = performance.now.bind(performance)
    vi.spyOn(performance, 'now').mockImplementation(() => now() + stood)
    const held: ServerHttp2Stream[] = []
    const serving = await serveHttp2((stream) => void held.push(stream))
    const pool = poolTo(serving, 64, { tickMs: 50 })
    const answer = ask(pool, post('/', Buffer.from('x'), { headersTimeout: 30_000 }))
    await expect.poll(() => held.length).toBe(1)
    for (let i = 0; i < 5; i++) {
      stood += 10_000
      // A tick has seen it.
      await new Promise((resolve) => setTimeout(resolve, 150))
    }
    for (const stream of held) whole(stream, 'x')
    expect((await answer).text).toBe('x')
  })

  test('one that comes before the worker has taken the request is whole, and the rest of the request is not sent', async () => {
    const serving = await serveHttp2((stream) => {
      stream.respond({ ':status': 413 })
      stream.end('too long')
    })
    const pool = poolTo(serving)
    const sent = post('/', Buffer.alloc(1_000_000))
    for (let i = 0; i < 3; i++) expect(await ask(pool, sent)).toMatchObject({ status: 413, text: 'too long' })
    expect(serving.sockets.all).toBe(1)
  })

  test('what would be more than one path or header is not sent', async () => {
    const serving = await serveHttp2((stream) => whole(stream, 'x'))
    const pool = poolTo(serving)
    await expect(begin(pool, get('/a b'))).rejects.toBeInstanceOf(errors.InvalidArgumentError)
    await expect(begin(pool, get('/a\r\nb'))).rejects.toBeInstanceOf(errors.InvalidArgumentError)
    await expect(begin(pool, get('/', { headers: { a: 'b\r\nc: d' } }))).rejects.toBeInstanceOf(errors.InvalidArgumentError)
    expect((await ask(pool, get('/'))).text).toBe('x')
  })
})

describe('connections of HTTP/2 that end', () => {
  test('a pool that closes lets what is under way end, and takes nothing more', async () => {
    let finish = (): void => undefined
    const serving = await serveHttp2((stream) => {
      finish = () => whole(stream, 'last')
    })
    const pool = poolTo(serving)
    const last = ask(pool, post('/'))
    await expect.poll(() => pool.connections === 1 && serving.sockets.all === 1 && finish.toString().includes('whole')).toBe(true)
    const closed = pool.close()
    await expect(ask(pool, post('/'))).rejects.toBeInstanceOf(errors.ClientClosedError)
    finish()
    expect((await last).text).toBe('last')
    await closed
    await expect.poll(() => serving.sockets.open.size).toBe(0)
  })

  test('a pool that closes at once after it was asked has sent what it was asked', async () => {
    const serving = await serveHttp2((stream, path) => whole(stream, path))
    const pool = poolTo(serving)
    await ask(pool, post('/'))
    const last = ask(pool, post('/last'))
    const closed = pool.close()
    expect((await last).text).toBe('/last')
    await closed
  })

  test('a pool that is destroyed ends what is under way and what waits', async () => {
    const serving = await serveHttp2((stream) => stream.respond({ ':status': 200 }), { settings: { maxConcurrentStreams: 1 } })
    const pool = poolTo(serving, 1)
    const read = (await begin(pool, post('/'))).read(() => undefined)
    const both = Promise.allSettled([read, ask(pool, post('/'))])
    await pool.destroy()
    expect((await both).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    await expect.poll(() => serving.sockets.open.size).toBe(0)
  })

  test('a worker that crashes ends all that is under way on it; the next request opens a connection anew', async () => {
    const serving = await serveHttp2((stream, path) => {
      if (path === '/quick') return whole(stream, 'x')
      stream.respond({ ':status': 200 })
      stream.write('begun')
    })
    const pool = poolTo(serving)
    const begun = await Promise.all(Array.from({ length: 10 }, () => begin(pool, post('/'))))
    const reads = begun.map((answer) => answer.read(() => undefined))
    for (const socket of serving.sockets.open) socket.destroy()
    expect((await Promise.allSettled(reads)).map(({ status }) => status)).toEqual(Array(10).fill('rejected'))
    expect((await ask(pool, post('/quick'))).text).toBe('x')
    expect(serving.sockets.all).toBe(2)
  })

  test('one that has carried as many requests as it may makes room for another, and its last answers come', async () => {
    const serving = await serveHttp2((stream, path) => whole(stream, path))
    const pool = poolTo(serving, 64, { requests: 10 })
    await ask(pool, post('/'))
    const answers = await Promise.all(Array.from({ length: 24 }, (_, i) => ask(pool, post(`/${i}`))))
    expect(answers.map(({ text }) => text)).toEqual(answers.map((_, i) => `/${i}`))
    expect(serving.sockets.all).toBe(3)
    await expect.poll(() => serving.sockets.open.size).toBe(1)
  })

  test('one that is idle for long is closed from here', async () => {
    const serving = await serveHttp2((stream) => whole(stream, 'x'))
    const pool = poolTo(serving, 64, { tickMs: 5 })
    await ask(pool, post('/'))
    await expect.poll(() => [pool.connections, serving.sockets.open.size, pool.protocol]).toEqual([0, 0, null])
    expect((await ask(pool, post('/'))).text).toBe('x')
  })

  test('a silent worker is asked whether it is there: one that is keeps its streams, one that is not loses them', async () => {
    const pings: number[] = []
    const there = await serveHttp2(
      (stream) => {
        stream.respond({ ':status': 200 })
        stream.write('begun')
      },
      {},
      (session) => session.on('ping', () => pings.push(1)),
    )
    const gone = await serveFrames((socket, stream) => void socket.write(frame(types.headers, flags.endHeaders, stream, ok)))
    const [pool, other] = [poolTo(there, 64, { tickMs: 20 }), poolTo(gone, 64, { tickMs: 20 })]
    let ended = false
    const read = (await begin(pool, post('/'))).read(() => undefined)
    read.catch(() => {
      ended = true
    })
    await expect((await begin(other, post('/'))).read(() => undefined)).rejects.toThrow('silent')
    expect(other.connections).toBe(0)
    await expect.poll(() => pings.length).toBeGreaterThan(3)
    expect(ended).toBe(false)
  })
})
