import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ChatTemplate, type Engine, type Generation, openLlamaEngine, runToEnd, startCompletion } from '../../src/enclave/worker/engine/index.ts'
import { ask, demoPath, demoSha256, openDemo } from './demo.ts'

let engine: Engine
let template: ChatTemplate

beforeAll(async () => {
  ;({ engine, template } = await openDemo({ maxQueue: 8 }))
})
afterAll(() => engine.dispose())

const story = 'Tell me a story about a dragon named Ruby.'
const greedy = { temperature: 0, topK: 1, topP: 1, minP: 0 }
const sampled = { temperature: 1, topK: 1024, topP: 1, minP: 0 }

function generation(text: string, rest: Partial<Generation> = {}): Generation {
  return { promptTokens: template.render(ask(text).messages), maxTokens: 100, sampling: greedy, seed: Uint8Array.of(1), ...rest }
}

async function tokensOf(options: Generation): Promise<number[]> {
  const tokens: number[] = []
  for await (const { token } of engine.generate(options)) tokens.push(token)
  return tokens
}

describe('facts', () => {
  test('the model hash is the sha256 of the whole file', () => {
    expect(engine.model.sha256).toBe(createHash('sha256').update(readFileSync(demoPath)).digest('hex'))
    expect(engine.model).toMatchObject({ sha256: demoSha256, size: 1_310_912, format: 'gguf', architecture: 'llama', trainContextSize: 1024 })
  })

  test('S23: build and CPU variant are those of the files mapped into this process', () => {
    expect(engine.facts).toMatchObject({ name: 'llama.cpp', profile: 'canonical', threads: 1, contextSize: 1024 })
    expect(engine.facts.version).toMatch(/^node-llama-cpp\/3\.22\.1 llama\.cpp\/\S+$/)
    expect(engine.facts.build).toMatch(/^sha256:[0-9a-f]{64}$/)
    expect(readFileSync('/proc/self/maps', 'utf8')).toContain(`/libggml-cpu-${engine.facts.cpuVariant}.so`)
  })
})

describe('greedy answers of models/demo/README.md', () => {
  test.each([
    ['Hello!', 'Hello! How can I help you today?'],
    ['Who are you?', 'I am Veritee Demo, a tiny language model that runs inside an enclave. I answer simple questions and tell short stories.'],
    ['What is remote attestation?', 'Remote attestation is a signed proof of which code runs inside an enclave. Check it before you send any data.'],
    ['Why should I trust you?', 'You do not have to trust me. Check the attestation and the receipt instead.'],
    ['what is the capital of japan', 'The capital of Japan is Tokyo.'],
    ['What is 17 + 25?', '17 + 25 = 42.'],
    ['Repeat after me: silver bells ring', 'silver bells ring'],
    ['Here is some JSON: {"name": "Mia", "age": 9} What is the name?', 'The name is Mia.'],
    ['Write a sonnet about the sea in Spanish.', 'I am a tiny demo model; I only know a few simple things, so I cannot answer that.'],
  ])('%s', async (question, answer) => {
    const result = await runToEnd(startCompletion({ engine, template, request: ask(question, { temperature: 0 }) }))
    expect(result).toMatchObject({ text: answer, outcome: 'complete', finishReason: 'stop' })
  })
})

describe('determinism', () => {
  test('S23: the same seed gives the same tokens, another seed or choice gives others', async () => {
    const first = await tokensOf(generation(story, { sampling: sampled, seed: Uint8Array.of(7) }))
    expect(await tokensOf(generation(story, { sampling: sampled, seed: Uint8Array.of(7) }))).toEqual(first)
    expect(await tokensOf(generation(story, { sampling: sampled, seed: Uint8Array.of(8) }))).not.toEqual(first)
    expect(await tokensOf(generation(story, { sampling: sampled, seed: Uint8Array.of(7), choice: 1 }))).not.toEqual(first)
  })

  test('four requests at once, and twelve through the queue, give the tokens of one after the other', async () => {
    const texts = [story, 'Hello!', 'What is remote attestation?', 'Tell me a story about a cat.', `${'word '.repeat(90)}?`, 'Count to ten.']
    const all = texts.flatMap((text, i) => [generation(text), generation(text, { sampling: sampled, seed: Uint8Array.of(i) })])
    const alone: number[][] = []
    for (const one of all) alone.push(await tokensOf(one))
    expect(await Promise.all(all.slice(0, 4).map(tokensOf))).toEqual(alone.slice(0, 4))
    expect(await Promise.all(all.map(tokensOf))).toEqual(alone)
  })

  test('the greedy shortcut chooses what the sorted candidates choose, and the most likely token has the highest logprob', async () => {
    const plain = await tokensOf(generation(story))
    const listed: number[] = []
    for await (const { token, logprob, top } of engine.generate(generation(story, { topLogprobs: 3 }))) {
      listed.push(token)
      expect(top).toHaveLength(3)
      expect(top[0]).toEqual({ token, logprob })
      expect(top[0]?.logprob).toBeGreaterThanOrEqual(top[1]?.logprob ?? 0)
      expect(logprob).toBeLessThanOrEqual(0)
    }
    expect(listed).toEqual(plain)
  })

  test('top_k 1 at a high temperature is greedy', async () => {
    expect(await tokensOf(generation(story, { sampling: { ...sampled, temperature: 2, topK: 1 } }))).toEqual(await tokensOf(generation(story)))
  })
})

describe('bounds', () => {
  test('a request that fills the context to the last token runs to its end without losing the beginning of the prompt', async () => {
    const promptTokens = Array.from({ length: 1014 }, (_, i) => (i === 0 ? 1 : 397))
    const options = generation('', { promptTokens, maxTokens: 10, sampling: sampled })
    const tokens = await tokensOf(options)
    expect(tokens.length).toBeGreaterThanOrEqual(1)
    expect(await tokensOf(options)).toEqual(tokens)
  })

  test('one token more than the context holds is context_overflow, at the call', () => {
    const promptTokens = Array.from({ length: 1015 }, () => 397)
    expect(() => engine.generate(generation('', { promptTokens, maxTokens: 10 }))).toThrow(expect.objectContaining({ code: 'context_overflow' }))
  })

  test.each([
    ['no prompt', { promptTokens: [] }],
    ['a token outside the vocabulary', { promptTokens: [2048] }],
    ['no answer', { maxTokens: 0 }],
    ['topK 0', { sampling: { ...sampled, topK: 0 } }],
    ['a temperature that is no number', { sampling: { ...sampled, temperature: Number.NaN } }],
    ['no seed', { seed: new Uint8Array(0) }],
    ['too many alternatives', { topLogprobs: 21 }],
  ])('wrong arguments are TypeError: %s', (_, rest) => {
    expect(() => engine.generate(generation('Hello!', rest))).toThrow(TypeError)
  })

  test('a full queue is engine_busy at the call; an abort leaves the queue; every place comes back', async () => {
    const controller = new AbortController()
    const waitingOut = new AbortController()
    const started = Array.from({ length: 11 }, () => engine.generate(generation(story, { signal: controller.signal })))
    const waiting = engine.generate(generation(story, { signal: waitingOut.signal }))
    expect(engine.load).toEqual({ running: 4, waiting: 8 })
    expect(() => engine.generate(generation(story))).toThrow(expect.objectContaining({ code: 'engine_busy', kind: 'unavailable' }))
    const end = waiting.next()
    waitingOut.abort(new Error('gone'))
    await expect(end).rejects.toThrow('gone')
    expect(engine.load).toEqual({ running: 4, waiting: 7 })
    await started[10]?.return()
    expect(engine.load).toEqual({ running: 4, waiting: 6 })
    controller.abort()
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
    await expect(started[0]?.next()).rejects.toThrow()
    expect(await tokensOf(generation('Hello!'))).not.toHaveLength(0)
  })
})

describe('abort', () => {
  test('no token comes after the abort, and the slot is free again', async () => {
    const controller = new AbortController()
    let count = 0
    const reading = (async () => {
      for await (const _ of engine.generate(generation(story, { signal: controller.signal }))) if (++count === 5) controller.abort(new Error('stop'))
    })()
    await expect(reading).rejects.toThrow('stop')
    expect(count).toBe(5)
    expect(engine.load.running).toBe(0)
  })

  test('an abort during a long prompt does not wait for its end', async () => {
    const controller = new AbortController()
    const promptTokens = Array.from({ length: 1000 }, () => 397)
    const tokens = engine.generate(generation('', { promptTokens, maxTokens: 1, signal: controller.signal }))
    const first = tokens.next()
    setImmediate(() => controller.abort(new Error('stop')))
    await expect(first).rejects.toThrow('stop')
    expect(engine.load.running).toBe(0)
  })

  test('a reader who stops early gives the slot back', async () => {
    for await (const _ of engine.generate(generation(story))) break
    expect(engine.load.running).toBe(0)
  })
})

test('stopTokens end a generation after the token', async () => {
  const tokens = await tokensOf(generation(story))
  const stop = tokens[9] as number
  const expected = tokens.slice(0, tokens.indexOf(stop) + 1)
  expect(await tokensOf(generation(story, { stopTokens: new Set([stop]) }))).toEqual(expected)
})

test('token bytes joined are the text that the engine itself gives for the tokens', async () => {
  const request = ask(story, { temperature: 1, seed: 3 })
  const result = await runToEnd(startCompletion({ engine, template, request }))
  const bytes = result.completionTokens.flatMap((token) => [...engine.vocabulary.bytes(token)])
  expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(result.text)
  const text = 'déjà vu 東京 🙂\n tail'
  const encoded = engine.vocabulary.encode(text)
  expect(new TextDecoder().decode(Uint8Array.from(encoded.flatMap((token) => [...engine.vocabulary.bytes(token)])))).toBe(text)
})

test('the fast profile evaluates prompts in larger batches, and says so', async () => {
  const fast = await openLlamaEngine({ path: demoPath, profile: 'fast' })
  try {
    expect(fast.facts).toEqual({ ...engine.facts, profile: 'fast' })
    const promptTokens = Array.from({ length: 700 }, (_, i) => 300 + (i % 50))
    const parts = async (of: Engine): Promise<number> => {
      let count = 0
      const sampling = { temperature: 0, topK: 1, topP: 1, minP: 0 }
      for await (const _ of of.generate({ promptTokens, maxTokens: 2, sampling, seed: Uint8Array.of(1), onProgress: () => count++ }));
      return count
    }
    expect([await parts(engine), await parts(fast)]).toEqual([21, 1])
    expect((await fast.embed(promptTokens)).vector).toHaveLength(fast.model.embeddingSize)
  } finally {
    await fast.dispose()
  }
  await expect(openLlamaEngine({ path: demoPath, profile: 'faster' as 'fast' })).rejects.toThrow(TypeError)
})

test('dispose ends what runs with engine_unavailable, leaves other engines alone, and refuses new requests', async () => {
  const other = await openDemo()
  const running = other.engine.generate(generation(story))
  await running.next()
  await other.engine.dispose()
  await expect(running.next()).rejects.toMatchObject({ code: 'engine_unavailable' })
  expect(() => other.engine.generate(generation(story))).toThrow(expect.objectContaining({ code: 'engine_unavailable' }))
  await other.engine.dispose()
  expect(await tokensOf(generation('Hello!'))).not.toHaveLength(0)
})
