// An engine in the worker's own process, as in an enclave, whose evaluations hang when a test says so.
import { LlamaContextSequence, LlamaEmbeddingContext } from 'node-llama-cpp'
import { ask, connect, nodeTransport } from 'veritee/client'
import { fail } from 'veritee/errors'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { policyOf, simulateMachine, startWorker } from '../../src/demo/system.ts'
import { type Engine, type Generation, loadChatTemplate, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { Evaluations } from '../../src/enclave/worker/engine/progress/evaluations.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { now } from '../e2e/network.ts'
import { demoPath, demoSha256 } from './demo.ts'

// Long enough for a machine that does much else: what is waited for comes, or the test has found something.
vi.setConfig({ testTimeout: 300_000 })

/** Looks of the watch: they come when a test says so, and not by a clock. */
function looks(): { readonly every: (ms: number, look: () => void) => () => void; readonly pass: () => void } {
  let look: (() => void) | null = null
  const every = (_: number, found: () => void): (() => void) => {
    look = found
    return () => (look = null)
  }
  const pass = (): void => {
    for (let i = 0; i < 9; i++) look?.()
  }
  return { every, pass }
}

/** Native evaluations: those from the given one on do not come back before they are let go. */
let evaluations = 0
let hangFrom = Number.POSITIVE_INFINITY
let held: (() => void)[] = []
async function native<T>(real: () => Promise<T>): Promise<T> {
  if (++evaluations >= hangFrom) await new Promise<void>((resolve) => held.push(resolve))
  return real()
}
const letGo = (): void => {
  hangFrom = Number.POSITIVE_INFINITY
  for (const resolve of held.splice(0)) resolve()
}
const hanging = (count: number): Promise<void> => vi.waitFor(() => expect(held.length).toBe(count), { timeout: 240_000, interval: 5 })

beforeEach(() => {
  evaluations = 0
  hangFrom = Number.POSITIVE_INFINITY
  held = []
  const { controlledEvaluate } = LlamaContextSequence.prototype
  vi.spyOn(LlamaContextSequence.prototype, 'controlledEvaluate').mockImplementation(function (this: LlamaContextSequence, ...args) {
    return native(() => controlledEvaluate.apply(this, args))
  })
  const { getEmbeddingFor } = LlamaEmbeddingContext.prototype
  vi.spyOn(LlamaEmbeddingContext.prototype, 'getEmbeddingFor').mockImplementation(function (this: LlamaEmbeddingContext, ...args) {
    return native(() => getEmbeddingFor.apply(this, args))
  })
})
afterEach(() => {
  letGo()
  vi.restoreAllMocks()
})

const sampling = { temperature: 0, topK: 1, topP: 1, minP: 0 }
const generation = (rest: Partial<Generation> = {}): Generation => ({
  promptTokens: [1, 397],
  maxTokens: 8,
  sampling,
  seed: Uint8Array.of(1),
  ...rest,
})
async function tokensOf(engine: Engine, rest: Partial<Generation> = {}): Promise<number[]> {
  const tokens: number[] = []
  for await (const { token } of engine.generate(generation(rest))) tokens.push(token)
  return tokens
}
const stalled = expect.objectContaining({ code: 'engine_stalled', kind: 'unavailable' })
const unavailable = expect.objectContaining({ code: 'engine_unavailable' })

test('where an evaluation hangs everything ends with engine_stalled, nothing is taken meanwhile, and it serves again once all have come back', async () => {
  const { every, pass } = looks()
  const changes: { readonly ready: boolean; readonly reason: string }[] = []
  const engine = await openLlamaEngine({ path: demoPath, sequences: 2, stallMs: 120_000, every, onChange: (change) => changes.push(change) })
  try {
    const whole = await tokensOf(engine)
    expect(whole.length).toBeGreaterThan(3)
    expect(changes).toEqual([])

    hangFrom = evaluations + 4
    // Two run, one waits for a place, and one text is embedded.
    const ends = [tokensOf(engine), tokensOf(engine), tokensOf(engine), engine.embed([397])].map((end) => end.catch((error: unknown) => error))
    await hanging(3)
    expect(engine.load).toEqual({ running: 2, waiting: 1 })
    pass()
    for (const end of ends) expect(await end).toEqual(stalled)
    expect(engine.ready).toBe(false)
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
    expect(() => engine.generate(generation())).toThrow(unavailable)
    expect(() => engine.embed([397])).toThrow(unavailable)
    expect(changes).toEqual([{ ready: false, reason: expect.stringContaining('got on with nothing for 120 s') }])

    // One of three is not enough.
    held.pop()?.()
    await new Promise((resolve) => setImmediate(resolve))
    expect(engine.ready).toBe(false)
    letGo()
    await vi.waitFor(() => expect(engine.ready).toBe(true), { timeout: 240_000, interval: 5 })
    expect(changes.at(-1)).toEqual({ ready: true, reason: expect.any(String) })
    // The same bits as before, on sequences that were left in the middle.
    expect(await Promise.all([tokensOf(engine), tokensOf(engine)])).toEqual([whole, whole])
    pass()
    expect(engine.ready).toBe(true)
  } finally {
    await engine.dispose()
  }
})

test('a reader who takes nothing is no hang, and one that hangs does not hold up the end of the process', async () => {
  const { every, pass } = looks()
  const engine = await openLlamaEngine({ path: demoPath, stallMs: 1, every })
  const unread = engine.generate(generation())
  await unread.next()
  for (let i = 0; i < 5; i++) pass()
  expect(engine.ready).toBe(true)
  hangFrom = evaluations + 1
  const end = tokensOf(engine).catch((error: unknown) => error)
  await hanging(1)
  pass()
  expect(await end).toEqual(stalled)
  await engine.dispose()
  expect(engine.ready).toBe(false)
})

test('what an evaluation throws is thrown, and no time that is none is taken', async () => {
  const { every, pass } = looks()
  const evaluation = new Evaluations({ stallMs: 1000, every })
  await expect(evaluation.run(() => Promise.reject(fail('engine_failed', 'broken')))).rejects.toMatchObject({ code: 'engine_failed' })
  expect(await evaluation.run(() => Promise.resolve(7))).toBe(7)
  pass()
  expect(evaluation.getsOn).toBe(true)
  for (const stallMs of [0, -1, Number.NaN]) {
    expect(() => new Evaluations({ stallMs })).toThrow(TypeError)
    await expect(openLlamaEngine({ path: demoPath, stallMs })).rejects.toThrow(TypeError)
  }
})

test('S2: through a worker whose engine is in its own process: what hangs has a verified receipt that says error, and the next answer is whole', async () => {
  const { every, pass } = looks()
  const engine = await openLlamaEngine({ path: demoPath, stallMs: 120_000, every })
  const closing: (() => unknown)[] = [() => engine.dispose()]
  try {
    const served = serveModel('veritee-demo', 'demo.gguf', engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
    const machine = await simulateMachine(now)
    const policy = policyOf(machine, [{ served, engine, fileDigest: `sha256:${demoSha256}` }])
    const worker = await startWorker(machine, [served], 0, now)
    closing.push(() => worker.server.close())
    const transport = nodeTransport(worker.server.url)
    closing.push(() => transport.close())
    const service = await connect(transport, { policy, trust: machine.trust, role: 'worker', now })
    const text = (members: object = {}): Promise<Awaited<ReturnType<typeof ask>>> =>
      ask(
        service,
        '/v1/completions',
        Buffer.from(JSON.stringify({ model: 'veritee-demo', temperature: 0, max_tokens: 8, prompt: [1, 397], ...members })),
      )
    const refused = (words: string): object => ({ code: 'service_refused', message: expect.stringContaining(words) })

    hangFrom = evaluations + 4
    const streamed = text({ stream: true })
    const plain = text().catch((error: unknown) => error)
    await hanging(2)
    pass()
    const { proof, responseBody } = await streamed
    expect(proof).toMatchObject({ outcome: 'verified', inferenceOutcome: 'error' })
    expect(Buffer.from(responseBody).toString()).toContain('engine_stalled')
    expect(await plain).toMatchObject(refused('503: the engine got on with nothing'))
    // One receipt for each of both, and none for what was not begun.
    expect(worker.worker.ledger.size).toBe(2)
    expect(await text().catch((error: unknown) => error)).toMatchObject(refused('503: the engine hangs'))
    expect(worker.worker.ledger.size).toBe(2)

    letGo()
    await vi.waitFor(() => expect(engine.ready).toBe(true), { timeout: 240_000, interval: 5 })
    expect((await text()).proof).toMatchObject({ outcome: 'verified', inferenceOutcome: 'length' })
  } finally {
    for (const close of closing.reverse()) await close()
  }
})
