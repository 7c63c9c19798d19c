import { LlamaContextSequence } from 'node-llama-cpp'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type ChatTemplate, type Engine, runToEnd, startCompletion } from '../../src/enclave/worker/engine/index.ts'
import { ask, openDemo } from './demo.ts'

let engine: Engine
let template: ChatTemplate

beforeAll(async () => {
  ;({ engine, template } = await openDemo({ sequences: 2 }))
})
afterEach(() => vi.restoreAllMocks())
afterAll(() => engine.dispose())

/** Counts what the engine is asked to evaluate from now on: one call is one token, or one batch of a prompt. */
function evaluations(): () => number {
  const tokens = vi.spyOn(LlamaContextSequence.prototype, 'controlledEvaluate')
  const batches = vi.spyOn(LlamaContextSequence.prototype, 'evaluateWithoutGeneratingNewTokens')
  return () => tokens.mock.calls.length + batches.mock.calls.length
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 100))
const endless = { temperature: 1, seed: 1, logit_bias: { 2: -100, 4: -100 }, max_tokens: 800 }

describe('S9: after an abort at most one more token is evaluated', () => {
  test.each([
    ['one answer', { ...endless }, 1],
    ['three answers, of which one waits', { ...endless, n: 3 }, 2],
    ['held to a form', { temperature: 1, seed: 1, max_tokens: 800, guided_grammar: 'root ::= [a-z]*' }, 1],
  ])('%s', async (_, members, running) => {
    const count = evaluations()
    const controller = new AbortController()
    const completion = startCompletion({ engine, template, request: ask('Tell me a story.', members), signal: controller.signal })
    const end = runToEnd(completion)
    while (count() < 8) await new Promise(setImmediate)
    const atAbort = count()
    controller.abort()
    expect((await end).outcome).toBe('aborted')
    await settled()
    expect(count() - atAbort).toBeLessThanOrEqual(running)
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
  })

  test('within a long prompt: at most one more batch of 32 tokens', async () => {
    const count = evaluations()
    const controller = new AbortController()
    const completion = startCompletion({ engine, template, request: ask('word '.repeat(900), { max_tokens: 1 }), signal: controller.signal })
    const end = runToEnd(completion)
    while (count() < 3) await new Promise(setImmediate)
    const atAbort = count()
    controller.abort()
    expect((await end).outcome).toBe('aborted')
    await settled()
    expect(count() - atAbort).toBeLessThanOrEqual(1)
  })

  test('a reader who leaves', async () => {
    const count = evaluations()
    for await (const { text } of startCompletion({ engine, template, request: ask('Tell me a story.', endless) })) if (text !== '') break
    const atEnd = count()
    await settled()
    expect(count()).toBe(atEnd)
  })
})
