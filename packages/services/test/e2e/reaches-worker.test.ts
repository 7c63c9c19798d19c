import type { IncomingMessage } from 'node:http'
import { connect } from 'veritee/client'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Network, now, startNetwork } from './network.ts'

interface Reached {
  readonly line: string
  readonly headers: readonly string[]
}

const reached: Reached[] = []
let network: Network
beforeAll(async () => {
  const seen = ({ method, url, rawHeaders }: IncomingMessage): void => void reached.push({ line: `${method} ${url}`, headers: rawHeaders })
  network = await startNetwork(undefined, {
    beforeWorker: (handler) => (request, response) => {
      seen(request)
      return handler(request, response)
    },
  })
}, 240_000)
afterAll(() => network.close())

/** What a worker gets of one question, of whoever sends it, without what is drawn anew for each. */
async function reachedBy(
  apiKey: string,
  headers: { readonly [name: string]: string },
  encryptTo: 'none' | 'controller' | 'worker',
): Promise<readonly Reached[]> {
  const { controller, policy, machine, model } = network
  const c = await connect(controller.api.url, { policy, trust: machine.trust, now, encryptTo, apiKey })
  const from = reached.length
  try {
    const body = JSON.stringify({ model: model.served.name, seed: 7, messages: [{ role: 'user', content: 'what is the capital of japan' }] })
    const response = await c.fetch(`${c.baseURL}/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, ...headers },
      body,
    })
    await response.text()
    expect((await c.proofOf(response)).status).toBe('verified')
  } finally {
    c.close()
  }
  return reached.slice(from)
}

test.each(['none', 'controller', 'worker'] as const)(
  'S20: nothing of an account, a program or a connection reaches a worker: encrypted to %s',
  async (encryptTo) => {
    const one = await reachedBy('sk-first-of-them', { 'user-agent': 'OpenAI/JS 7.57.0', 'x-stainless-lang': 'js', cookie: 'a=b' }, encryptTo)
    const other = await reachedBy('sk-second', { 'user-agent': 'something else', accept: 'text/html' }, encryptTo)
    const ids = /rcpt-[\w-]+|[0-9a-f]{64}/g
    const alike = (all: readonly Reached[]): readonly Reached[] =>
      all.map(({ line, headers }) => ({
        line: line.replace(ids, 'ID'),
        headers: headers.map((part) => part.replace(ids, 'ID')),
      }))
    expect(one.length).toBeGreaterThan(0)
    expect(alike(one)).toEqual(alike(other))
    for (const part of [...one, ...other].flatMap(({ line, headers }) => [line, ...headers]))
      expect(part).not.toMatch(/sk-|openai|stainless|something else|authorization|cookie|user-agent|forwarded/i)
  },
)
