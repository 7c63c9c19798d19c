import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Network, startNetwork } from '../../e2e/network.ts'
import { outcomeOf } from '../routed.ts'

/** A controller and a worker of this repository, which speak HTTP/2 with each other without being told to. */

let network: Network
beforeAll(async () => {
  network = await startNetwork()
})
afterAll(() => network.close())

const path = '/v1/chat/completions'
const pool = () => network.controller.controller.registry.all()[0]?.pool

test('plain answers and streams are verified, many at a time, over HTTP/2; one that leaves ends its work only', async () => {
  const transport = nodeTransport(network.controller.api.url)
  try {
    const service = await connect(transport, network.options())
    const asked = (i: number): Promise<string> =>
      ask(service, path, chatBody('veritee-demo', `${i}: who are you?`, { stream: i % 2 === 0, maxTokens: 4, temperature: 0 })).then(
        ({ proof }) => proof.outcome,
      )
    const leaving = new AbortController()
    const body = Buffer.from(chatBody('veritee-demo', 'Tell me a story.', { stream: true, maxTokens: 500, temperature: 1 }))
    const left = transport.send({ method: 'POST', path, body, signal: leaving.signal }).then(async (answer) => {
      for await (const _ of answer.body) leaving.abort()
    })
    const outcomes = await Promise.all([...Array.from({ length: 24 }, (_, i) => asked(i)), left.catch(() => 'left')])
    expect(outcomes).toEqual([...Array(24).fill('verified'), 'left'])
    expect(pool()?.protocol).toBe('HTTP/2')
    const { engine } = network.model
    await expect.poll(() => [engine.load.running, engine.load.waiting]).toEqual([0, 0])
  } finally {
    transport.close()
  }
})

test('a worker that is gone in the middle of streams: each ends with an error in its protocol, and a receipt that says so', async () => {
  const { url } = network.controller.api
  const transport = nodeTransport(url)
  try {
    const body = Buffer.from(chatBody('veritee-demo', 'Tell me a story.', { stream: true, maxTokens: 800, temperature: 1 }))
    const begun = await Promise.all(Array.from({ length: 4 }, () => transport.send({ method: 'POST', path, body })))
    await expect.poll(() => network.model.engine.load.running).toBeGreaterThan(0)
    await network.worker.server.close()
    for (const answer of begun) {
      let text = ''
      for await (const part of answer.body) text += Buffer.from(part).toString()
      expect(text).toContain('"code":"upstream_broken"')
      expect(await outcomeOf({ url }, answer.headers['x-receipt-id'] ?? null)).toBe('error')
    }
  } finally {
    transport.close()
  }
})
