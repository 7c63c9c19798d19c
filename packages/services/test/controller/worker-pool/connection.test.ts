import { connect, type TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { Connection, usualConnection } from '../../../src/controller/worker-pool/connection.ts'
import { Exchange } from '../../../src/controller/worker-pool/exchange.ts'
import { closeAll, get, serveHttp2 } from './fake-worker.ts'

afterEach(closeAll)

async function connected(url: string): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), ALPNProtocols: ['h2'], rejectUnauthorized: false })
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  return socket
}

test('a connection whose session has ended takes nothing, before it has told of its end', async () => {
  const { url } = await serveHttp2(() => undefined)
  const connection = new Connection(await connected(url), new URL(url), usualConnection, () => undefined)
  await expect.poll(() => connection.takes).toBe(true)
  connection.session.destroy()
  expect([connection.takes, connection.leaving]).toEqual([false, false])
  await expect.poll(() => connection.leaving).toBe(true)
})

test('one over which nothing was ever asked ends sooner than one that was used: workers wait less for a first request', async () => {
  const { url } = await serveHttp2((stream) => {
    stream.respond({ ':status': 200 })
    stream.end()
  })
  const [one, other] = [await connected(url), await connected(url)]
  const ended: string[] = []
  const begin = (name: string, socket: TLSSocket, asks: boolean): void => {
    let asked = false
    const connection: Connection = new Connection(socket, new URL(url), { ...usualConnection, tickMs: 50 }, () => {
      if (asks && !asked && connection.takes) {
        asked = true
        connection.send(new Exchange(get('/'), {}))
      }
      if (connection.leaving && !ended.includes(name)) ended.push(name)
    })
  }
  begin('used', one, true)
  begin('unused', other, false)
  await expect.poll(() => ended).toEqual(['unused', 'used'])
})

test('one that does not end by itself, with nothing under way on it, is ended', async () => {
  const { url } = await serveHttp2(() => undefined)
  const socket = await connected(url)
  const connection = new Connection(socket, new URL(url), { ...usualConnection, tickMs: 10 }, () => undefined)
  await expect.poll(() => connection.takes).toBe(true)
  // As Node's own does where it waits for something that does not come.
  connection.session.close = () => undefined
  connection.leave()
  expect([connection.leaving, connection.ended, socket.destroyed]).toEqual([true, false, false])
  await expect.poll(() => [connection.ended, socket.destroyed]).toEqual([true, true])
})
