import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { readRequestBody, sendError, sendJson, write } from '../../../src/http/body.ts'
import { addReceipt, endPlain, offerReceipt, receiptOfTrailers } from '../../../src/http/receipt-trailer.ts'
import { Gate } from '../../../src/process/gate.ts'
import { fields, flag, frame, number32, postFields, preface, rawConnection, settings, type } from './frames.ts'
import { atEnd, clientOf, closeAll, digest, type Protocol, protocols, startService, tlsKey } from './service.ts'

afterEach(closeAll)

/** What every answer has, whoever makes it. */
const names = { 'x-aci-version': 'aci/1', 'x-aci-keyset-digest': digest }

describe.for(protocols)('a listener of both: %s', (protocol) => {
  test('the protocol is the one that was asked for', async () => {
    const versions: string[] = []
    const service = await startService((request, response) => {
      versions.push(request.httpVersion)
      sendJson(response, '{}')
    })
    expect(await clientOf(protocol, service).ask().answer).toMatchObject({ status: 200, headers: names, body: '{}' })
    expect(versions).toEqual([protocol === 'HTTP/2' ? '2.0' : '1.1'])
  })

  test.for([
    ['another name', { host: 'attacker.example' }, 421],
    ['a page from elsewhere', { origin: 'https://attacker.example' }, 403],
    ['an expectation', { expect: 'tea' }, 417],
  ] as const)('%s is refused, in the form and with the names of all answers', async ([, headers, status]) => {
    const service = await startService((_, response) => sendJson(response, '{}'))
    const answer = await clientOf(protocol, service).ask({ headers }).answer
    expect(answer).toMatchObject({ status, headers: names })
    expect(JSON.parse(answer.body)).toMatchObject({ error: { type: 'invalid_request_error', param: null } })
  })

  test('a Host header is there, under which handlers were asked', async () => {
    const service = await startService(({ headers: { host } }, response) => void response.end(host))
    const { body } = await clientOf(protocol, service).ask().answer
    expect(body).toBe(`127.0.0.1:${service.port}`)
  })

  test('headers of connections of HTTP/1.1 that a handler sets do no harm', async () => {
    const headers = { Connection: 'close', 'Keep-Alive': 'timeout=5', 'Proxy-Connection': 'close' }
    const service = await startService((_, response) => {
      response.setHeader('Connection', 'close')
      response.writeHead(200, { ...headers, 'x-said': 'yes' }).end('ok')
    })
    const answer = await clientOf(protocol, service).ask().answer
    expect(answer).toMatchObject({ status: 200, body: 'ok', headers: { 'x-said': 'yes' } })
    if (protocol === 'HTTP/2') for (const name of Object.keys(headers)) expect(answer.headers).not.toHaveProperty(name.toLowerCase())
  })

  test('a body is read whole, one that is too large is 413, and what comes behind it is not waited for', async () => {
    const service = await startService((request, response) => {
      readRequestBody(request, 100_000).then(
        (body) => response.end(String(body.length)),
        (error: unknown) => sendError(response, error),
      )
    })
    const client = clientOf(protocol, service)
    expect(await client.ask({ method: 'POST', body: Buffer.alloc(100_000) }).answer).toMatchObject({ status: 200, body: '100000' })
    expect(await client.ask({ method: 'POST', body: '' }).answer).toMatchObject({ status: 200, body: '0' })
    const endless = client.ask({ method: 'POST', body: Buffer.alloc(200_000), unended: true })
    expect(await endless.answer.catch(() => ({ status: 413 }))).toMatchObject({ status: 413 })
    expect(await clientOf(protocol, service).ask().answer).toMatchObject({ status: 200 })
  })

  test('a body that breaks off is an error', async () => {
    const told = Promise.withResolvers<unknown>()
    const came = Promise.withResolvers<void>()
    const service = await startService((request, response) => {
      request.once('data', () => came.resolve())
      readRequestBody(request, 1000).then(told.resolve, (error: unknown) => {
        told.resolve(error)
        sendError(response, error)
      })
    })
    // Node's own client ends its stream before it resets it.
    const raw = protocol === 'HTTP/2' ? await rawConnection(service) : null
    const asked = raw === null ? clientOf(protocol, service).ask({ method: 'POST', body: '{"whole":1}', unended: true }) : null
    raw?.send(frame(type.headers, flag.endHeaders, 1, postFields), frame(type.data, flag.none, 1, Buffer.from('{"whole":1}')))
    await came.promise
    asked?.leave()
    raw?.send(frame(type.reset, flag.none, 1, number32(8)))
    expect(await told.promise).toMatchObject({ status: 400, message: 'the request body broke off' })
  })

  test('a body that does not come in time is 408', async () => {
    const service = await startService(
      (request, response) => {
        readRequestBody(request, 1000).then(
          () => response.end('read'),
          (error: unknown) => sendError(response, error),
        )
      },
      { limits: { headersMs: 200, requestMs: 200 } },
    )
    const asked = clientOf(protocol, service).ask({ method: 'POST', body: 'half', unended: true })
    const answer = await asked.answer
    expect(answer).toMatchObject({ status: 408, headers: names })
    expect(JSON.parse(answer.body)).toMatchObject({ error: { message: 'the request took too long to come' } })
  })

  test('a body that has come in time may be read later', async () => {
    const service = await startService(
      (request, response) =>
        void setTimeout(() => {
          readRequestBody(request, 1000).then(
            (body) => response.end(body),
            (error: unknown) => sendError(response, error),
          )
        }, 600),
      { limits: { headersMs: 200, requestMs: 200 } },
    )
    const { answer } = clientOf(protocol, service).ask({ method: 'POST', headers: { 'content-length': '3' }, body: 'all' })
    expect(await answer).toMatchObject({ status: 200, body: 'all' })
  })

  test('bodies that are held count together, and are given back with their answers', async () => {
    const answers: (() => void)[] = []
    const service = await startService(
      (request, response) => {
        readRequestBody(request, 65_536).then(
          () => answers.push(() => response.end('answered')),
          (error: unknown) => sendError(response, error),
        )
      },
      { limits: { held: { all: 100_000, network: 100_000 } }, trusts: () => true },
    )
    const post = (length: number) => clientOf(protocol, service).ask({ method: 'POST', body: Buffer.alloc(length) })
    const first = post(60_000)
    await expect.poll(() => answers.length).toBe(1)
    expect(await post(60_000).answer).toMatchObject({ status: 503, headers: names })
    const left = post(30_000)
    await expect.poll(() => answers.length).toBe(2)
    left.leave()
    answers[0]?.()
    expect(await first.answer).toMatchObject({ status: 200 })
    // Of who left, and of who was answered.
    for (let held = false; !held; ) {
      const count = answers.length
      const again = post(60_000)
      held = await Promise.race([again.answer.then(({ status }) => status === 200), until(() => answers.length > count)])
    }
  })

  test('a receipt comes as a trailer where it was promised, with a plain answer and with a stream', async () => {
    const service = await startService((request, response) => {
      offerReceipt(request, response)
      if (request.url === '/plain') return endPlain(response, 200, Buffer.from('{}'), Buffer.from('{"receipt":1}'))
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: 1\n\n')
      addReceipt(response, Buffer.from('{"receipt":2}'))
      response.end('data: 2\n\n')
    })
    const client = clientOf(protocol, service)
    const plain = await client.ask({ path: '/plain', headers: { te: 'trailers' } }).answer
    expect([plain.body, receiptOfTrailers(plain.trailers)]).toEqual(['{}', { text: '{"receipt":1}' }])
    const stream = await client.ask({ headers: { te: 'trailers' } }).answer
    expect([stream.body, receiptOfTrailers(stream.trailers)]).toEqual(['data: 1\n\ndata: 2\n\n', { text: '{"receipt":2}' }])
    const none = await client.ask({ path: '/plain' }).answer
    expect([none.body, none.headers['content-length'], receiptOfTrailers(none.trailers)]).toEqual(['{}', '2', null])
  })

  test('an answer that is cut off is an error to its reader, never a whole one', async () => {
    const service = await startService((_, response) => {
      response.writeHead(200)
      response.write('half')
      setImmediate(() => sendError(response, new Error('failed')))
    })
    await expect(clientOf(protocol, service).ask().answer).rejects.toThrow()
  })

  test.for(['before a byte of the answer', 'in its middle', 'while it takes nothing'] as const)('who leaves %s is missed', async (when) => {
    const told = Promise.withResolvers<{ readonly finished: boolean; readonly destroyed: boolean; readonly more: unknown }>()
    const begun = Promise.withResolvers<void>()
    const gate = new Gate()
    const service = await startService(
      gate.wrap(
        (request, response) => {
          request.resume()
          response.once('close', () => {
            const more = write(response, Buffer.from('more'))
            told.resolve({ finished: response.writableFinished, destroyed: response.destroyed, more })
          })
          if (when !== 'before a byte of the answer') response.write('begun')
          if (when === 'while it takes nothing') response.write(Buffer.alloc(8 << 20))
          begun.resolve()
        },
        () => true,
      ),
    )
    const asked = clientOf(protocol, service).ask({ method: 'POST', body: '{}' })
    await begun.promise
    if (when === 'in its middle') await expect.poll(asked.seen).toBe('begun')
    asked.leave()
    expect(await told.promise).toEqual({ finished: false, destroyed: true, more: false })
    expect(gate.working).toBe(0)
  })

  test('who has been answered has not left', async () => {
    const told = Promise.withResolvers<boolean>()
    const service = await startService((_, response) => {
      response.once('close', () => told.resolve(response.writableFinished))
      response.end('ok')
    })
    await clientOf(protocol, service).ask().answer
    expect(await told.promise).toBe(true)
  })

  test('a reader that takes nothing holds its own source up, and has gone when that lasts', async () => {
    const told = Promise.withResolvers<readonly [number, boolean]>()
    const service = await startService((request, response) => {
      if (request.url === '/other') return void response.end('answered')
      void (async () => {
        let sent = 0
        while ((await write(response, Buffer.alloc(65_536), request.url === '/short' ? 100 : 60_000)) && sent < 1000) sent++
        told.resolve([sent, response.destroyed])
      })()
    })
    const socket = await stalled(protocol, service, '/short')
    expect(await clientOf(protocol, service).ask({ path: '/other' }).answer).toMatchObject({ body: 'answered' })
    const [sent, destroyed] = await told.promise
    expect(destroyed).toBe(true)
    // What sockets take on both sides.
    expect(sent).toBeLessThan(200)
    socket.destroy()
  })

  test('an answer that comes from elsewhere goes on as it comes, and ends with its reader', async () => {
    const whole = Buffer.alloc(300_000, 'x')
    const left = Promise.withResolvers<void>()
    const service = await startService((request, response) => {
      if (request.url === '/whole') return void Readable.from([whole.subarray(0, 1), whole.subarray(1)]).pipe(response)
      const endless = new Readable({ read: () => void endless.push(whole) })
      response.once('close', left.resolve)
      endless.pipe(response)
    })
    const client = clientOf(protocol, service)
    expect((await client.ask({ path: '/whole' }).answer).body.length).toBe(whole.length)
    const asked = client.ask()
    await expect.poll(() => asked.seen().length).toBeGreaterThan(0)
    asked.leave()
    await left.promise
  })

  test('one renewed TLS key serves from then on, and connections that stand keep theirs', async () => {
    const [first, second] = [await tlsKey(), await tlsKey()]
    const service = await startService((_, response) => sendJson(response, '{}'), { tls: first })
    const shown = (): Promise<string> => {
      const { promise, resolve } = Promise.withResolvers<string>()
      const ALPNProtocols = [protocol === 'HTTP/2' ? 'h2' : 'http/1.1']
      const socket: TLSSocket = connect({ port: service.port, host: '127.0.0.1', ALPNProtocols, rejectUnauthorized: false }, () => {
        resolve(socket.getPeerX509Certificate()?.toString() ?? '')
        socket.destroy()
      })
      return promise
    }
    const standing = clientOf(protocol, service)
    await standing.ask().answer
    expect(await shown()).toBe(first.cert)
    service.renewTls(second)
    expect(await shown()).toBe(second.cert)
    expect(await standing.ask().answer).toMatchObject({ status: 200 })
  })

  test('closing ends what is under way, and all connections', async () => {
    const service = await startService((_, response) => void response.write('begun'))
    const asked = clientOf(protocol, service).ask()
    await expect.poll(asked.seen).toBe('begun')
    await service.close()
    await expect(asked.answer).rejects.toThrow()
  })

  test('an answer to HEAD has no body', async () => {
    const service = await startService((_: IncomingMessage, response: ServerResponse) => sendJson(response, '{"a":1}'))
    const client = clientOf(protocol, service)
    expect(await client.ask({ method: 'HEAD' }).answer).toMatchObject({ status: 200, body: '', headers: { 'content-length': '7' } })
    expect(await client.ask().answer).toMatchObject({ status: 200, body: '{"a":1}' })
  })
})

async function until(done: () => boolean): Promise<true> {
  while (!done()) await new Promise((resolve) => setTimeout(resolve, 5))
  return true
}

/** A requester that reads no byte of its answer. */
async function stalled(protocol: Protocol, { port }: { readonly port: number }, path: string): Promise<TLSSocket> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const ALPNProtocols = [protocol === 'HTTP/2' ? 'h2' : 'http/1.1']
  const socket = connect({ port, host: '127.0.0.1', ALPNProtocols, rejectUnauthorized: false }, resolve)
  atEnd(() => socket.destroy())
  socket.on('error', () => undefined)
  await promise
  if (protocol === 'HTTP/1.1') socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
  else {
    const get = fields([':method', 'GET'], [':scheme', 'https'], [':path', path], [':authority', 'localhost'])
    // Windows without bounds: what holds the source up is that the connection takes nothing.
    socket.write(
      Buffer.concat([
        preface,
        settings([4, 0x7fffffff]),
        frame(type.window, 0, 0, number32(0x7fff0000)),
        frame(type.headers, flag.endStream | flag.endHeaders, 1, get),
      ]),
    )
  }
  return socket
}
