import { connect as connectPlain, createServer, type Socket } from 'node:net'
import { connect } from 'node:tls'
import { afterEach, describe, expect, test } from 'vitest'
import { sendJson } from '../../../src/http/body.ts'
import { getFields, preface, settings } from './frames.ts'
import { headersOf } from './hostile.ts'
import { atEnd, clientOf, closeAll, startService } from './service.ts'

afterEach(closeAll)

interface Way {
  readonly port: number
  /** Of the requester, from the second packet on: what its handshake ends with. */
  letGo(): void
  /** The other side has cut the connection. */
  readonly cut: Promise<void>
  readonly held: Promise<void>
}

async function holdingBack(port: number): Promise<Way> {
  const cut = Promise.withResolvers<void>()
  const held = Promise.withResolvers<void>()
  const kept: Buffer[] = []
  let free = false
  let upstream: Socket | null = null
  const server = createServer((socket) => {
    upstream = connectPlain(port, '127.0.0.1')
    const to = upstream
    let first = true
    socket
      .on('error', () => undefined)
      .on('data', (part) => {
        if (first || free) to.write(part)
        else {
          kept.push(part)
          held.resolve()
        }
        first = false
      })
    to.on('error', () => undefined)
      .on('data', (part) => void socket.write(part))
      .on('close', () => {
        socket.destroy()
        cut.resolve()
      })
  })
  const ready = Promise.withResolvers<void>()
  server.listen(0, '127.0.0.1', ready.resolve)
  await ready.promise
  atEnd(() => {
    upstream?.destroy()
    server.close()
  })
  const letGo = (): void => {
    free = true
    for (const part of kept) upstream?.write(part)
  }
  return { port: (server.address() as { port: number }).port, letGo, cut: cut.promise, held: held.promise }
}

describe.each([
  ['HTTP/2', ['h2'], Buffer.concat([preface, settings(), headersOf(1, getFields)])],
  ['HTTP/1.1', ['http/1.1'], Buffer.from('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')],
])('a handshake that takes too long, by a requester that chose %s', (_, ALPNProtocols, asked) => {
  test('S22: is cut, with nothing sent that would go out once it is done', async () => {
    const service = await startService((_request, response) => sendJson(response, '{}'), { requesters: true, limits: { headersMs: 100 } })
    const way = await holdingBack(service.port)
    const requester = connect({ port: way.port, host: '127.0.0.1', ALPNProtocols, rejectUnauthorized: false })
    let got = 0
    requester
      .on('error', () => undefined)
      .on('data', (part: Buffer) => {
        got += part.length
      })
    requester.write(asked)
    await way.held
    await new Promise((resolve) => setTimeout(resolve, 300))
    way.letGo()
    await way.cut
    expect(got).toBe(0)
    expect((await clientOf('HTTP/2', service).ask().answer).status).toBe(200)
  })
})
