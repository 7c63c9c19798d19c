import type { ServerResponse } from 'node:http'
import { eventOf } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { RoutingLimits } from '../../src/controller/routing/limits.ts'
import type { Engine, Generation } from '../../src/enclave/worker/engine/index.ts'
import { loadChatTemplate } from '../../src/enclave/worker/engine/index.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { type Network, startNetwork } from '../e2e/network.ts'
import { type Behaviour, type FrontedWorker, outcomeOf, post, type Routed, receiptOf, startRouted } from './routed.ts'

let network: Network
let routed: Routed
beforeAll(async () => {
  network = await startNetwork((model) => [model, { ...model, served: slowModel(model.engine) }])
})
afterEach(() => routed.close())
afterAll(() => network.close())

/** Generations that are under way. */
const running = new Set<Generation>()

/** A model that writes for ever, a token every 5 ms, until it is told to stop. */
function slowModel(engine: Engine): ReturnType<typeof serveModel> {
  const [token = 0] = engine.vocabulary.encode('word')
  const generate = (generation: Generation): ReturnType<Engine['generate']> =>
    (async function* () {
      running.add(generation)
      try {
        for (let i = 0; i < generation.maxTokens && generation.signal?.aborted !== true; i++) {
          await new Promise((resolve) => setTimeout(resolve, 5))
          yield { token, logprob: null, top: [] }
        }
      } finally {
        running.delete(generation)
      }
    })()
  const slow = Object.create(engine, {
    generate: { value: generate },
    facts: { value: engine.facts },
    model: { value: engine.model },
    vocabulary: { value: engine.vocabulary },
    load: { value: { running: 0, waiting: 0 } },
  }) as Engine
  return serveModel('slow', 'slow.gguf', slow, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
}

async function start(workers: number, limits: Partial<RoutingLimits> = {}): Promise<readonly FrontedWorker[]> {
  routed = await startRouted(network, { workers, limits, served: [network.model.served, slowModel(network.model.engine)] })
  return routed.workers
}

const status =
  (code: number, headers: { readonly [name: string]: string } = {}): Behaviour =>
  (_, response) =>
    response.writeHead(code, { 'content-type': 'application/json', ...headers }).end(`{"error":{"message":"of the worker","type":"t","code":"own"}}`)
const hangUp: Behaviour = (incoming) => incoming.socket.destroy()

/** The one of two workers that misbehaves, and the other. */
async function two(behaviour: Behaviour, limits: Partial<RoutingLimits> = {}): Promise<readonly [FrontedWorker, FrontedWorker]> {
  const [bad, good] = await start(2, limits)
  if (bad === undefined || good === undefined) throw new Error('two workers')
  bad.behaviour = behaviour
  return [bad, good]
}

describe('another worker is asked before the first byte, and only then', () => {
  test.each([
    ['breaks the connection', hangUp, 3],
    ['answers 500', status(500), 3],
    ['answers 503', status(503), 3],
  ] as const)('where one %s, nobody notices; after three in a row it is asked no more', async (_, behaviour, reached) => {
    const [bad, good] = await two(behaviour, { breakerMs: 60_000 })
    for (let i = 0; i < 40; i++) expect((await post(routed)).status).toBe(200)
    expect([bad.reached, good.reached]).toEqual([reached, 40])
    expect(routed.controller.registry.routing.breakers()).toEqual({ closed: 1, open: 1, half_open: 0 })
    expect([bad.admitted.load.outstanding, good.admitted.load.outstanding]).toEqual([0, 0])
  })

  test('one that never has room: its words are passed on in the end, and it is not kept out', async () => {
    const [worker] = await start(1)
    if (worker !== undefined) worker.behaviour = status(429, { 'retry-after': '3' })
    for (let i = 0; i < 5; i++) expect(await post(routed)).toMatchObject({ status: 429, code: 'own', retryAfter: '3' })
    expect([worker?.reached, worker?.admitted.load.outstanding, routed.controller.registry.routing.breakers().closed]).toEqual([15, 0, 1])
  })

  test('S19: a request that fails everywhere is to blame itself: the words of a worker, signed, and nobody is kept out of service for it', async () => {
    for (const worker of await start(4)) worker.behaviour = status(500, { 'retry-after': '3' })
    for (let i = 0; i < 10; i++) {
      const refused = await post(routed)
      expect([refused.status, refused.code, refused.retryAfter, await outcomeOf(routed, refused.receipt)]).toEqual([500, 'own', '3', 'refused'])
    }
    expect(routed.workers.reduce((sum, { reached }) => sum + reached, 0)).toBe(30)
    expect(routed.controller.registry.routing.breakers()).toEqual({ closed: 4, open: 0, half_open: 0 })
  })

  test('a refusal of the request itself is passed on at once', async () => {
    for (const worker of await start(2)) worker.behaviour = status(400)
    expect(await post(routed)).toMatchObject({ status: 400, code: 'own' })
    expect(routed.workers.reduce((sum, { reached }) => sum + reached, 0)).toBe(1)
  })

  test('where no worker can be reached, three are tried, and the refusal is signed', async () => {
    for (const worker of await start(4)) worker.behaviour = hangUp
    const refused = await post(routed)
    expect([refused.status, refused.retryAfter, await outcomeOf(routed, refused.receipt)]).toEqual([503, '5', 'refused'])
    expect(routed.workers.map(({ reached }) => reached).sort()).toEqual([0, 1, 1, 1])
  })

  test('S9: a stream that a worker breaks off ends with an error in its form, and a receipt that says so', async () => {
    const broken = (_: unknown, response: ServerResponse): void => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write('data: {"id":"chatcmpl-1","choices":[]}\n\n', () => setTimeout(() => response.destroy(), 20))
    }
    for (const worker of await start(2)) worker.behaviour = broken
    const answer = await post(routed, { stream: true })
    expect([answer.status, answer.code, await outcomeOf(routed, answer.receipt)]).toEqual([200, 'upstream_broken', 'error'])
    expect(answer.text).toMatch(/^data: .*\n\ndata: \{"error":.*\n\n$/)
    expect(routed.workers.reduce((sum, { reached }) => sum + reached, 0)).toBe(1)
  })

  test('a plain answer that a worker breaks off is a 502 with a receipt, and is not asked for again', async () => {
    for (const worker of await start(2))
      worker.behaviour = (_, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 })
        response.write('{"id":', () => setTimeout(() => response.destroy(), 20))
      }
    const answer = await post(routed)
    expect([answer.status, answer.code, await outcomeOf(routed, answer.receipt)]).toEqual([502, 'upstream_broken', 'error'])
    const receipt = await receiptOf(routed, answer.receipt)
    expect(eventOf(receipt, 'veritee.upstream_receipt')).toMatchObject({ result: 'absent', reason: 'the worker broke off its answer' })
    expect(routed.workers.reduce((sum, { reached }) => sum + reached, 0)).toBe(1)
  })
})

describe('time limits', () => {
  test('a worker that does not begin its stream: 504 with a receipt, and no second worker', async () => {
    for (const worker of await start(2, { firstByteMs: 1000 })) worker.behaviour = () => undefined
    const answer = await post(routed, { stream: true })
    expect([answer.status, answer.code, await outcomeOf(routed, answer.receipt)]).toEqual([504, 'first_byte_timeout', 'error'])
    expect(routed.workers.reduce((sum, { reached }) => sum + reached, 0)).toBe(1)
  })

  test.each([true, false])(
    'an answer (stream: %s) that takes too long ends with its code and a receipt, the engine stops, and the worker is not blamed',
    async (stream) => {
      const [worker] = await start(1, { answerMs: 400 })
      const answer = await post(routed, { model: 'slow', stream, maxTokens: 800 })
      expect([answer.status, answer.code, await outcomeOf(routed, answer.receipt)]).toEqual([stream ? 200 : 504, 'deadline_exceeded', 'error'])
      await expect.poll(() => running.size).toBe(0)
      expect([worker?.admitted.quarantine, worker?.admitted.load.outstanding]).toEqual([null, 0])
      expect(routed.controller.registry.routing.breakers().closed).toBe(1)
      const receipt = await receiptOf(routed, answer.receipt)
      expect(eventOf(receipt, 'veritee.upstream_receipt')?.result).toBe(stream ? 'match' : 'absent')
    },
  )
})

describe('a requester who leaves', () => {
  test.each([true, false])('the engine is told (stream: %s)', async (stream) => {
    const [worker] = await start(1)
    const leaving = new AbortController()
    const gone = post(routed, { model: 'slow', stream, maxTokens: 800, signal: leaving.signal }).catch(() => 'gone')
    await expect.poll(() => running.size).toBe(1)
    leaving.abort()
    expect(await gone).toBe('gone')
    await expect.poll(() => running.size).toBe(0)
    await expect.poll(() => worker?.admitted.load.outstanding).toBe(0)
    expect(worker?.admitted.quarantine).toBeNull()
  })

  test('while it waits, it reaches no worker, and its place in the queue is free', async () => {
    const [worker] = await start(1, { workerRequests: 1, queueRequests: 2 })
    const leaving = [new AbortController(), new AbortController()]
    const [first, second] = leaving.map(({ signal }) => post(routed, { model: 'slow', maxTokens: 800, signal }).catch(() => 'gone'))
    const { routing } = routed.controller.registry
    await expect.poll(() => [...routing.load()].find(({ model }) => model === 'slow')).toMatchObject({ running: 1, waiting: 1 })
    // S22: one address has half of the places, whatever tokens it makes up.
    for (const token of [undefined, 'made-up', 'another'])
      expect(await post(routed, { model: 'slow', ...(token !== undefined && { token }) })).toMatchObject({
        status: 429,
        code: 'queue_full',
        receipt: null,
        retryAfter: expect.any(String),
      })
    leaving[1]?.abort()
    await expect.poll(() => [...routing.load()].find(({ model }) => model === 'slow')).toMatchObject({ running: 1, waiting: 0 })
    leaving[0]?.abort()
    expect([await first, await second]).toEqual(['gone', 'gone'])
    expect((await post(routed, { model: 'slow', maxTokens: 2 })).status).toBe(200)
    expect(worker?.reached).toBe(2)
  })
})

test('requests beyond what a worker says it takes wait here, and all are answered', async () => {
  const [worker] = await start(1)
  if (worker === undefined) throw new Error('a worker')
  let [now, most, refused] = [0, 0, 0]
  worker.behaviour = (_, response) => {
    if (now >= 2) {
      refused++
      return status(429)?.(_, response)
    }
    most = Math.max(most, ++now)
    setTimeout(() => {
      now--
      status(400)?.(_, response)
    }, 30)
  }
  const answers = await Promise.all(Array.from({ length: 12 }, () => post(routed)))
  expect(new Set(answers.map(({ status: code }) => code))).toEqual(new Set([400]))
  expect(most).toBe(2)
  expect(refused).toBeGreaterThan(0)
  expect(worker.admitted.load.outstanding).toBe(0)
})

test('requests beyond what a worker takes wait, and are answered in turn', async () => {
  await start(1, { workerRequests: 1, queueMs: 60_000 })
  const answers = await Promise.all([1, 2, 3].map(() => post(routed, { model: 'slow', maxTokens: 2 })))
  expect(answers.map(({ status: code }) => code)).toEqual([200, 200, 200])
})

test('one that waits beyond its time is told so', async () => {
  const [worker] = await start(1, { workerRequests: 1, queueMs: 200 })
  const long = post(routed, { model: 'slow', maxTokens: 800 })
  await expect.poll(() => running.size).toBe(1)
  expect(await post(routed, { model: 'slow' })).toMatchObject({ status: 503, code: 'queue_timeout', retryAfter: expect.any(String) })
  expect([(await long).status, worker?.reached]).toEqual([200, 1])
})
