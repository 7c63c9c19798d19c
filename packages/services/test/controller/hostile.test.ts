import type { ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { chatBody } from 'veritee/client'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'
import { outcomeOf, post, type Routed, startRouted } from './routed.ts'

let network: Network
let routed: Routed
const sockets = new Set<Socket>()
beforeAll(async () => {
  network = await startNetwork()
  routed = await startRouted(network, {
    workers: 2,
    plain: true,
    listen: { connections: 64, headersMs: 800, requestMs: 2000, held: { all: 16 << 20, network: 16 << 20 } },
  })
})
afterEach(() => {
  for (const socket of sockets) socket.destroy()
  sockets.clear()
  for (const worker of routed.workers) worker.behaviour = null
})
afterAll(async () => {
  await routed.close()
  await network.close()
})

interface Raw {
  readonly socket: Socket
  readonly closed: Promise<string>
  seen: string
}

/** A connection on which bytes are written as they are; `closed` gives what came back. */
function raw(bytes: string | Uint8Array): Raw {
  const { promise, resolve } = Promise.withResolvers<string>()
  const socket = connect(Number(new URL(routed.url).port), '127.0.0.1')
  socket.write(bytes)
  sockets.add(socket)
  const one: Raw = { socket, closed: promise, seen: '' }
  socket.on('data', (part) => {
    one.seen += part.toString('latin1')
  })
  socket.on('error', () => undefined)
  socket.on('close', () => resolve(one.seen))
  return one
}

const head = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n'
const statusOf = (seen: string): number => Number(seen.slice(9, 12))
const served = async (): Promise<void> => expect((await post(routed)).status).toBe(200)

describe('S22: what comes slowly is cut off, and nobody else waits for it', () => {
  test('S22: headers', async () => {
    const slow = Array.from({ length: 30 }, () => raw('POST /v1/chat/comp'))
    const drip = setInterval(() => {
      for (const { socket } of slow) if (socket.writable) socket.write('l')
    }, 50)
    await served()
    expect(new Set((await Promise.all(slow.map(({ closed }) => closed))).map(statusOf))).toEqual(new Set([408]))
    clearInterval(drip)
  })

  test('S22: bodies, however long they are said to be', async () => {
    const slow = [
      ...Array.from({ length: 15 }, () => raw(`${head}Content-Length: 5000000\r\n\r\n{`)),
      ...Array.from({ length: 15 }, () => raw(`${head}Transfer-Encoding: chunked\r\n\r\n`)),
    ]
    const drip = setInterval(() => {
      for (const [i, { socket }] of slow.entries()) if (socket.writable) socket.write(i < 15 ? ' ' : '1\r\n \r\n')
    }, 50)
    await served()
    const answers = await Promise.all(slow.map(({ closed }) => closed))
    clearInterval(drip)
    for (const seen of answers) expect([408, 400]).toContain(statusOf(seen))
  })

  test('S22: readers, who hold an engine no longer than they read', async () => {
    const body = chatBody('veritee-demo', 'Tell me a story.', { stream: true, maxTokens: 400, temperature: 1 })
    const slow = Array.from({ length: 4 }, () => raw(`${head}Content-Length: ${body.length}\r\n\r\n${Buffer.from(body).toString()}`))
    for (const { socket } of slow) socket.pause()
    await served()
    for (const { socket } of slow) socket.destroy()
    await expect.poll(() => routed.workers.map(({ admitted }) => admitted.load.outstanding), { timeout: 10_000 }).toEqual([0, 0])
    expect(routed.workers.map(({ admitted }) => admitted.quarantine)).toEqual([null, null])
  })
})

describe('S22: what is too much is refused, with a status that says so', () => {
  test.each([
    ['said to be 100 MB long', 'Content-Length: 104857600\r\n\r\n', false],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n', true],
  ])('S22: a body %s is not read to its end', async (_, rest, chunked) => {
    const before = process.memoryUsage().rss
    const { socket, closed } = raw(head + rest)
    const part = Buffer.alloc(1 << 20, 0x20)
    let sent = 0
    const pump = (): void => {
      while (sent < 100 && socket.writable) {
        sent++
        if (chunked) socket.write('100000\r\n')
        const more = socket.write(part)
        if (chunked) socket.write('\r\n')
        if (!more) return void socket.once('drain', pump)
      }
    }
    pump()
    const seen = await closed
    expect([statusOf(seen), seen.includes('"code":"body_too_large"')]).toEqual([413, true])
    expect(sent).toBeLessThan(40)
    expect(process.memoryUsage().rss - before).toBeLessThan(200 << 20)
    await served()
  })

  test.each([
    ['one long header', `X: ${'a'.repeat(40_000)}\r\n`],
    ['many headers', Array.from({ length: 5000 }, (_, i) => `X${i}: a\r\n`).join('')],
    ['headers without end', 'X: a\r\n'.repeat(200_000)],
  ])('S22: %s', async (_, headers) => {
    expect(statusOf(await raw(`${head}${headers}`).closed)).toBe(431)
    await served()
  })

  test('S22: many requests on one connection before any is answered are each answered, or the connection ends', async () => {
    const one = raw('GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(2000))
    one.socket.end()
    const answers = (await one.closed).split('HTTP/1.1 ').slice(1)
    expect(answers.length).toBeGreaterThan(0)
    expect(answers.every((answer) => answer.startsWith('200'))).toBe(true)
    await served()
  })

  test('S22: connections that are opened and left, four times as many as there may be, keep nobody out', async () => {
    const idle: Raw[] = []
    for (let i = 0; i < 256; i++) idle.push(raw(''))
    await served()
    await served()
    await Promise.all(idle.slice(0, 150).map(({ closed }) => closed))
  })
})

describe('S22: bodies that are no requests', () => {
  const send = async (body: Uint8Array): Promise<string> => {
    const one = raw(Buffer.concat([Buffer.from(`${head}Connection: close\r\nContent-Length: ${body.length}\r\n\r\n`), body]))
    return await one.closed
  }
  const ask = (content: string): Buffer => Buffer.from(`{"model":"veritee-demo","messages":[{"role":"user","content":${content}}]}`, 'latin1')
  test.each([
    ['invalid UTF-8', ask('"\xff\xfe"'), 'malformed_encoding'],
    ['UTF-8 that is cut off', Buffer.from('{"model":"\xc3', 'latin1'), 'malformed_encoding'],
    ['an overlong form', ask('"\xc0\xaf"'), 'malformed_encoding'],
    ['a surrogate in UTF-8', ask('"\xed\xa0\x80"'), 'malformed_encoding'],
    ['deep lists', ask('['.repeat(100_000) + ']'.repeat(100_000)), 'malformed_json'],
    ['deep objects', ask(`${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`), 'malformed_json'],
    ['lists that do not end', Buffer.from('['.repeat(8 << 20)), 'malformed_json'],
    ['a name twice', Buffer.from('{"model":"a","model":"b"}'), 'malformed_json'],
    ['nothing', Buffer.alloc(0), 'malformed_json'],
    ['zeros', Buffer.alloc(1 << 20), 'malformed_json'],
    ['a number', Buffer.from('1'), 'malformed_document'],
  ])('S22: %s', async (_, body, code) => {
    const reached = routed.workers.map((worker) => worker.reached)
    const seen = await send(body)
    expect([statusOf(seen), /"code":"(\w+)"/.exec(seen)?.[1]]).toEqual([400, code])
    expect(routed.workers.map((worker) => worker.reached)).toEqual(reached)
  })

  test('S22: as many values as a request may hold are read, and more are refused before they become memory', async () => {
    const holding = (values: number): Buffer => Buffer.from(`{"model":"nobody","list":[${'{},'.repeat(values - 4)}{}]}`)
    expect(statusOf(await send(holding(1 << 18)))).toBe(404)
    const refused = await send(holding((1 << 18) + 1))
    expect([statusOf(refused), refused.includes('malformed_json')]).toEqual([400, true])
    await served()
  })
})

describe('S22: a worker that says what no worker says harms its own answers only', () => {
  /** What both workers send, whichever is asked. */
  const behave = (answer: (response: ServerResponse) => void): void => {
    for (const worker of routed.workers) worker.behaviour = (_, response) => answer(response)
  }
  /** A fresh admission, for what went wrong before ended the session. */
  const readmit = async (): Promise<void> => {
    for (const worker of routed.workers) {
      worker.behaviour = null
      await worker.admitAgain()
    }
  }
  afterEach(readmit)
  const endless = (response: ServerResponse, part: Buffer): void => {
    const pump = (): void => {
      while (!response.destroyed && response.write(part));
      if (!response.destroyed) response.once('drain', pump)
    }
    pump()
  }

  test.each([
    ['one event without end', (response: ServerResponse) => endless(response, Buffer.alloc(1 << 16, 0x61))],
    ['bytes that are no text', (response: ServerResponse) => endless(response, Buffer.alloc(1 << 16, 0xff))],
    ['half an event', (response: ServerResponse) => void response.end('data: {"id":"a"')],
    ['other line ends', (response: ServerResponse) => void response.end('data: {"id":"a"}\r\n\r\ndata: [DONE]\r\n\r\n')],
    ['nothing', (response: ServerResponse) => void response.end()],
  ])('S22: a stream of %s ends, and its receipt does not say that the worker has signed it', async (_, answer) => {
    behave((response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      answer(response)
    })
    const got = await post(routed, { stream: true })
    expect(got.status).toBe(200)
    expect(got.text.length).toBeLessThan(4 << 20)
    const receipt = JSON.stringify((await (await fetch(`${routed.url}/v1/aci/receipts/${got.receipt}`)).json()) as object)
    expect(receipt).toContain('"result":"absent"')
    await readmit()
    await served()
  })

  test.each([
    ['more than it declared', 'Content-Length: 2\r\n\r\n{"id":"chatcmpl-1","more":"than that"}', ['upstream_receipt_mismatch', 'upstream_broken']],
    ['less than it declared', 'Content-Length: 100\r\n\r\n{}', ['upstream_broken']],
    ['chunks that are none', 'Transfer-Encoding: chunked\r\n\r\nzz\r\n{}', ['upstream_broken']],
  ])('S22: a plain answer of %s is not passed on', async (_, rest, codes) => {
    behave((response) => {
      response.socket?.end(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${rest}`)
    })
    const got = await post(routed)
    expect([got.status, codes.includes(got.code ?? '')]).toEqual([502, true])
    expect(await outcomeOf(routed, got.receipt)).toBe('error')
    await readmit()
    await served()
  })

  test('S22: plain answers that are long and many: what is held is bounded over all of them, and no worker is blamed for that', async () => {
    const listen = { connections: 64, headersMs: 5000, requestMs: 5000, held: { all: 8 << 20, network: 8 << 20 } }
    const own = await startRouted(network, { workers: 1, limits: { breakerFailures: 1 }, listen })
    try {
      for (const worker of own.workers)
        worker.behaviour = (_, response) => {
          response.writeHead(200, { 'content-type': 'application/json' })
          response.end(Buffer.alloc(6 << 20, 0x20))
        }
      const answers = await Promise.all([1, 2, 3, 4].map(() => post(own)))
      expect(answers.some(({ status, text }) => status === 503 && text.includes('too many bodies are held'))).toBe(true)
      // What did fit is withheld, for want of a receipt.
      expect(answers.every(({ status }) => status === 502 || status === 503)).toBe(true)
      expect(own.controller.registry.routing.figures.counts.breakers.open).toBe(0)
    } finally {
      await own.close()
    }
  })

  test.each([
    ['headers without end', `X: a\r\n`.repeat(20_000)],
    ['two lengths', 'Content-Length: 1\r\nContent-Length: 2\r\n\r\n'],
    ['no HTTP', '\0\0\0'],
  ])('S22: an answer with %s is none', async (_, rest) => {
    behave((response) => {
      response.socket?.end(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${rest}`)
    })
    expect((await post(routed)).status).toBe(503)
    await readmit()
    await served()
  })
})
