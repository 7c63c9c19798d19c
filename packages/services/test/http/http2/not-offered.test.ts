import { connect as connectPlain, type Socket } from 'node:net'
import { connect } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { sendJson } from '../../../src/http/body.ts'
import { type Bind, listen } from '../../../src/http/listen.ts'
import { flag, frame, getFields, preface, settings, type } from './frames.ts'
import { atEnd, closeAll, digest, longLimits, startService, tlsKey } from './service.ts'

afterEach(closeAll)

const bind: Bind = { host: '127.0.0.1', port: 0, tls: null, simulated: true, apiKeys: false }

async function started(changes: Partial<Bind>): Promise<{ readonly port: number; readonly served: string[] }> {
  const served: string[] = []
  const handle = (request: { httpVersion: string }, response: Parameters<typeof sendJson>[0]): void => {
    served.push(request.httpVersion)
    sendJson(response, '{}')
  }
  const service = await listen({ ...bind, ...changes }, handle, () => digest, longLimits)
  atEnd(() => service.close())
  return { port: service.port, served }
}

/** All that comes back until the connection ends. */
async function answerTo(socket: Socket, bytes: Uint8Array): Promise<string> {
  atEnd(() => socket.destroy())
  let seen = ''
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.on('data', (part: Buffer) => {
    seen += part.toString('latin1')
  })
  socket.on('error', () => undefined)
  socket.write(bytes)
  await closed
  return seen
}

const begun = Buffer.concat([preface, settings(), getFields])
const leaving = Buffer.concat([
  preface,
  settings(),
  frame(type.headers, flag.endHeaders | flag.endStream, 1, getFields),
  frame(type.goaway, 0, 0, Buffer.alloc(8)),
])

test('S22: HTTP/2 by prior knowledge is refused on a plain listener, in the form of all refusals', async () => {
  // Where it is offered too, it is over TLS alone.
  for (const http2 of [{}, { http2: { trusts: () => true } }]) {
    const { port, served } = await started(http2)
    const answer = await answerTo(connectPlain(port, '127.0.0.1'), begun)
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\nX-ACI-Version: aci\/1\r\n/)
    expect(answer).toContain('"expected an HTTP request"')
    expect(served).toEqual([])
  }
})

test('S22: and over TLS where HTTP/1.1 was agreed on', async () => {
  const service = await startService((_, response) => sendJson(response, '{}'))
  const socket = connect({ port: service.port, host: '127.0.0.1', ALPNProtocols: ['http/1.1'], rejectUnauthorized: false })
  const answer = await answerTo(socket, begun)
  expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\nX-ACI-Version: aci\/1\r\n/)
})

test('S22: whoever is not trusted when the connection is opened is cut before a frame is read, where it is for who is trusted only', async () => {
  let trusted = false
  const { port: listening, served } = await started({ tls: await tlsKey(), http2: { trusts: () => trusted, onlyTrusted: true } })
  const agreed = (): Promise<string> =>
    answerTo(connect({ port: listening, host: '127.0.0.1', ALPNProtocols: ['h2'], rejectUnauthorized: false }), leaving)
  expect(await agreed()).toBe('')
  expect(served).toEqual([])
  trusted = true
  expect(await agreed()).toContain('{}')
  trusted = false
  const plain = connect({ port: listening, host: '127.0.0.1', ALPNProtocols: ['http/1.1'], rejectUnauthorized: false })
  expect(await answerTo(plain, Buffer.from('GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'))).toMatch(/^HTTP\/1\.1 200 /)
  expect(served).toEqual(['2.0', '1.1'])
})

test('a wish to change to it is passed over', async () => {
  const { port, served } = await started({})
  const wish =
    'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n'
  expect(await answerTo(connectPlain(port, '127.0.0.1'), Buffer.from(wish))).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
  expect(served).toEqual(['1.1'])
})

test('a listener over TLS offers it only where it was told to; without a wish, both speak HTTP/1.1', async () => {
  const agreed = (port: number, ALPNProtocols?: string[]): Promise<string | false | null> => {
    const { promise, resolve } = Promise.withResolvers<string | false | null>()
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...(ALPNProtocols !== undefined && { ALPNProtocols }) }, () =>
      resolve(socket.alpnProtocol),
    )
    atEnd(() => socket.destroy())
    socket.on('error', () => resolve('refused'))
    return promise
  }
  const tls = await tlsKey()
  const only = await started({ tls })
  const both = await started({ tls, http2: { trusts: () => false } })
  expect(await agreed(only.port, ['h2', 'http/1.1'])).toBe('http/1.1')
  expect(await agreed(only.port, ['h2'])).toBe('refused')
  expect(await agreed(both.port, ['h2', 'http/1.1'])).toBe('h2')
  expect(await agreed(both.port, ['http/1.1'])).toBe('http/1.1')
  expect([await agreed(only.port), await agreed(both.port)]).toEqual([false, false])
})
