import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { appendFile, copyFile, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Engine, type Generation, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { constrain } from '../../src/enclave/worker/engine/sampling/constraint.ts'
import { type EngineProcessOptions, openEngineProcess } from '../../src/engine-process/index.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'
import { gbnf } from './gbnf.ts'

type ProcessEngine = Awaited<ReturnType<typeof openEngineProcess>>

const open = (rest: Partial<EngineProcessOptions> = {}): Promise<ProcessEngine> => openEngineProcess({ path: demoPath, pauseMs: 1, ...rest })

let engine: ProcessEngine
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-engine-process-'))
  engine = await open({ maxQueue: 8 })
})
afterAll(async () => {
  await engine.dispose()
  await rm(directory, { recursive: true })
})

const sampling = { temperature: 1, topK: 1024, topP: 1, minP: 0 }
function generation(of: Engine, rest: Partial<Generation> = {}): Generation {
  const promptTokens = [1, ...of.vocabulary.encode('Tell me a story about a dragon named Ruby.')]
  return { promptTokens, maxTokens: 100, sampling, seed: Uint8Array.of(1), ...rest }
}

async function tokensOf(of: Engine, rest: Partial<Generation> = {}): Promise<unknown[]> {
  const tokens: unknown[] = []
  for await (const token of of.generate(generation(of, rest))) tokens.push(token)
  return tokens
}

async function drain(tokens: ReturnType<Engine['generate']>): Promise<void> {
  for await (const _ of tokens);
}

const ready = (of: Engine): Promise<unknown> => vi.waitFor(() => expect(of.ready).toBe(true), { timeout: 20_000, interval: 20 })
/** True for a process that runs; one that ended and waits to be noticed does not. */
const runs = (pid: number): boolean => existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))

test('facts, vocabulary and tokens are those of the engine in this process', async () => {
  const own = await openLlamaEngine({ path: demoPath })
  try {
    expect(engine.facts).toEqual(own.facts)
    expect(engine.model).toEqual(own.model)
    expect(engine.model.sha256).toBe(demoSha256)
    for (const text of ['', 'Once upon a time', 'déjà vu 東京 🙂\n tail', 'x'.repeat(300_000)])
      expect(engine.vocabulary.encode(text)).toEqual(own.vocabulary.encode(text))
    expect(engine.vocabulary.size).toBe(own.vocabulary.size)
    expect([...engine.vocabulary.specials]).toEqual([...own.vocabulary.specials])
    for (let token = 0; token < own.vocabulary.size; token++) {
      expect(engine.vocabulary.bytes(token)).toEqual(own.vocabulary.bytes(token))
      expect(engine.vocabulary.isEndOfGeneration(token)).toBe(own.vocabulary.isEndOfGeneration(token))
    }
    const tokens = (one: unknown[]): unknown[] => one.map((token) => (token as { readonly token: number }).token)
    for (const rest of [{}, { topLogprobs: 5 }, { sampling: { ...sampling, temperature: 0 } }, { seed: Uint8Array.of(9), choice: 2, maxTokens: 3 }]) {
      const [here, there] = [await tokensOf(own, rest), await tokensOf(engine, rest)]
      expect(tokens(there)).toEqual(tokens(here))
      expect(there.length).toBeGreaterThan(2)
    }
    const last = tokens(await tokensOf(own))[9] as number
    expect(tokens(await tokensOf(engine, { stopTokens: new Set([last]) }))).toEqual(tokens(await tokensOf(own, { stopTokens: new Set([last]) })))
  } finally {
    await own.dispose()
  }
})

test('what an answer is held to, penalties and probabilities hold there as here, and vectors are the same', async () => {
  const own = await openLlamaEngine({ path: demoPath })
  try {
    const grammar = gbnf('root ::= "{" ws ("\\"" [a-z]{1,12} "\\"" ws)+ "}" | "[" root "]"\nws ::= " "?')
    const held = (of: Engine): Partial<Generation> => ({
      constraint: constrain(grammar, of.vocabulary),
      adjustments: { frequencyPenalty: 0.5, presencePenalty: 0.1, repetitionPenalty: 1.1, logitBias: new Map([[7, 3]]) },
      topLogprobs: 2,
      maxTokens: 60,
    })
    const here = await tokensOf(own, held(own))
    expect(here.length).toBeGreaterThan(3)
    expect(await tokensOf(engine, held(engine))).toEqual(here)
    const tokens = engine.vocabulary.encode('a dragon named Ruby')
    expect(await engine.embed(tokens)).toEqual(await own.embed(tokens))
    await expect(engine.embed([])).rejects.toThrow(TypeError)
    await expect(engine.embed(Array.from({ length: 1024 }, () => 397))).rejects.toMatchObject({ code: 'context_overflow' })
    await expect(engine.embed(tokens, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop')
  } finally {
    await own.dispose()
  }
})

describe('requests', () => {
  test('wrong arguments and what does not fit are refused at the call', () => {
    expect(() => engine.generate(generation(engine, { maxTokens: 0 }))).toThrow(TypeError)
    expect(() => engine.generate(generation(engine, { maxTokens: 1024 }))).toThrow(expect.objectContaining({ code: 'context_overflow' }))
  })

  test('a full queue is engine_busy at the call; an abort leaves the queue; every place comes back', async () => {
    const controller = new AbortController()
    const started = Array.from({ length: 12 }, () => engine.generate(generation(engine, { signal: controller.signal })))
    expect(engine.load).toEqual({ running: 4, waiting: 8 })
    expect(() => engine.generate(generation(engine))).toThrow(expect.objectContaining({ code: 'engine_busy' }))
    await started[11]?.return()
    expect(engine.load).toEqual({ running: 4, waiting: 7 })
    controller.abort(new Error('stop'))
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
    await expect(started[0]?.next()).rejects.toThrow('stop')
    expect(await tokensOf(engine)).not.toHaveLength(0)
  })

  test('no token comes after an abort', async () => {
    const controller = new AbortController()
    let count = 0
    const reading = (async () => {
      for await (const _ of engine.generate(generation(engine, { signal: controller.signal }))) if (++count === 5) controller.abort(new Error('stop'))
    })()
    await expect(reading).rejects.toThrow('stop')
    expect(count).toBe(5)
    expect(engine.load.running).toBe(0)
  })

  test('an abort during a long prompt does not wait for its end, and the process takes the next request', async () => {
    const controller = new AbortController()
    const tokens = engine.generate(
      generation(engine, { promptTokens: Array.from({ length: 1000 }, () => 397), maxTokens: 1, signal: controller.signal }),
    )
    const first = tokens.next()
    setImmediate(() => controller.abort(new Error('stop')))
    await expect(first).rejects.toThrow('stop')
    expect(await tokensOf(engine)).not.toHaveLength(0)
  })

  test('a reader who stops early, or reads slowly, holds nobody else up', async () => {
    for await (const _ of engine.generate(generation(engine))) break
    const slow = engine.generate(generation(engine))
    await slow.next()
    const all = await tokensOf(engine)
    expect(await Promise.all([tokensOf(engine), tokensOf(engine), tokensOf(engine)])).toEqual([all, all, all])
    let count = 1
    for await (const _ of slow) count++
    expect(count).toBe(all.length)
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
  })
})

describe.skipIf(process.platform !== 'linux')('the process (needs /proc of Linux)', () => {
  test('S12: it gets no environment, writes no output, holds the weights without a name, and its memory is kept out of core dumps', async () => {
    const proc = `/proc/${engine.pid}`
    expect(readFileSync(`${proc}/environ`, 'utf8')).toBe('')
    const open = readdirSync(`${proc}/fd`).map((fd) => readlinkSync(join(proc, 'fd', fd)))
    for (const fd of ['0', '1', '2']) expect(readlinkSync(join(proc, 'fd', fd))).toBe('/dev/null')
    expect(open.filter((path) => path.includes('.gguf'))).toEqual([])
    expect(readlinkSync(join(proc, 'fd', '5'))).toMatch(/ \(deleted\)$/)
    expect(Number.parseInt(readFileSync(`${proc}/coredump_filter`, 'utf8'), 16)).toBe(0)
  })

  test('S23: the build and the CPU variant are of the files that it has mapped', () => {
    expect(readFileSync(`/proc/${engine.pid}/maps`, 'utf8')).toContain(`/libggml-cpu-${engine.facts.cpuVariant}.so`)
  })

  test('it ends with its worker, however that ends', async () => {
    const program = join(directory, 'worker.mjs')
    await writeFile(
      program,
      `import { openEngineProcess } from '${new URL('../../src/engine-process/index.ts', import.meta.url).href}'
      const engine = await openEngineProcess({ path: '${demoPath}' })
      console.log(engine.pid)
      const sampling = { temperature: 1, topK: 40, topP: 1, minP: 0 }
      for (;;) for await (const _ of engine.generate({ promptTokens: [1], maxTokens: 900, sampling, seed: Uint8Array.of(1) }));`,
    )
    const worker = spawn(process.execPath, ['--conditions=@veritee/source', program], { stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = (await once(worker.stdout, 'data')) as [Buffer]
    const pid = Number(line.toString())
    expect(runs(pid)).toBe(true)
    worker.kill('SIGKILL')
    await vi.waitFor(() => expect(runs(pid)).toBe(false), { timeout: 10_000 })
  })
})

describe('when the process is killed', () => {
  test('what runs and waits ends with engine_failed, new requests are engine_unavailable, and after a restart the same tokens come', async () => {
    const changes: { readonly ready: boolean }[] = []
    const own = await open({ maxQueue: 4, onChange: (change) => changes.push(change) })
    try {
      const expected = await tokensOf(own)
      const { pid } = own
      const prompt = generation(own)
      const running = Array.from({ length: 7 }, () => own.generate(prompt))
      for (const one of running.slice(0, 4)) expect((await one.next()).done).toBe(false)
      expect(own.load).toEqual({ running: 4, waiting: 3 })
      const vector = own.embed([1, 2]).catch((error: unknown) => error)
      process.kill(pid as number, 'SIGKILL')
      const ends = await Promise.allSettled(running.map(drain))
      for (const end of ends) expect(end).toMatchObject({ status: 'rejected', reason: { code: 'engine_failed' } })
      expect(await vector).toMatchObject({ code: 'engine_failed' })
      expect(own.ready).toBe(false)
      await expect(own.embed([1])).rejects.toMatchObject({ code: 'engine_unavailable' })
      expect(() => own.generate(prompt)).toThrow(expect.objectContaining({ code: 'engine_unavailable', kind: 'unavailable' }))
      expect(() => own.vocabulary.encode('text')).toThrow(expect.objectContaining({ code: 'engine_unavailable' }))
      await ready(own)
      expect(own.pid).not.toBe(pid)
      expect(own.load).toEqual({ running: 0, waiting: 0 })
      expect(await tokensOf(own)).toEqual(expected)
      expect(changes.map((change) => change.ready)).toEqual([false, true])
    } finally {
      await own.dispose()
    }
  })

  test('a tokenizer that dies under a question is engine_failed, and the worker lives', async () => {
    const own = await open()
    try {
      process.kill(own.pid as number, 'SIGKILL')
      // The event loop has not run: nobody here knows yet.
      expect(() => own.vocabulary.encode('text')).toThrow(expect.objectContaining({ code: 'engine_failed' }))
      await ready(own)
      expect(own.vocabulary.encode('text')).not.toHaveLength(0)
    } finally {
      await own.dispose()
    }
  })

  test('S2: weights that changed meanwhile are refused for good', async () => {
    const path = join(directory, 'changing.gguf')
    await copyFile(demoPath, path)
    const reasons: string[] = []
    // Without a tmpfs the process reads the file itself.
    const own = await open({ path, memoryDirectory: join(directory, 'none'), onChange: ({ reason }) => reasons.push(reason) })
    try {
      expect(own.model.loading).toBe('direct')
      await appendFile(path, 'x')
      process.kill(own.pid as number, 'SIGKILL')
      await vi.waitFor(() => expect(reasons).toHaveLength(2), { timeout: 10_000 })
      expect(reasons[1]).toContain(`expected ${demoSha256}`)
      expect(own.ready).toBe(false)
      await truncate(path, own.model.size)
      expect(() => own.generate({ promptTokens: [1], maxTokens: 1, sampling, seed: Uint8Array.of(1) })).toThrow(
        expect.objectContaining({ code: 'engine_unavailable' }),
      )
    } finally {
      await own.dispose()
    }
  })
})

describe('loading', () => {
  test('a damaged file is the error of the loader, and leaves no process', async () => {
    const path = join(directory, 'damaged.gguf')
    await copyFile(demoPath, path)
    await truncate(path, 60_000)
    await expect(open({ path })).rejects.toMatchObject({ code: 'model_malformed' })
    await expect(open({ sha256: '0'.repeat(64) })).rejects.toMatchObject({ code: 'model_hash_mismatch' })
    await expect(open({ threads: 0 })).rejects.toThrow(TypeError)
  })

  test('an abort ends it with its reason', async () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(new Error('enough')), 150)
    await expect(open({ signal: controller.signal })).rejects.toThrow('enough')
  })
})

test('dispose ends what runs with engine_unavailable, ends the process, and refuses new requests', async () => {
  const own = await open()
  const { pid } = own
  const prompt = generation(own)
  const running = own.generate(prompt)
  await running.next()
  await own.dispose()
  await expect(drain(running)).rejects.toMatchObject({ code: 'engine_unavailable' })
  expect(() => own.generate(prompt)).toThrow(expect.objectContaining({ code: 'engine_unavailable' }))
  expect(own.ready).toBe(false)
  expect(runs(pid as number)).toBe(false)
  await own.dispose()
})
