import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import tls from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'
import { type Routed, startRouted } from './routed.ts'

let network: Network
let routed: Routed
beforeAll(async () => {
  network = await startNetwork()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await routed.close()
})
afterAll(() => network.close())

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Begins so many streams, of which the worker sends the first event and no more. */
async function streams(count: number, prompt = 'x'): Promise<{ close(): void }> {
  const [worker] = routed.workers
  if (worker === undefined) throw new Error('no worker')
  worker.behaviour = (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('data: {"id":"chatcmpl-1"}\n\n')
  }
  const { hostname, port } = new URL(routed.url)
  const body = JSON.stringify({ model: 'veritee-demo', stream: true, messages: [{ role: 'user', content: prompt }] })
  const sockets = await Promise.all(
    Array.from({ length: count }, () => {
      const { promise, resolve, reject } = Promise.withResolvers<ReturnType<typeof connect>>()
      const socket = connect(Number(port), hostname)
      let text = ''
      socket.on('data', (part: Buffer) => {
        text += part.toString('latin1')
        if (text.includes('data: {"id"')) resolve(socket)
      })
      socket.once('error', reject)
      socket.write(`POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      return promise
    }),
  )
  return {
    close: () => {
      for (const socket of sockets) socket.destroy()
    },
  }
}

test('of a request whose answer has begun its content is let go of', async () => {
  routed = await startRouted(network, { workers: 1 })
  const { routing } = routed.controller.registry
  const take = routing.take.bind(routing)
  let asked: WeakRef<object> | undefined
  // No spy, which would remember what it was called with.
  routing.take = (wanted, tried) => {
    asked = new WeakRef(wanted.body ?? {})
    return take(wanted, tried)
  }
  const open = await streams(1, 'a prompt that may be long')
  expect(asked).toBeDefined()
  await expect
    .poll(() => {
      collectGarbage()
      return asked?.deref()
    })
    .toBeUndefined()
  open.close()
})

test('of one that is encrypted to the worker the body is let go of, too', async () => {
  routed = await startRouted(network, { workers: 1 })
  const [worker] = routed.workers
  if (worker === undefined) throw new Error('no worker')
  worker.behaviour = (_, response) => {
    response.writeHead(200, { 'ehbp-response-nonce': '00'.repeat(32) })
    response.flushHeaders()
  }
  const { pool, session } = worker.admitted
  const dispatch = pool.dispatch.bind(pool)
  let sent: WeakRef<object> | undefined
  pool.dispatch = (request, handler) => {
    if (request.body !== null) sent = new WeakRef(request.body.buffer)
    return dispatch(request, handler)
  }
  const headers = { 'ehbp-encapsulated-key': '00'.repeat(32), 'x-veritee-session': session.id }
  const asked = request(new URL('/v1/chat/completions', routed.url), { method: 'POST', headers })
  const answered = Promise.withResolvers<IncomingMessage>()
  asked.once('response', answered.resolve).once('error', answered.reject)
  // Of more parts than one, which are put together.
  asked.end(Buffer.alloc(300_000))
  const answer = await answered.promise
  expect([answer.statusCode, sent !== undefined]).toEqual([200, true])
  await expect
    .poll(() => {
      collectGarbage()
      return sent?.deref() === undefined
    })
    .toBe(true)
  answer.destroy()
})

test('connections to a worker have one TLS context between them', async () => {
  routed = await startRouted(network, { workers: 1 })
  // The admission had connections of its own.
  const made = vi.spyOn(tls, 'createSecureContext')
  const before = routed.workers[0]?.reached ?? 0
  const open = await streams(5)
  expect(routed.workers[0]?.reached).toBe(before + 5)
  expect(made).not.toHaveBeenCalled()
  open.close()
})
