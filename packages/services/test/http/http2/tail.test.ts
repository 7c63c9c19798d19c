import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { Hono } from 'hono'
import { afterEach, expect, test } from 'vitest'
import { sendError, write } from '../../../src/http/body.ts'
import { HttpError } from '../../../src/http/errors.ts'
import { routesListener } from '../../../src/http/http2/routes.ts'
import { flag, frame, getFields, number32, postFields, type RawConnection, rawConnection, settings, type } from './frames.ts'
import { closeAll, type ServiceOptions, startService } from './service.ts'

afterEach(closeAll)

interface Blocked {
  readonly raw: RawConnection
  /** The service's side of it. */
  readonly socket: Socket
  refuse(): unknown
}

/** Writes until there is no room, then on. */
async function fill(response: ServerResponse, takesNothingMs: number): Promise<void> {
  const full = Promise.withResolvers<void>()
  void (async () => {
    for (;;) {
      const room = write(response, Buffer.alloc(65_536), takesNothingMs)
      const wait = setTimeout(full.resolve, 200)
      if (!(await room)) return
      clearTimeout(wait)
    }
  })()
  await full.promise
}

/** A connection that takes no byte more, in the middle of a long answer, and that a request came over before. */
async function blocked(reads: 'nothing' | 'a part', takesNothingMs = 60_000, options: ServiceOptions = {}): Promise<Blocked> {
  const asked = Promise.withResolvers<Pick<Blocked, 'socket' | 'refuse'>>()
  const full = Promise.withResolvers<void>()
  const service = await startService((request, response) => {
    if (request.method === 'GET') return void fill(response, takesNothingMs).then(full.resolve, full.reject)
    const refuse = (): unknown => sendError(response, new HttpError(403, 'forbidden', 'x'.repeat(5000)))
    const { socket } = request
    if (reads === 'nothing') return asked.resolve({ socket, refuse })
    request.once('data', () => {
      request.pause()
      asked.resolve({ socket, refuse })
    })
  }, options)
  const raw = await rawConnection(service, { first: settings([4, 0x7fffffff]) })
  raw.send(frame(type.window, flag.none, 0, number32(0x7fff0000)))
  raw.send(frame(type.headers, flag.endHeaders, 3, postFields), frame(type.data, flag.none, 3, Buffer.alloc(100)))
  const { socket, refuse } = await asked.promise
  raw.socket.pause()
  raw.send(frame(type.headers, flag.endStream | flag.endHeaders, 5, getFields))
  await full.promise
  return { raw, socket, refuse }
}

test.for(['nothing', 'a part'] as const)(
  'a refusal comes whole, and the reset of its stream behind it, where %s of the body was read and the connection takes nothing',
  async (reads) => {
    const { raw, refuse } = await blocked(reads)
    refuse()
    await new Promise((resolve) => setTimeout(resolve, 200))
    raw.socket.resume()
    await expect.poll(() => raw.resets().some(({ stream }) => stream === 3), { timeout: 10_000 }).toBe(true)
    const own = raw.frames.filter(({ stream }) => stream === 3)
    expect(own.map((one) => one.type)).toEqual([type.headers, type.data, type.data, type.reset])
    expect(own[2]?.flags).toBe(flag.endStream)
    expect(own[1]?.payload.toString()).toContain('forbidden')
    expect(raw.resets()).toEqual([{ stream: 3, code: 0 }])
  },
)

test.for(['all', 'a part'] as const)(
  'an answer of routes comes whole to who takes it slowly, where %s of the body has come and nobody reads it',
  async (came) => {
    const app = new Hono()
    const answer = 'no such route'
    app.notFound((c) => c.text(answer, 404))
    const service = await startService(routesListener(app.fetch), { requesters: true })
    const raw = await rawConnection(service, { first: settings([4, 2]) })
    raw.send(frame(type.headers, flag.endHeaders, 1, postFields), frame(type.data, came === 'all' ? flag.endStream : flag.none, 1, Buffer.from('x')))
    const text = (): string => Buffer.concat(raw.of(type.data).map(({ payload }) => payload)).toString()
    await expect.poll(text).toBe('no')
    await new Promise((resolve) => setTimeout(resolve, 200))
    raw.send(frame(type.window, flag.none, 1, number32(answer.length)))
    await expect.poll(() => raw.of(type.data).at(-1)?.flags).toBe(flag.endStream)
    expect(text()).toBe(answer)
    await expect.poll(() => raw.resets()).toEqual(came === 'all' ? [] : [{ stream: 1, code: 0 }])
  },
)

test('S22: a connection that takes nothing is cut once its answers are given up', async () => {
  const { socket, refuse } = await blocked('nothing', 500, { limits: { takenMs: 200, keepAliveMs: 200 } })
  refuse()
  await expect.poll(() => socket.destroyed, { timeout: 10_000 }).toBe(true)
})
