import type { IncomingMessage, RequestListener } from 'node:http'
import { nodeTransport } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Network, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath, openClient, type SealingClient, sealTo, send } from './sealing-client.ts'

let network: Network
let client: SealingClient
/** What came to the worker. */
const seen: IncomingMessage[] = []
const beforeWorker =
  (handler: RequestListener): RequestListener =>
  (request, response) => {
    if (request.url === chatPath) seen.push(request)
    return handler(request, response)
  }
beforeAll(async () => {
  network = await startNetwork(undefined, { beforeWorker })
  client = await openClient(network, nodeTransport(network.controller.api.url))
}, 60_000)
afterAll(async () => {
  client.service.transport.close()
  await network.close()
})

const came = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7'
const headers = { traceparent: `${came}-ff`, tracestate: 'vendor=content', baggage: 'user=content' }

describe('a controller that logs no requests', () => {
  it.each([
    [
      'sealed to a worker',
      async () => (await send(client.service.transport, await sealTo(network, client, chatBody(false)), chatPath, headers)).status,
    ],
    ['in plain', async () => (await client.service.transport.send({ method: 'POST', path: chatPath, body: chatBody(false), headers })).status],
  ])('passes the trace of a request on as it came, and nothing else of it: %s', async (_, ask) => {
    const before = seen.length
    expect(await ask()).toBe(200)
    expect(seen.slice(before).map((request) => request.headers)).toMatchObject([{ traceparent: `${came}-03` }])
    expect(Object.keys(seen.at(-1)?.headers ?? {}).filter((name) => name === 'tracestate' || name === 'baggage')).toEqual([])
  })

  it('passes none on where none came, or one that is none', async () => {
    for (const more of [{}, { traceparent: 'hello' }]) {
      const before = seen.length
      await send(client.service.transport, await sealTo(network, client, chatBody(false)), chatPath, more)
      expect(seen.slice(before).map((request) => request.headers.traceparent)).toEqual([undefined])
    }
  })
})
