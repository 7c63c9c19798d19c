import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { readRequestBody, sendError } from '../../src/http/body.ts'
import { maxWaiting } from '../../src/http/in-turn.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { Gate } from '../../src/process/gate.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Setting {
  readonly gate: Gate
  readonly server: Listening
  /** Paths whose body was read and that wait for their answer. */
  readonly begun: string[]
  readonly answers: (() => void)[]
  closed: number
}

async function setting(): Promise<Setting> {
  const begun: string[] = []
  const answers: (() => void)[] = []
  const gate = new Gate()
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    response.once('close', () => made.closed++)
    readRequestBody(request, 65_536).then(
      () => {
        begun.push(request.url ?? '')
        answers.push(() => response.end(request.url))
      },
      (error: unknown) => sendError(response, error),
    )
  }
  const bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }
  const limits = { connections: 100, headersMs: 60_000, requestMs: 60_000, held: { all: 100_000, network: 100_000 } }
  const server = await listen(
    bind,
    gate.wrap(handle, () => true),
    null,
    limits,
  )
  closing.push(() => server.close())
  const made = { gate, server, begun, answers, closed: 0 }
  return made
}

function post(path: string, length: number): string {
  return `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${length}\r\n\r\n${'x'.repeat(length)}`
}

function client({ port }: Listening): { readonly socket: Socket; readonly seen: () => string; readonly ended: () => boolean } {
  let seen = ''
  let ended = false
  const socket = connect(port, '127.0.0.1')
  socket.on('data', (part) => {
    seen += part.toString()
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    ended = true
  })
  closing.push(() => socket.destroy())
  return { socket, seen: () => seen, ended: () => ended }
}

describe('S22: requests that one connection sends ahead', () => {
  test('are answered one after the other, in their order', async () => {
    const { server, begun, answers } = await setting()
    const { socket, seen } = client(server)
    socket.write(post('/a', 10) + post('/b', 10) + post('/c', 10))
    for (const paths of [['/a'], ['/a', '/b'], ['/a', '/b', '/c']]) {
      await expect.poll(() => begun).toEqual(paths)
      answers.splice(0)[0]?.()
    }
    await expect.poll(() => seen().match(/\/[abc]/g)).toEqual(['/a', '/b', '/c'])
  })

  test('hold neither bytes nor a place once the requester went away', async () => {
    const made = await setting()
    // Ten times what may be held.
    for (let round = 1; round <= 20; round++) {
      const { socket } = client(made.server)
      socket.write(post('/first', 100) + post('/ahead', 50_000))
      await expect.poll(() => made.begun.length).toBe(round)
      socket.destroy()
      await expect.poll(() => [made.closed, made.gate.working]).toEqual([round, 0])
    }
    expect(made.begun).not.toContain('/ahead')
    const { socket, seen } = client(made.server)
    socket.write(post('/after', 60_000))
    await expect.poll(() => made.begun).toContain('/after')
    made.answers.at(-1)?.()
    await expect.poll(seen).toContain('200 OK')
  })

  test('that wait behind an answer with which the connection ends are not begun', async () => {
    const made = await setting()
    const { socket, ended } = client(made.server)
    socket.write(`GET /refused HTTP/1.1\r\nHost: localhost\r\nExpect: much\r\n\r\n${post('/ahead', 10)}`)
    await expect.poll(ended).toBe(true)
    expect([made.begun, made.gate.working]).toEqual([[], 0])
  })

  test('are a bounded number', async () => {
    const made = await setting()
    const { socket, ended } = client(made.server)
    socket.write(post('/first', 1) + post('/ahead', 0).repeat(maxWaiting))
    await expect.poll(() => made.begun).toEqual(['/first'])
    expect(ended()).toBe(false)
    socket.write(post('/too-many', 0))
    await expect.poll(ended).toBe(true)
    await expect.poll(() => made.gate.working).toBe(0)
  })
})
