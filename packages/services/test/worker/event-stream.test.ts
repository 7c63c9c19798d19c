import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, get, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { utf8 } from 'veritee/bytes'
import { StreamTree } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { EventStream, type EventStreamOptions } from '../../src/enclave/worker/event-stream.ts'

const server = createServer()
let port: number
beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
})
afterAll(() => void server.close())

const eventOf = (i: number): string => `data: {"i":${i}}\n\n`

/** A response whose writes are counted, and what its reader gets of it. */
async function opened(): Promise<{ response: ServerResponse; writes: Uint8Array[]; body: Promise<Buffer>; leave: () => void }> {
  const arrived = once(server, 'request')
  const request = get({ port, host: '127.0.0.1', agent: false })
  const body = new Promise<Buffer>((resolve) => {
    request.once('error', () => resolve(Buffer.alloc(0)))
    request.once('response', (incoming) => {
      const parts: Buffer[] = []
      incoming.on('data', (part: Buffer) => parts.push(part)).on('error', () => undefined)
      incoming.once('close', () => resolve(Buffer.concat(parts)))
    })
  })
  const [, response] = (await arrived) as [unknown, ServerResponse]
  const writes: Uint8Array[] = []
  const write = response.write.bind(response)
  response.write = ((bytes: Uint8Array) => {
    writes.push(bytes)
    return write(bytes)
  }) as ServerResponse['write']
  return { response, writes, body, leave: () => void request.destroy() }
}

type Made = () => string
const streamOf = (response: ServerResponse, prompt: number, rest: Partial<EventStreamOptions<Made>> = {}): EventStream<Made> =>
  new EventStream(response, prompt, { tell: (make) => make(), ...rest })

test('S9: digest and tree are over all events in their order, which is what the reader gets; the last one only when told', async () => {
  const { response, writes, body } = await opened()
  const stream = streamOf(response, 2)
  const tree = new StreamTree()
  const all = Array.from({ length: 50 }, (_, i) => eventOf(i))
  for (const event of all) {
    await stream.emit(() => event)
    await tree.append(utf8(event))
  }
  const last = eventOf(50)
  await tree.append(utf8(last))
  const { bodyHash, event, end } = await stream.close(() => last)
  expect(Buffer.concat(writes).includes(Buffer.from(last))).toBe(false)
  end()
  const bytes = Buffer.from([...all, last].join(''))
  expect(await body).toEqual(bytes)
  expect(bodyHash).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
  expect(event).toEqual(await tree.event())
})

test('S9: of events of any characters, alone or together, digest and tree are over their bytes', async () => {
  const { response, body } = await opened()
  const stream = streamOf(response, 1)
  const all = ['data: plain\n\n', 'data: d\u00e9j\u00e0 vu\n\n', 'data: \u6771\u4eac \u{1f642}\n\n', 'data: plain again\n\n', 'data: \u00ff\n\n']
  const tree = new StreamTree()
  for (const event of all) {
    await stream.emit(() => event)
    await tree.append(utf8(event))
  }
  const { bodyHash, event, end } = await stream.close(null)
  end()
  expect((await body).toString()).toBe(all.join(''))
  expect([bodyHash, event]).toEqual([`sha256:${createHash('sha256').update(all.join('')).digest('hex')}`, await tree.event()])
})

test('what is left at the end goes out with the last event, in one write', async () => {
  const { response, writes, body } = await opened()
  const stream = streamOf(response, 1)
  for (let i = 0; i < 3; i++) await stream.emit(() => eventOf(i))
  const { end } = await stream.close(() => eventOf(3))
  expect(writes.length).toBe(1)
  end()
  expect((await body).toString()).toBe([0, 1, 2, 3].map(eventOf).join(''))
})

test('the first text takes along what is before it, those in quick succession go together, and nothing is kept to the end of a pause', async () => {
  const { response, writes, body } = await opened()
  const stream = streamOf(response, 2)
  await stream.emit(() => eventOf(0))
  await stream.emit(() => eventOf(1))
  expect(writes.map((bytes) => Buffer.from(bytes).toString())).toEqual(['data: {"i":0}\n\ndata: {"i":1}\n\n'])
  const rest = Array.from({ length: 8 }, (_, i) => stream.emit(() => eventOf(2 + i)))
  await Promise.all(rest)
  expect(writes.length).toBeLessThan(6)
  // Without anything further, the timer alone brings them out.
  while (Buffer.concat(writes).toString().split('\n\n').length <= 10) await new Promise((resolve) => setTimeout(resolve, 1))
  const { end } = await stream.close(null)
  end()
  expect((await body).toString().split('\n\n')).toHaveLength(11)
})

test('S9: what a reader who left was never sent is neither made nor in the receipt', async () => {
  const { response, leave } = await opened()
  const stream = streamOf(response, 1)
  await stream.emit(() => eventOf(0))
  const closed = once(response, 'close')
  leave()
  await closed
  let made = 0
  await stream.emit(() => {
    made++
    return eventOf(1)
  })
  const { event, bodyHash } = await stream.close(null)
  expect(made).toBe(0)
  expect(event.events).toBe(1)
  expect(bodyHash).toBe(`sha256:${createHash('sha256').update(eventOf(0)).digest('hex')}`)
})

test('an event that cannot be made fails the stream, and no process', async () => {
  const { response, leave } = await opened()
  const stream = streamOf(response, 2)
  const broken = (): string => {
    throw new Error('broken')
  }
  await stream.emit(broken)
  // Made when the next one takes it along; whoever emits after it hears of it too.
  for (let i = 0; i < 2; i++) expect(() => stream.emit(() => eventOf(i))).toThrow('broken')
  await expect(stream.close(null)).rejects.toThrow('broken')
  leave()
})

test('S9: in silence comments go out, which are events in hash and tree; none while events come, and none after the end', async () => {
  const { response, body } = await opened()
  const stream = streamOf(response, 1, { heartbeatMs: 250 })
  await stream.emit(() => eventOf(0))
  // Each is within the time after which silence is broken.
  for (let i = 1; i < 8; i++) {
    await new Promise((resolve) => setImmediate(resolve))
    await stream.emit(() => eventOf(i))
  }
  await expect.poll(() => stream.tree.events).toBeGreaterThan(10)
  const { bodyHash, event, end } = await stream.close(() => eventOf(8))
  await new Promise((resolve) => setTimeout(resolve, 600))
  end()
  const bytes = await body
  const events = bytes.toString().split('\n\n').slice(0, -1)
  expect(new Set(events.slice(8, -1))).toEqual(new Set([': keep-alive']))
  expect(events.slice(0, 8).concat(events.slice(-1))).toEqual(Array.from({ length: 9 }, (_, i) => `data: {"i":${i}}`))
  expect(event.events).toBe(events.length)
  expect(bodyHash).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
})

test('a reader who takes nothing gets no comments on top, and one who left stops them', async () => {
  const { response, leave } = await opened()
  const stream = streamOf(response, 1, { heartbeatMs: 5 })
  const stuck = Promise.withResolvers<void>()
  const write = response.write.bind(response)
  response.write = ((bytes: Uint8Array) => {
    write(bytes)
    void stuck.promise.then(() => response.emit('drain'))
    return false
  }) as ServerResponse['write']
  const emitted = stream.emit(() => eventOf(0))
  await new Promise((resolve) => setTimeout(resolve, 40))
  expect(stream.tree.events).toBe(1)
  stuck.resolve()
  await emitted
  const closed = once(response, 'close')
  leave()
  await closed
  const { events } = stream.tree
  await new Promise((resolve) => setTimeout(resolve, 40))
  expect(stream.tree.events).toBe(events)
})

test('an event that cannot be made when its time has come fails the stream at its end', async () => {
  const { response, leave } = await opened()
  const stream = streamOf(response, 3)
  await stream.emit(() => {
    throw new Error('broken')
  })
  await new Promise((resolve) => setTimeout(resolve, 60))
  await expect(stream.close(null)).rejects.toThrow('broken')
  leave()
})

test('S9: a reader who takes nothing for a while gets everything in order, and the stream waits for it', async () => {
  const { response, body } = await opened()
  const stream = streamOf(response, 1)
  const large = Array.from({ length: 40 }, (_, i) => `data: ${String(i).repeat(100_000)}\n\n`)
  // As where the transport has no room: what is written after the first is said to be too much.
  const write = response.write.bind(response)
  response.write = ((bytes: Uint8Array) => {
    write(bytes)
    setTimeout(() => response.emit('drain'), 5)
    return false
  }) as ServerResponse['write']
  let waited = 0
  for (const event of large) {
    const room = stream.emit(() => event)
    if (room !== undefined) waited++
    await room
  }
  const { event, bodyHash, end } = await stream.close(() => eventOf(1))
  end()
  const bytes = Buffer.from([...large, eventOf(1)].join(''))
  expect((await body).equals(bytes)).toBe(true)
  expect(bodyHash).toBe(`sha256:${createHash('sha256').update(bytes).digest('hex')}`)
  expect(event).toMatchObject({ events: 41, bytes: bytes.length })
  expect(waited).toBeGreaterThan(0)
})

test('S25: padded, everything that goes out together ends at a multiple of 256 bytes, comments are hashed like events, and the end comes last', async () => {
  const { response, writes, body } = await opened()
  const stream = streamOf(response, 2, { padded: true })
  const tree = new StreamTree()
  // Of all lengths around the steps, those for which a comment would be too short among them.
  for (let length = 240; length < 270; length++) {
    await stream.emit(() => `data: ${'x'.repeat(length - 8)}\n\n`)
    await stream.emit(() => eventOf(length))
  }
  const { bodyHash, event, end } = await stream.close(() => 'data: [DONE]\n\n')
  end()
  const received = await body
  expect(writes.filter((bytes) => bytes.length % 256 !== 0)).toEqual([])
  expect(received.length % 256).toBe(0)
  expect(received.toString().endsWith('\n\ndata: [DONE]\n\n')).toBe(true)
  const events = received.toString().split(/(?<=\n\n)/)
  for (const one of events) await tree.append(utf8(one))
  expect(events.filter((one) => one.startsWith('data: ')).length).toBe(61)
  expect(events.filter((one) => !/^(?:data: .*|: *)\n\n$/.test(one))).toEqual([])
  expect([bodyHash, event]).toEqual([`sha256:${createHash('sha256').update(received).digest('hex')}`, await tree.event()])
})
