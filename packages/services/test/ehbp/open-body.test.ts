import type http from 'node:http'
import { connect as connectSocket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fromHex, utf8 } from 'veritee/bytes'
import { nodeTransport, type Transport } from 'veritee/client'
import { FrameSealer, openResponse, type SealedRequest, sealRequest } from 'veritee/ehbp'
import { afterEach, describe, expect, test } from 'vitest'
import { exchangeOf } from '../../src/enclave/runtime/ehbp/exchange.ts'
import { createRecipient, type EhbpRecipient } from '../../src/enclave/runtime/ehbp/recipient.ts'
import { readRequestBody, sendError, write } from '../../src/http/body.ts'
import { expectOpened, expectSealed } from '../../src/http/ehbp/expect-sealed.ts'
import { openBody } from '../../src/http/ehbp/open-body.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { bytesOf } from '../e2e/network.ts'
import { send, sha } from './sealing-client.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

interface Service {
  readonly recipient: EhbpRecipient
  readonly transport: Transport
  readonly url: URL
  /** Digests of requests and answers as they went over the wire. */
  readonly received: readonly string[]
  readonly written: Promise<string>[]
}

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

/** Answers with the body it got, in the way that `answer` has. `worker`: as one does, which hashes what goes over the wire. */
async function start(
  answer: (body: Uint8Array, response: http.ServerResponse, request: http.IncomingMessage) => unknown,
  { capacity = 100, worker = false } = {},
): Promise<Service> {
  const recipient = createRecipient(capacity)
  const received: string[] = []
  const written: Promise<string>[] = []
  const open = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    if (!worker) return expectSealed(request, response, recipient)
    const { exchange, body } = await openBody(request, response, recipient, 'demanded')
    if (exchange.wire === null) throw new TypeError('nothing was hashed')
    received.push(exchange.wire.requestHash)
    written.push(exchange.wire.responseHash)
    expectOpened(request, body)
  }
  const listening: Listening = await listen({ host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }, (request, response) => {
    open(request, response)
      .then(() => readRequestBody(request, 8 << 20))
      .then((body) => answer(body, response, request))
      .catch((error: unknown) => sendError(response, error))
  })
  const transport = nodeTransport(listening.url)
  closing.push(
    () => listening.close(),
    () => transport.close(),
  )
  return { recipient, transport, url: new URL(listening.url), received, written }
}

const echo = (body: Uint8Array, response: http.ServerResponse): void => void response.writeHead(200, { 'content-length': body.length }).end(body)
const target = { method: 'POST', model: null, path: '/', session_id: null }
const sealed = ({ recipient }: Service, body: Uint8Array): Promise<SealedRequest> =>
  sealRequest({ publicKey: fromHex(recipient.publicKey), keysetDigest: '' }, target, body)

/** The same request with other frames for its body. */
async function framed(service: Service, frames: (sealer: FrameSealer) => Promise<Uint8Array[]>): Promise<SealedRequest> {
  const request = await sealed(service, utf8('unused'))
  return { ...request, body: Buffer.concat(await frames(new FrameSealer(request.context.request))) }
}
const line = ({ binding }: SealedRequest): string => `${JSON.stringify(binding, Object.keys(binding).sort())}\n`

describe('opening a body', () => {
  test.for([0, 1, 65_536, 300_000])('of %i bytes gives it back, and at a worker the digests of what went over the wire', async (length) => {
    for (const worker of [false, true]) {
      const service = await start(echo, { worker })
      const body = Buffer.alloc(length, 'x')
      const request = await sealed(service, body)
      const answer = await send(service.transport, request, '/')
      expect(answer.status).toBe(200)
      expect(sha(answer.body)).toBe(sha(body))
      expect(answer.headers['content-length']).toBeUndefined()
      expect([...service.received, ...(await Promise.all(service.written))]).toEqual(worker ? [sha(request.body), sha(answer.wire)] : [])
    }
  })

  test.for([false, true])('gives it once; nothing keeps it until the answer is over, worker %s', async (worker) => {
    const read = Promise.withResolvers<{ content: WeakRef<object>; again: Promise<unknown>; response: http.ServerResponse; kept: boolean }>()
    const service = await start(
      (body, response, request) =>
        read.resolve({
          // The memory of its one frame.
          content: new WeakRef(body.buffer),
          again: readRequestBody(request, 100).catch(String),
          response,
          kept: exchangeOf(request) !== null,
        }),
      { worker },
    )
    const answer = send(service.transport, await sealed(service, Buffer.alloc(60_000, 'x')), '/')
    const { content, again, response, kept } = await read.promise
    expect(await again).toBe('TypeError: sealedBody: the body of this request was read')
    expect(kept).toBe(true)
    await expect
      .poll(() => {
        collectGarbage()
        // Not the content itself: an assertion that fails keeps what it found.
        return content.deref() === undefined
      })
      .toBe(true)
    response.end('done')
    expect((await answer).body.toString()).toBe('done')
  })

  test('the largest body passes, one byte more is refused encrypted', async () => {
    const service = await start((body, response) => response.end(String(body.length)))
    const largest = await send(service.transport, await sealed(service, Buffer.alloc(8 << 20)), '/')
    expect(largest.body.toString()).toBe(String(8 << 20))
    const larger = await send(service.transport, await sealed(service, Buffer.alloc((8 << 20) + 1)), '/')
    expect(larger.status).toBe(413)
  })

  test('S4: once the memory of the key is full, new requests are told to take another key, and old ones are still refused', async () => {
    const service = await start(echo, { capacity: 1 })
    const first = await sealed(service, utf8('a'))
    expect((await send(service.transport, first, '/')).status).toBe(200)
    const response = await service.transport.send({ method: 'POST', path: '/', ...(await sealed(service, utf8('b'))) })
    expect([response.status, response.headers['content-type']]).toEqual([422, 'application/problem+json'])
    expect(JSON.parse((await bytesOf(response)).toString())).toMatchObject({ type: 'urn:ietf:params:ehbp:error:key-config' })
    expect((await send(service.transport, first, '/')).status).toBe(400)
  })

  test.for<[string, (sealer: FrameSealer, request: { line: string }) => Promise<Uint8Array[]>, number, string]>([
    ['a second frame that was changed', async (s) => [await s.seal(utf8('a')), (await s.seal(utf8('b'))).fill(1, 4)], 400, 'ehbp_malformed'],
    ['a body that ends within a frame', async (s) => [await s.seal(utf8('a')), Buffer.from([0, 0])], 400, 'ehbp_malformed'],
    ['a second frame shorter than a tag', async (s) => [await s.seal(utf8('a')), Buffer.from([0, 0, 0, 1, 0])], 400, 'ehbp_malformed'],
    ['a second frame beyond all bounds', async (s) => [await s.seal(utf8('a')), Buffer.from([0xff, 0, 0, 0])], 400, 'ehbp_malformed'],
    ['no line', async (s) => [await s.seal(utf8('{}'))], 400, 'ehbp_malformed'],
  ])('refused encrypted, since its first frame opened: %s', async ([, frames, status, code]) => {
    const service = await start(echo)
    const request = await framed(service, (sealer) => frames(sealer, { line: '' }))
    const answer = await send(service.transport, request, '/')
    expect([answer.status, (JSON.parse(answer.body.toString()) as { error: { code: string } }).error.code]).toEqual([status, code])
    // It counts as sent.
    expect((JSON.parse((await send(service.transport, request, '/')).body.toString()) as { error: { code: string } }).error.code).toBe(
      'ehbp_replayed',
    )
  })

  test.for<[string, (service: Service) => Promise<Uint8Array>, number]>([
    ['nothing', async () => new Uint8Array(0), 400],
    ['empty frames only', async () => Buffer.alloc(40), 400],
    ['more than 65,536 empty frames', async () => Buffer.alloc(4 * 65_537), 400],
    ['a first frame beyond all bounds', async () => Buffer.from([0x7f, 0xff, 0xff, 0xff]), 400],
    ['a first frame that does not open', async () => Buffer.concat([Buffer.from([0, 0, 0, 16]), Buffer.alloc(16)]), 422],
  ])('refused in plain, since nothing opened: %s', async ([, wire, status]) => {
    const service = await start(echo)
    const request = await sealed(service, utf8('a'))
    const response = await service.transport.send({ method: 'POST', path: '/', headers: request.headers, body: await wire(service) })
    expect([response.status, response.headers['ehbp-response-nonce']]).toEqual([status, undefined])
    // It leaves no trace: the genuine body still opens.
    expect((await send(service.transport, request, '/')).status).toBe(200)
  })

  test('frames that come byte by byte are opened, and one that never ends holds nothing', async () => {
    const service = await start(echo)
    const request = await framed(service, async () => [])
    const sealer = new FrameSealer(request.context.request)
    const wire = Buffer.concat([await sealer.seal(utf8(line(request))), await sealer.seal(utf8('drop by drop'))])
    const socket = connectSocket(Number(service.url.port), '127.0.0.1')
    const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n${headers.join('')}content-length: ${wire.length}\r\nconnection: close\r\n\r\n`)
    for (const byte of wire) {
      socket.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    const received: Buffer[] = []
    for await (const part of socket as AsyncIterable<Buffer>) received.push(part)
    const answer = Buffer.concat(received)
    const nonce = /ehbp-response-nonce: ([0-9a-f]{64})/i.exec(answer.toString('latin1'))?.[1]
    const { frames } = await openResponse(request, 200, { 'ehbp-response-nonce': nonce })
    // One HTTP chunk, whose length stands in front of it.
    const body = answer.subarray(answer.indexOf('\r\n\r\n') + 4)
    const chunk = body.subarray(body.indexOf('\r\n') + 2, body.lastIndexOf('\r\n0\r\n'))
    expect(Buffer.concat(await frames.push(chunk)).toString()).toBe('drop by drop')
  })
})

describe('an answer that is sealed as it is written', () => {
  test('piece by piece, with an implicit head, and errors as well', async () => {
    const service = await start(async (body, response) => {
      if (body.length === 0) throw new TypeError('a prompt is in this message')
      response.setHeader('x-veritee-receipt-key', 'ab'.repeat(32))
      await write(response, utf8('one '))
      await write(response, utf8('two '))
      response.end('three')
    })
    const answer = await send(service.transport, await sealed(service, utf8('a')), '/')
    expect([answer.body.toString(), answer.frames]).toEqual(['one two three', [4, 4, 5]])
    expect(Buffer.from(answer.opened.receiptKey ?? []).toString('hex')).toBe('ab'.repeat(32))
    expect(answer.headers['x-veritee-receipt-key']).toBeUndefined()
    const failed = await send(service.transport, await sealed(service, new Uint8Array(0)), '/')
    expect([failed.status, failed.body.toString().includes('prompt')]).toEqual([500, false])
  })

  test('a reader that takes nothing holds the writer back', async () => {
    const waited = Promise.withResolvers<boolean>()
    const service = await start(
      async (_, response) => {
        let drained = true
        for (let i = 0; i < 512 && drained; i++) drained = response.write(Buffer.alloc(65_536))
        waited.resolve(drained)
        response.destroy()
      },
      { worker: true },
    )
    const request = await sealed(service, utf8('a'))
    const socket = connectSocket(Number(service.url.port), '127.0.0.1')
    socket.pause()
    const headers = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`POST / HTTP/1.1\r\nhost: 127.0.0.1\r\n${headers.join('')}content-length: ${request.body.length}\r\n\r\n`)
    socket.write(request.body)
    expect(await waited.promise).toBe(false)
    socket.destroy()
    expect(await service.written[0]).toMatch(/^sha256:/)
  })
})
