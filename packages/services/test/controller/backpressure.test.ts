import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RunningController, startController } from '../../src/demo/system.ts'
import { type Listening, listen } from '../../src/http/listen.ts'
import { type Network, now, startNetwork } from '../e2e/network.ts'

const event = Buffer.from(`data: {"id":"chatcmpl-1","text":"${'x'.repeat(65_000)}"}\n\n`)
/** 195 MB: far more than what sockets hold, of which there are two of each side. */
const wanted = 3000
const most = 64 << 20

let network: Network
let worker: Listening
let controller: RunningController
/** Events that the worker has handed to its transport. */
let sent = 0
let left = false

async function flood(response: ServerResponse): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  // One listener for all the waits below: one for each would be left behind by every wait that ends otherwise.
  const closed = new Promise<void>((resolve) =>
    response.once('close', () => {
      left = !response.writableFinished
      resolve()
    }),
  )
  for (sent = 0; sent < wanted && !response.destroyed; sent++)
    if (!response.write(event)) await Promise.race([new Promise((resolve) => response.once('drain', resolve)), closed])
  response.end('data: [DONE]\n\n')
}

beforeAll(async () => {
  network = await startNetwork()
  const { worker: inner } = network.worker
  const handle = (incoming: IncomingMessage, response: ServerResponse): void => {
    if (incoming.method === 'POST') void flood(response)
    else inner.handler(incoming, response)
  }
  const bind = { host: '127.0.0.1', port: 0, tls: inner.identity.tls, simulated: true, apiKeys: false, http2: { trusts: () => true } }
  worker = await listen(bind, handle)
  controller = await startController(network.machine, network.policy, { api: 0, control: 0 }, now)
})
afterAll(async () => {
  await controller.api.close()
  await controller.control.close()
  await controller.controller.close()
  await worker.close()
  await network.close()
})

/** Asks, and reads nothing. */
async function stalled(): Promise<Socket> {
  await controller.controller.registry.admit(worker.url, network.worker.worker.identity.keysetDigest)
  const body = JSON.stringify({ model: 'veritee-demo', stream: true, messages: [{ role: 'user', content: 'Who are you?' }] })
  const socket = connect(controller.api.port, '127.0.0.1')
  socket.pause()
  socket.write(`POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
  // Neither grows any more.
  let before = -1
  await expect
    .poll(
      () => {
        const still = sent > 0 && sent === before
        before = sent
        return still
      },
      { timeout: 20_000, interval: 500 },
    )
    .toBe(true)
  return socket
}

test('a reader that takes nothing slows the worker down: what is on its way is bounded, and comes when it reads on', async () => {
  const socket = await stalled()
  expect(sent * event.length).toBeLessThan(most)
  let events = 0
  let tail = ''
  for await (const part of socket) {
    const text = tail + (part as Buffer).toString('latin1')
    events += text.split('data: {"id"').length - 1
    // What may be the beginning of the next one.
    tail = text.slice(text.lastIndexOf('\n') + 1).slice(0, 10)
  }
  expect([events, sent]).toEqual([wanted, wanted])
})

test('a reader that takes nothing and then leaves ends the work of the worker', async () => {
  const socket = await stalled()
  socket.destroy()
  await expect.poll(() => left, { timeout: 10_000 }).toBe(true)
  expect(sent).toBeLessThan(wanted)
})
