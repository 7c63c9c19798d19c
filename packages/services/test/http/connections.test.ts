import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { boundConnections } from '../../src/http/connections.ts'

let server: Server
let sockets: Socket[] = []
afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  sockets = []
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  server.closeAllConnections()
  await promise
})

async function start(most: number, handler: RequestListener = (_, response) => response.end('ok')): Promise<void> {
  server = createServer(handler)
  boundConnections(server, most)
  const { promise, resolve } = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', resolve)
  await promise
}

interface Client {
  readonly socket: Socket
  seen: string
  closed: boolean
}

/** A connection from one of the addresses that a loopback interface has. */
async function open(text = '', localAddress = '127.0.0.1'): Promise<Client> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', localAddress }, () => {
    if (text === '') resolve()
    else socket.write(text, () => resolve())
  })
  sockets.push(socket)
  const client: Client = { socket, seen: '', closed: false }
  socket.on('data', (part) => {
    client.seen += part.toString()
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    client.closed = true
  })
  await promise
  return client
}

const get = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'
const halfAPost = 'POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf'

describe('S22: connections that are left open close each other, not those of others', () => {
  test('S22: the one that has been idle for longest makes room, and who comes is answered', async () => {
    await start(4)
    const idle: Client[] = []
    for (let i = 0; i < 20; i++) idle.push(await open())
    const { seen } = await open(get).then(async (client) => {
      await expect.poll(() => client.seen).toContain('ok')
      return client
    })
    expect(seen).toContain('200 OK')
    await expect.poll(() => idle.map(({ closed }) => closed)).toEqual(idle.map((_, i) => i < 17))
  })

  test('S22: one that has been answered is idle again, as of then', async () => {
    await start(2)
    const first = await open()
    const second = await open()
    first.socket.write(get)
    await expect.poll(() => first.seen).toContain('ok')
    await open()
    await expect.poll(() => second.closed).toBe(true)
    expect(first.closed).toBe(false)
  })

  test('S22: one that is being answered is not closed, and one that has begun a request only after those that have not', async () => {
    await start(3, (request, response) => {
      request.resume()
      request.on('end', () => response.write('begun '))
    })
    const answered = await open(get)
    await expect.poll(() => answered.seen).toContain('begun')
    const sending = await open(halfAPost)
    await expect.poll(() => server.listenerCount('request')).toBe(2)
    const idle = await open()
    const next = await open(halfAPost)
    await expect.poll(() => idle.closed).toBe(true)
    expect([answered.closed, sending.closed, next.closed]).toEqual([false, false, false])
    await open()
    await expect.poll(() => sending.closed).toBe(true)
    next.socket.write('a half')
    await expect.poll(() => next.seen).toContain('begun')
    expect(answered.closed).toBe(false)
  })

  test('S22: where all are being answered, who comes is closed, and nobody else', async () => {
    await start(2, (_, response) => response.write('begun '))
    const answered = [await open(get), await open(get)]
    await expect.poll(() => answered.every(({ seen }) => seen.includes('begun'))).toBe(true)
    const late = await open(get)
    await expect.poll(() => late.closed).toBe(true)
    expect([late.seen, ...answered.map(({ closed }) => closed)]).toEqual(['', false, false])
    answered[0]?.socket.destroy()
    await expect
      .poll(async () => {
        const again = await open(get)
        // One that is answered, however late, has the place that is free.
        await expect.poll(() => again.closed || again.seen !== '').toBe(true)
        return again.seen
      })
      .toContain('begun')
  })

  test('S22: who floods loses his own', async () => {
    await start(10)
    const quiet = [await open('', '127.0.0.2'), await open('', '127.0.0.3')]
    for (let i = 0; i < 50; i++) await open('', '127.0.0.4')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(quiet.map(({ closed }) => closed)).toEqual([false, false])
    for (const { socket } of quiet) socket.write(get)
    await expect.poll(() => quiet.map(({ seen }) => seen.includes('200 OK'))).toEqual([true, true])
  })
})
