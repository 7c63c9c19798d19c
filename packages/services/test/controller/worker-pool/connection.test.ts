import { connect } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { Connection, usualConnection } from '../../../src/controller/worker-pool/connection.ts'
import { closeAll, serveHttp2 } from './fake-worker.ts'

afterEach(closeAll)

test('a connection whose session has ended takes nothing, before it has told of its end', async () => {
  const { url } = await serveHttp2(() => undefined)
  const origin = new URL(url)
  const socket = connect({ host: '127.0.0.1', port: Number(origin.port), ALPNProtocols: ['h2'], rejectUnauthorized: false })
  await new Promise((resolve) => socket.once('secureConnect', resolve))
  const connection = new Connection(socket, origin, usualConnection, () => undefined)
  await expect.poll(() => connection.takes).toBe(true)
  connection.session.destroy()
  expect([connection.takes, connection.leaving]).toEqual([false, false])
  await expect.poll(() => connection.leaving).toBe(true)
})
