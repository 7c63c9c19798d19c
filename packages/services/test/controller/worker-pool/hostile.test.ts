import type { TLSSocket } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import {
  ask,
  begin,
  closeAll,
  field,
  flags,
  frame,
  get,
  ok,
  poolTo,
  post,
  type Serving,
  serveFrames,
  serveHttp2,
  serveTls,
  types,
} from './fake-worker.ts'

/** What a worker can send by HTTP/2: it costs its own streams at most, and never the process or the streams of others. */

afterEach(closeAll)

const answered = (stream: number, text: string): Buffer =>
  Buffer.concat([frame(types.headers, flags.endHeaders, stream, ok), frame(types.data, flags.end, stream, text)])

/** How a request ends, and then another one. */
async function outcomes(serving: Serving, tickMs = 1000): Promise<readonly [first: unknown, second: unknown]> {
  const pool = poolTo(serving, 64, { tickMs })
  const outcome = async (): Promise<unknown> => (await ask(pool, post('/')).catch(() => ({ text: 'failed' }))).text
  return [await outcome(), await outcome()]
}

/** One that answers the first request as `hostile` does, and any other as it should. */
function hostileOnce(hostile: (socket: TLSSocket, stream: number) => void): Promise<Serving> {
  let asked = 0
  return serveFrames((socket, stream) => (asked++ === 0 ? hostile(socket, stream) : void socket.write(answered(stream, 'fine'))))
}

const begun = (stream: number): Buffer => Buffer.concat([frame(types.headers, flags.endHeaders, stream, ok), frame(types.data, 0, stream, 'begun')])
const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
const setting = (id: number, value: number): Buffer => Buffer.concat([Buffer.from([0, id]), uint32(value)])

describe('S22: an answer of HTTP/2 that is not one fails, and the next request is served', () => {
  const reset = (code: number) => (socket: TLSSocket, stream: number) => void socket.write(frame(types.reset, 0, stream, uint32(code)))
  const answers: { readonly [what: string]: (socket: TLSSocket, stream: number) => void } = {
    'reset before it began, as refused': reset(7),
    'reset before it began, without an error': reset(0),
    'reset before it began, as cancelled': reset(8),
    'reset in the middle, without an error': (socket, stream) =>
      void socket.write(Buffer.concat([begun(stream), frame(types.reset, 0, stream, uint32(0))])),
    'reset in the middle, as cancelled': (socket, stream) =>
      void socket.write(Buffer.concat([begun(stream), frame(types.reset, 0, stream, uint32(8))])),
    'reset in the middle, with an error': (socket, stream) =>
      void socket.write(Buffer.concat([begun(stream), frame(types.reset, 0, stream, uint32(2))])),
    'GOAWAY that leaves it out': (socket) => void socket.write(frame(types.goaway, 0, 0, Buffer.concat([uint32(0), uint32(0)]))),
    'GOAWAY with an error': (socket, stream) =>
      void socket.write(Buffer.concat([begun(stream), frame(types.goaway, 0, 0, Buffer.concat([uint32(stream), uint32(11)]))])),
    'the connection ends': (socket, stream) => void socket.end(begun(stream)),
    'more bytes than its content-length': (socket, stream) =>
      void socket.write(
        Buffer.concat([
          frame(types.headers, flags.endHeaders, stream, Buffer.concat([ok, field('content-length', '3')])),
          frame(types.data, flags.end, stream, 'more'),
        ]),
      ),
    'fewer bytes than its content-length': (socket, stream) =>
      void socket.write(
        Buffer.concat([
          frame(types.headers, flags.endHeaders, stream, Buffer.concat([ok, field('content-length', '30')])),
          frame(types.data, flags.end, stream, 'less'),
        ]),
      ),
    'no status': (socket, stream) => void socket.write(frame(types.headers, flags.endHeaders | flags.end, stream, field('a', 'b'))),
    'data before headers': (socket, stream) => void socket.write(frame(types.data, flags.end, stream, 'x')),
    'trailers that do not end it': (socket, stream) =>
      void socket.write(
        Buffer.concat([begun(stream), frame(types.headers, flags.endHeaders, stream, field('x-a', 'b')), frame(types.data, flags.end, stream, 'x')]),
      ),
    'a pushed stream': (socket, stream) =>
      void socket.write(Buffer.concat([frame(types.push, flags.endHeaders, stream, Buffer.concat([uint32(2), ok])), answered(stream, 'x')])),
    'a frame of a stream that nobody opened': (socket) => void socket.write(frame(types.data, flags.end, 99, 'x')),
    'a frame longer than this side takes': (socket, stream) =>
      void socket.write(
        Buffer.concat([frame(types.headers, flags.endHeaders, stream, ok), frame(types.data, flags.end, stream, 'x'.repeat(16_385))]),
      ),
    'more bytes than the window of its stream': (socket, stream) => {
      socket.write(frame(types.headers, flags.endHeaders, stream, ok))
      for (let i = 0; i < 4096; i++) socket.write(frame(types.data, 0, stream, Buffer.alloc(16_384)))
    },
    'headers that are too long': (socket, stream) => {
      const fields = Array.from({ length: 200 }, (_, i) => field(`x-${i}`, 'v'.repeat(120)))
      const block = Buffer.concat([ok, ...fields])
      socket.write(frame(types.headers, 0, stream, block.subarray(0, 16_384)))
      socket.write(frame(types.continuation, flags.endHeaders, stream, block.subarray(16_384)))
      socket.write(frame(types.data, flags.end, stream, 'x'))
    },
    'trailers that are too long': (socket, stream) => {
      const fields = Array.from({ length: 200 }, (_, i) => field(`x-${i}`, 'v'.repeat(120)))
      const block = Buffer.concat(fields)
      socket.write(begun(stream))
      socket.write(frame(types.headers, flags.end, stream, block.subarray(0, 16_384)))
      socket.write(frame(types.continuation, flags.endHeaders, stream, block.subarray(16_384)))
    },
    'headers without end': (socket, stream) => {
      socket.write(frame(types.headers, 0, stream, ok))
      const more = setInterval(() => socket.write(frame(types.continuation, 0, stream, field('x-a', 'v'.repeat(100)))), 1)
      socket.on('close', () => clearInterval(more))
    },
    'what is no frame': (socket) => void socket.write('HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx'.repeat(100)),
  }
  for (const [what, hostile] of Object.entries(answers))
    test(what, async () => {
      expect(await outcomes(await hostileOnce(hostile))).toEqual(['failed', 'fine'])
    })

  const fine: typeof answers = {
    'data after its end': (socket, stream) => void socket.write(Buffer.concat([answered(stream, 'fine'), frame(types.data, flags.end, stream, 'x')])),
    'a reset after its end': (socket, stream) =>
      void socket.write(Buffer.concat([answered(stream, 'fine'), frame(types.reset, 0, stream, uint32(0))])),
    'headers of their own before it': (socket, stream) =>
      void socket.write(Buffer.concat([frame(types.headers, flags.endHeaders, stream, field(':status', '103')), answered(stream, 'fine')])),
  }
  for (const [what, odd] of Object.entries(fine))
    test(`${what}: it is whole all the same`, async () => {
      expect(await outcomes(await hostileOnce(odd))).toEqual(['fine', 'fine'])
    })

  test('trailers without a body: an answer that is empty', async () => {
    const serving = await serveFrames((socket, stream) => {
      socket.write(frame(types.headers, flags.endHeaders, stream, ok))
      socket.write(frame(types.headers, flags.endHeaders | flags.end, stream, field('x-a', 'b')))
    })
    expect(await ask(poolTo(serving), post('/'))).toEqual({ status: 200, text: '', trailers: { 'x-a': 'b' } })
  })
})

describe('S22: a connection of HTTP/2 that is none', () => {
  test('a worker that takes no streams: requests fail at once, also those that come later, and nothing is opened for ever', async () => {
    const serving = await serveHttp2(() => undefined, { settings: { maxConcurrentStreams: 0 } })
    const pool = poolTo(serving)
    const refused = await Promise.allSettled(Array.from({ length: 50 }, () => ask(pool, post('/'))))
    expect(refused.every(({ status }) => status === 'rejected')).toBe(true)
    expect(serving.sockets.all).toBe(1)
    await expect(ask(pool, post('/'))).rejects.toThrow('takes no requests')
    expect(serving.sockets.all).toBe(2)
    await expect.poll(() => serving.sockets.open.size).toBe(0)
  })

  test('a worker that takes none any more ends what it has; whoever comes then is refused', async () => {
    let finish = (): void => undefined
    const serving = await serveFrames(
      (socket, stream) => {
        socket.write(begun(stream))
        socket.write(frame(types.settings, 0, 0, setting(3, 0)))
        finish = () => void socket.write(frame(types.data, flags.end, stream, ' and ended'))
      },
      (socket) => socket.write(frame(types.settings, 0, 0, serving === undefined || serving.sockets.all < 2 ? setting(3, 100) : setting(3, 0))),
    )
    const pool = poolTo(serving)
    const first = await begin(pool, post('/'))
    const parts: string[] = []
    const read = first.read((part) => parts.push(part.toString()))
    await expect.poll(() => parts.join('')).toBe('begun')
    await expect(ask(pool, post('/'))).rejects.toThrow('takes no requests')
    finish()
    await read
    expect(parts.join('')).toBe('begun and ended')
  })

  test('a worker that never says how many requests it takes is given up', async () => {
    const serving = await serveTls(['h2'], (socket) => void socket.resume())
    await expect(ask(poolTo(serving, 64, { tickMs: 5 }), post('/'))).rejects.toThrow()
    await expect.poll(() => serving.sockets.open.size).toBe(0)
  })

  test('a worker that does not confirm how long headers may be gets no request, and is given up', async () => {
    let asked = 0
    const serving = await serveFrames(() => asked++, undefined, false)
    await expect(ask(poolTo(serving, 64, { tickMs: 5 }), post('/'))).rejects.toThrow()
    await expect.poll(() => serving.sockets.open.size).toBe(0)
    expect([asked, serving.sockets.all]).toEqual([0, 1])
  })

  test('a window of 0: the request waits no longer than its answer may take to begin', async () => {
    const serving = await serveHttp2(() => undefined, { settings: { initialWindowSize: 0 } })
    await expect(ask(poolTo(serving), post('/', Buffer.alloc(1000), { headersTimeout: 100 }))).rejects.toThrow('Headers Timeout Error')
  })

  const floods: { readonly [what: string]: Buffer } = {
    PING: frame(types.ping, 0, 0, Buffer.alloc(8)),
    'acknowledgements of PING': frame(types.ping, flags.ack, 0, Buffer.alloc(8)),
    SETTINGS: frame(types.settings, 0, 0, setting(4, 65_535)),
    'windows that grow': frame(types.window, 0, 0, uint32(1)),
    'frames of kinds that do not exist': frame(0x42, 0, 0, Buffer.alloc(100)),
  }
  for (const [what, flood] of Object.entries(floods))
    test(`${what} without end: the connection ends, and other workers serve on`, async () => {
      const other = await serveHttp2((stream) => {
        stream.respond({ ':status': 200 })
        stream.end('fine')
      })
      const many = Buffer.concat(Array(5000).fill(flood))
      const serving = await serveFrames((socket, stream) => {
        socket.write(begun(stream))
        const more = (): void => {
          if (socket.destroyed) return
          if (socket.write(many)) setImmediate(more)
          else socket.once('drain', more)
        }
        more()
      })
      const pool = poolTo(serving, 64, { tickMs: 20 })
      const answer = await begin(pool, post('/'))
      await expect(answer.read(() => undefined)).rejects.toThrow()
      await expect.poll(() => serving.sockets.open.size).toBe(0)
      expect((await ask(poolTo(other), get('/'))).text).toBe('fine')
    })

  test('a worker that does not end its side of a connection does not keep it', async () => {
    const serving = await serveFrames(
      (socket, stream) => void socket.write(answered(stream, 'x')),
      (socket) => {
        socket.allowHalfOpen = true
        socket.write(frame(types.settings, 0, 0))
        // It finds out where it writes.
        const more = setInterval(() => socket.write(frame(types.ping, 0, 0, Buffer.alloc(8))), 5)
        socket.on('close', () => clearInterval(more))
      },
    )
    const pool = poolTo(serving, 64, { tickMs: 5 })
    await ask(pool, post('/'))
    await expect.poll(() => [pool.connections, serving.sockets.open.size]).toEqual([0, 0])
  })
})
