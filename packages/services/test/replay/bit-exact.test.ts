import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runSuite } from '../../../../bench/replay/suite.ts'
import { type Generation, type Guide, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import type { ServedModel } from '../../src/enclave/worker/served-model.ts'
import { demoPath } from '../engine/demo.ts'
import { serveFile, story } from './worker.ts'

let served: ServedModel
beforeAll(async () => {
  served = await serveFile()
}, 60_000)
afterAll(() => served.engine.dispose())

test('40 answers of a worker under load, greedy and sampled, are replayed in another process without one different token', async () => {
  const result = await runSuite({ served, modelPath: demoPath, count: 40, seed: 1, parallel: 6 })
  expect(result.others).toEqual([])
  expect(result).toMatchObject({ answers: 40, sampled: 20, passed: 40 })
  expect(result.tokens).toBeGreaterThan(300)
}, 180_000)

describe('the engine gives equal bits', () => {
  /** Every logit of every candidate of an answer, as one engine saw them. */
  async function logitsOf(
    engine: ServedModel['engine'],
    guide?: Guide,
    rest: Partial<Generation> = {},
  ): Promise<{ tokens: number[]; logits: string[] }> {
    const logits: string[] = []
    const tokens: number[] = []
    const watching: Guide = {
      expect: (sofar) => guide?.expect(sofar) ?? [],
      replace: (choice) => {
        logits.push(choice.candidates.slice(0, 64).join(' '))
        return choice.token
      },
    }
    const generation = {
      promptTokens: served.template.render([{ role: 'user', content: story }]),
      maxTokens: 60,
      sampling: { temperature: 1.3, topK: 64, topP: 1, minP: 0 },
      seed: Uint8Array.of(3),
      guide: watching,
      ...rest,
    }
    for await (const { token } of engine.generate(generation)) tokens.push(token)
    return { tokens, logits }
  }

  test('decoding token by token, and evaluating the tokens in one pass, of any length', async () => {
    const decoded = await logitsOf(served.engine)
    expect(decoded.tokens.length).toBeGreaterThan(40)
    for (const most of [1, 2, 7, 31, 100]) {
      const forward = await logitsOf(served.engine, { expect: (sofar) => decoded.tokens.slice(sofar.length, sofar.length + most) })
      expect(forward).toEqual(decoded)
    }
  })

  test('wrong expectations cost nothing but time', async () => {
    const decoded = await logitsOf(served.engine)
    const wrong = await logitsOf(served.engine, {
      expect: (sofar) => decoded.tokens.slice(sofar.length).map((token, i) => (i % 3 === 2 ? (token + 1) % 2048 : token)),
    })
    expect(wrong).toEqual(decoded)
  })

  test('one request alone, and four at once with prompts of other lengths', async () => {
    const alone = await logitsOf(served.engine)
    const others = [5, 40, 200].map((length) =>
      logitsOf(served.engine, undefined, { promptTokens: Array.from({ length }, (_, i) => 300 + ((i * 37) % 900)), seed: Uint8Array.of(length) }),
    )
    const [beside] = await Promise.all([logitsOf(served.engine), ...others])
    expect(beside).toEqual(alone)
  })

  test.for([
    ['two threads', { threads: 2 }],
    ['a context of another size, with one sequence', { maxContext: 200, sequences: 1 }],
  ] as const)('%s', async ([, options]) => {
    // Few tokens: two threads wait for each other in a loop, and on busy cores that takes very long.
    const rest = { maxTokens: 16 }
    const alone = await logitsOf(served.engine, undefined, rest)
    const engine = await openLlamaEngine({ path: demoPath, ...options })
    try {
      expect(await logitsOf(engine, undefined, rest)).toEqual(alone)
    } finally {
      await engine.dispose()
    }
  })

  test('a context filled to its last token by expectations does not shift', async () => {
    const engine = await openLlamaEngine({ path: demoPath, maxContext: 64, sequences: 1 })
    try {
      const promptTokens = Array.from({ length: 24 }, () => 397)
      const rest = { promptTokens, maxTokens: 40 }
      const decoded = await logitsOf(engine, undefined, rest)
      expect(await logitsOf(engine, { expect: (sofar) => decoded.tokens.slice(sofar.length) }, rest)).toEqual(decoded)
    } finally {
      await engine.dispose()
    }
  })
})
