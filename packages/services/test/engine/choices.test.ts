import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type ChatTemplate, type Completion, type Engine, runToEnd, startCompletion } from '../../src/enclave/worker/engine/index.ts'
import { ask, openDemo } from './demo.ts'

let engine: Engine
let template: ChatTemplate

beforeAll(async () => {
  ;({ engine, template } = await openDemo({ sequences: 2, maxQueue: 2 }))
})
afterAll(() => engine.dispose())

const story = 'Tell me a story about a dragon named Ruby.'

function start(members: Record<string, unknown>, signal?: AbortSignal): Completion {
  return startCompletion({ engine, template, request: ask(story, { seed: 7, ...members }), ...(signal && { signal }) })
}

describe('several answers', () => {
  test('S23: each has its own randomness, and the first is the answer to the same request with n 1', async () => {
    const alone = await runToEnd(start({ temperature: 1.3 }))
    const completion = start({ temperature: 1.3, n: 4 })
    expect(engine.load).toEqual({ running: 2, waiting: 2 })
    const texts = ['', '', '', '']
    for await (const { choice, text } of completion) texts[choice] += text
    const result = await completion.result
    expect(result.choices.map(({ text }) => text)).toEqual(texts)
    expect(result.choices[0]).toMatchObject({ text: alone.text, completionTokens: alone.completionTokens })
    expect(new Set(texts).size).toBe(4)
    expect(result.completionTokens).toEqual(result.choices.flatMap(({ completionTokens }) => completionTokens))
    expect(result.usage).toEqual({
      promptTokens: completion.promptTokens.length,
      completionTokens: result.completionTokens.length,
      totalTokens: completion.promptTokens.length + result.completionTokens.length,
    })
    expect(completion.parameters).toMatchObject({ n: 4 })
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
  })

  test('greedy ones are equal; a limit met by one is told of that one', async () => {
    const { choices, outcome } = await runToEnd(start({ temperature: 0, n: 2, max_tokens: 5 }))
    expect(choices[0]).toEqual(choices[1])
    expect(outcome).toBe('length')
  })

  test('without room for all of them none is started', async () => {
    const running = start({ n: 2 })
    expect(() => start({ n: 3 })).toThrow(expect.objectContaining({ code: 'engine_busy' }))
    expect(engine.load).toEqual({ running: 2, waiting: 0 })
    await runToEnd(running)
  })

  test('S9: an abort ends all of them', async () => {
    const controller = new AbortController()
    const completion = start({ n: 4 }, controller.signal)
    let count = 0
    for await (const _ of completion) if (++count === 6) controller.abort()
    const { outcome, choices } = await completion.result
    expect([outcome, ...choices.map((choice) => choice.outcome)]).toEqual(Array(5).fill('aborted'))
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
  })

  test('S9: a reader who leaves ends all of them, also those that wait', async () => {
    const completion = start({ n: 4 })
    for await (const _ of completion) break
    expect((await completion.result).outcome).toBe('aborted')
    const unread = start({ n: 4 })
    await unread[Symbol.asyncIterator]().return?.()
    expect((await unread.result).choices).toHaveLength(4)
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
  })
})

describe('adjustments', () => {
  test('a bias of -100 keeps a token away, and the receipt names it', async () => {
    const plain = await runToEnd(start({ temperature: 0 }))
    const banned = plain.completionTokens[3] ?? 0
    const completion = start({
      temperature: 0,
      logit_bias: { [banned]: -100 },
      frequency_penalty: 1e-7,
      presence_penalty: -0.5,
      repetition_penalty: 1.5,
    })
    const { completionTokens } = await runToEnd(completion)
    expect(completionTokens).not.toContain(banned)
    expect(completion.parameters).toMatchObject({
      logit_bias: [`${banned}:-100`],
      frequency_penalty: '0.0000001',
      presence_penalty: '-0.5',
      repetition_penalty: '1.5',
    })
  })

  test('penalties change a greedy answer, the same way each time; a penalty against repeating lengthens no loop', async () => {
    const of = async (members: Record<string, unknown>): Promise<readonly number[]> =>
      (await runToEnd(start({ temperature: 0, ...members }))).completionTokens
    const plain = await of({})
    const penalised = await of({ frequency_penalty: 2 })
    expect(penalised).not.toEqual(plain)
    expect(await of({ frequency_penalty: 2 })).toEqual(penalised)
    expect(await of({ repetition_penalty: 1.3, max_tokens: 20 })).not.toEqual(plain.slice(0, 20))
    expect(await of({ frequency_penalty: 0, presence_penalty: 0, repetition_penalty: 1, logit_bias: {} })).toEqual(plain)
  })

  test('a token outside the vocabulary is refused with its parameter', () => {
    expect(() => start({ logit_bias: { 2048: 1 } })).toThrow(expect.objectContaining({ status: 400, param: 'logit_bias' }))
  })
})
