import { readFileSync } from 'node:fs'
import { ask, connect, nodeTransport } from 'veritee/client'
import { expect, test, vi } from 'vitest'
import { policyOf, simulateMachine, startWorker } from '../../src/demo/system.ts'
import { type Generation, loadChatTemplate } from '../../src/enclave/worker/engine/index.ts'
import { checkSettings, openWeights } from '../../src/enclave/worker/engine/llama/llama.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { type EngineProcessOptions, openEngineProcess } from '../../src/engine-process/index.ts'
import { startProcess } from '../../src/engine-process/start.ts'
import { now } from '../e2e/network.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { hangs, hangsInLoading, hangsInTokenizing } from './hangs.ts'

// Long enough for a machine that does much else: a process is started anew in most of these.
vi.setConfig({ testTimeout: 300_000 })

const program = new URL('./hanging-child.ts', import.meta.url)
// Longer than a healthy engine is silent on a machine that does much else.
const stallMs = 2000
type Own = Awaited<ReturnType<typeof openEngineProcess>>
const open = (rest: Partial<EngineProcessOptions> = {}): Promise<Own> => openEngineProcess({ path: demoPath, pauseMs: 1, stallMs, program, ...rest })

const sampling = { temperature: 0, topK: 1, topP: 1, minP: 0 }
const generation = (promptTokens: readonly number[], rest: Partial<Generation> = {}): Generation => ({
  promptTokens,
  maxTokens: 40,
  sampling,
  seed: Uint8Array.of(1),
  ...rest,
})
async function count(own: Own, promptTokens: readonly number[]): Promise<number> {
  let tokens = 0
  for await (const _ of own.generate(generation(promptTokens))) tokens++
  return tokens
}
const stalled = expect.objectContaining({ code: 'engine_stalled', kind: 'unavailable' })
const ready = (own: Own): Promise<unknown> => vi.waitFor(() => expect(own.ready).toBe(true), { timeout: 240_000, interval: 20 })

test.each([
  ['before its first token', hangs.atOnce],
  ['in the middle of an answer', hangs.later],
  ['with its event loop', hangs.wholly],
])(
  'a process that hangs %s is killed: everything in it ends with engine_stalled, nothing is taken meanwhile, and another one serves',
  async (_, prompt) => {
    const changes: { readonly ready: boolean; readonly reason: string }[] = []
    const own = await open({ onChange: (change) => changes.push(change) })
    try {
      const { pid } = own
      const ends = await Promise.allSettled([count(own, prompt), own.embed(hangs.atOnce)])
      for (const end of ends) expect(end).toMatchObject({ status: 'rejected', reason: stalled })
      expect(own.ready).toBe(false)
      expect(() => own.generate(generation([1]))).toThrow(expect.objectContaining({ code: 'engine_unavailable' }))
      await ready(own)
      expect(own.pid).not.toBe(pid)
      expect(await count(own, [1, 397])).toBeGreaterThan(3)
      expect(changes).toEqual([
        { ready: false, reason: expect.stringContaining('got on with nothing for 2 s') },
        { ready: true, reason: expect.any(String) },
      ])
    } finally {
      await own.dispose()
    }
  },
)

test('a tokenizer that hangs is noticed in the same time: its process is killed, what runs in it ends, and another one serves', async () => {
  const changes: { readonly ready: boolean; readonly reason: string }[] = []
  const own = await open({ onChange: (change) => changes.push(change) })
  try {
    const { pid } = own
    const running = count(own, hangs.slowly).catch((error: unknown) => error)
    expect(() => own.vocabulary.encode(`It ${hangsInTokenizing}.`)).toThrow(stalled)
    expect(await running).toEqual(stalled)
    expect(own.ready).toBe(false)
    await ready(own)
    expect(own.pid).not.toBe(pid)
    expect(own.vocabulary.encode('Hello').length).toBeGreaterThan(0)
    expect(changes).toEqual([
      { ready: false, reason: expect.stringContaining('the tokenizer of the engine process did not answer within 2000 ms') },
      { ready: true, reason: expect.any(String) },
    ])
  } finally {
    await own.dispose()
  }
})

test('a long evaluation that says that it gets on, and a reader who takes nothing, are no hang', async () => {
  const changes: unknown[] = []
  const own = await open({ stallMs: 3000, onChange: (change) => changes.push(change) })
  try {
    const unread = own.generate(generation([1, 397], { sampling: { ...sampling, temperature: 1, topK: 40 } }))
    await unread.next()
    // It takes longer than a silence may last.
    expect(await count(own, hangs.slowly)).toBeGreaterThan(3)
    let more = 0
    for await (const _ of unread) more++
    expect(more).toBeGreaterThan(3)
    expect(changes).toEqual([])
  } finally {
    await own.dispose()
  }
})

test('a long prompt says that it gets on', async () => {
  const { openLlamaEngine } = await import('../../src/enclave/worker/engine/index.ts')
  const own = await openLlamaEngine({ path: demoPath })
  try {
    let parts = 0
    const promptTokens = Array.from({ length: 200 }, () => 397)
    for await (const _ of own.generate(generation(promptTokens, { maxTokens: 1, onProgress: () => parts++ })));
    // All but the last of batches of 32.
    expect(parts).toBe(6)
  } finally {
    await own.dispose()
  }
})

test('a process that hangs while it loads is killed', async () => {
  const weights = await openWeights({ path: demoPath })
  try {
    const settings = checkSettings({ maxContext: hangsInLoading })
    await expect(startProcess(weights, settings, { stallMs: 60_000, loadingMs: 1500, program })).rejects.toEqual(stalled)
    const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(/\s+/)
    const running = children.filter((pid) => pid !== '' && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('hanging-child'))
    expect(running).toEqual([])
  } finally {
    await weights.dispose()
  }
})

test('a time that is none is refused', async () => {
  for (const wrong of [0, -1, Number.NaN]) await expect(open({ stallMs: wrong })).rejects.toThrow(TypeError)
})

test('through a worker: what ran in the process that hung has a verified receipt that says error, and the next answer is whole', async () => {
  const engine = await open()
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
    const text = (members: object): Promise<Awaited<ReturnType<typeof ask>>> =>
      ask(service, '/v1/completions', Buffer.from(JSON.stringify({ model: 'veritee-demo', temperature: 0, max_tokens: 40, ...members })))

    const [streamed, plain] = await Promise.allSettled([text({ prompt: hangs.later, stream: true }), text({ prompt: hangs.atOnce })])
    expect(streamed).toMatchObject({ value: { proof: { outcome: 'verified', inferenceOutcome: 'error' } } })
    expect(streamed.status === 'fulfilled' && Buffer.from(streamed.value.responseBody).toString()).toContain('engine_stalled')
    const refused = (words: string): object => ({ status: 'rejected', reason: { code: 'service_refused', message: expect.stringContaining(words) } })
    expect(plain).toMatchObject(refused('503: the engine process got on with nothing'))
    // One receipt for each of both.
    expect(worker.worker.ledger.size).toBe(2)
    expect((await Promise.allSettled([text({ prompt: [1, 397] })]))[0]).toMatchObject(refused('503: the engine process ended'))
    expect(worker.worker.ledger.size).toBe(2)

    await ready(engine)
    expect((await text({ prompt: [1, 397] })).proof).toMatchObject({ outcome: 'verified', inferenceOutcome: 'length' })
  } finally {
    for (const close of closing.reverse()) await close()
  }
})
