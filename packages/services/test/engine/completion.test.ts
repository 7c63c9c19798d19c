import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  type ChatTemplate,
  type Completion,
  type CompletionDelta,
  type Engine,
  RequestError,
  runToEnd,
  startCompletion,
} from '../../src/enclave/worker/engine/index.ts'
import { ask, openDemo } from './demo.ts'

let engine: Engine
let template: ChatTemplate

beforeAll(async () => {
  ;({ engine, template } = await openDemo({ sequences: 1, maxQueue: 1 }))
})
afterAll(() => engine.dispose())

const story = 'Tell me a story about a dragon named Ruby.'
const answer =
  'Once upon a time, a shy dragon named Ruby lived in the school. One day, Ruby found a brown basket. Ruby asked Lena the hen for help. ' +
  'Ruby and Lena took the basket home. Ruby and Lena became good friends.'

function start(text: string, members: Record<string, unknown> = {}, signal?: AbortSignal): Completion {
  return startCompletion({ engine, template, request: ask(text, { temperature: 0, ...members }), ...(signal && { signal }) })
}

function caught(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

describe('a whole answer', () => {
  test('text, outcome, usage and tokens', async () => {
    const completion = start(story)
    const deltas: CompletionDelta[] = []
    for await (const delta of completion) deltas.push(delta)
    const result = await completion.result
    expect(deltas.map(({ text }) => text).join('')).toBe(answer)
    expect(deltas.every(({ text, logprobs }) => text !== '' && logprobs === undefined)).toBe(true)
    expect(result).toMatchObject({ outcome: 'complete', finishReason: 'stop', text: answer })
    expect(result).not.toHaveProperty('error')
    expect(result.usage).toEqual({ promptTokens: 21, completionTokens: 52, totalTokens: 73 })
    expect(completion.promptTokens).toHaveLength(21)
    expect(result.completionTokens).toHaveLength(52)
    expect(engine.vocabulary.name(result.completionTokens.at(-1) ?? 0)).toBe('<|im_end|>')
  })

  test('S23: parameters are those used, decimals as text; a seed is drawn when the client sends none', async () => {
    const drawn = start('Hello!', { temperature: 0.7, top_p: 1e-7 })
    await runToEnd(drawn)
    expect(drawn.parameters).toEqual({
      temperature: '0.7',
      top_p: '0.0000001',
      min_p: '0',
      top_k: 1024,
      max_tokens: 1013,
      stop: [],
      seed: expect.stringMatching(/^[0-9a-f]{32}$/),
      seed_source: 'enclave',
    })
    const again = start('Hello!', { seed: 258, max_tokens: 3, stop: 'x', top_k: 5 })
    await runToEnd(again)
    expect(again.parameters).toMatchObject({ seed: '0000000000000102', seed_source: 'client', max_tokens: 3, stop: ['x'], top_k: 5 })
    expect(again.parameters.seed).not.toBe(drawn.parameters.seed)
  })

  test('S23: the recorded seed, given as bytes again, gives the same tokens', async () => {
    const first = start(story, { temperature: 1.5 })
    const { completionTokens } = await runToEnd(first)
    const random = (): Uint8Array => Uint8Array.from(Buffer.from(first.parameters.seed, 'hex'))
    const replay = startCompletion({ engine, template, request: ask(story, { temperature: 1.5 }), random })
    expect((await runToEnd(replay)).completionTokens).toEqual(completionTokens)
  })

  test('logprobs: one entry per token with text, in order, none for the end of the turn', async () => {
    const result = await runToEnd(start('what is the capital of japan', { logprobs: true, top_logprobs: 2 }))
    expect(result.logprobs.map(({ token }) => token).join('')).toBe('The capital of Japan is Tokyo.')
    expect(result.logprobs).toHaveLength(result.usage.completionTokens - 1)
    for (const { token, bytes, logprob, topLogprobs } of result.logprobs) {
      expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(token)
      expect(logprob).toBeLessThanOrEqual(0)
      expect(topLogprobs).toHaveLength(2)
      expect(topLogprobs[0]).toMatchObject({ token, logprob })
    }
  })
})

describe('ends', () => {
  test('max_tokens ends it with length, after exactly so many tokens', async () => {
    const result = await runToEnd(start(story, { max_tokens: 7 }))
    expect(result).toMatchObject({ outcome: 'length', finishReason: 'length', usage: { completionTokens: 7 } })
    expect(answer.startsWith(result.text)).toBe(true)
  })

  test('an answer whose last allowed token ends the turn is complete', async () => {
    expect(await runToEnd(start(story, { max_tokens: 52 }))).toMatchObject({ outcome: 'complete', text: answer })
    expect(await runToEnd(start(story, { max_tokens: 51 }))).toMatchObject({ outcome: 'length', text: answer })
  })

  test('a stop string is cut off, nothing of it is ever yielded, and no token follows it', async () => {
    const completion = start(story, { stop: ['found a brown', 'never'] })
    let text = ''
    for await (const delta of completion) {
      text += delta.text
      expect(answer.startsWith(text)).toBe(true)
    }
    const result = await completion.result
    expect(text).toBe(answer.slice(0, answer.indexOf('found a brown')))
    expect(result).toMatchObject({ outcome: 'complete', finishReason: 'stop', text })
    expect(result.usage.completionTokens).toBeLessThan(30)
  })

  test('what only began like a stop string is in the text at the end', async () => {
    expect((await runToEnd(start(story, { stop: 'friends.!' }))).text).toBe(answer)
    expect((await runToEnd(start(story, { stop: 'time, a shy cat', max_tokens: 6 }))).text).toBe(
      (await runToEnd(start(story, { max_tokens: 6 }))).text,
    )
  })
})

describe('S9: aborted', () => {
  test('by the signal: no delta follows, the result holds what was yielded', async () => {
    const controller = new AbortController()
    const completion = start(story, {}, controller.signal)
    let text = ''
    let count = 0
    for await (const delta of completion) {
      text += delta.text
      if (++count === 5) controller.abort()
    }
    expect(count).toBe(5)
    expect(await completion.result).toMatchObject({ outcome: 'aborted', finishReason: null, text, usage: { completionTokens: 5 } })
    expect(engine.load).toEqual({ running: 0, waiting: 0 })
  })

  test('by a reader who stops', async () => {
    const completion = start(story)
    for await (const _ of completion) break
    expect(await completion.result).toMatchObject({ outcome: 'aborted', usage: { completionTokens: 1 } })
    expect(engine.load.running).toBe(0)
  })

  test('before it began: by the signal, and by a reader who never reads', async () => {
    const controller = new AbortController()
    const completion = start(story, {}, controller.signal)
    controller.abort()
    expect(engine.load.running).toBe(0)
    expect(await runToEnd(completion)).toMatchObject({ outcome: 'aborted', text: '', usage: { completionTokens: 0 } })
    const unread = start(story)
    await unread[Symbol.asyncIterator]().return?.()
    expect(await unread.result).toMatchObject({ outcome: 'aborted' })
    expect(engine.load.running).toBe(0)
  })

  test('while waiting for a sequence', async () => {
    const running = start(story)
    const controller = new AbortController()
    const waiting = start(story, {}, controller.signal)
    const end = runToEnd(waiting)
    controller.abort()
    expect(await end).toMatchObject({ outcome: 'aborted', text: '' })
    expect(await runToEnd(running)).toMatchObject({ outcome: 'complete' })
  })
})

describe('refused before the first byte', () => {
  test('a prompt that fills the context', () => {
    const error = caught(() => start('word '.repeat(1200)))
    expect(error).toBeInstanceOf(RequestError)
    expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded', param: 'messages' })
  })

  test('an answer that may not fit, with the parameter at fault', () => {
    expect(caught(() => start('Hello!', { max_tokens: 1014 }))).toMatchObject({ code: 'context_length_exceeded', param: 'max_tokens' })
  })

  test('a text far too long is not even tokenized', async () => {
    const encode = vi.spyOn(engine.vocabulary, 'encode')
    expect(caught(() => start('x'.repeat(20_000_000)))).toMatchObject({ code: 'context_length_exceeded' })
    expect(encode).not.toHaveBeenCalled()
    await runToEnd(start('Hello!', { max_tokens: 1 }))
    expect(encode).toHaveBeenCalled()
    encode.mockRestore()
  })

  test.each([
    ['smileys, of which the vocabulary has none', '\u{1f642}'.repeat(30_000)],
    ['control characters', '\u0001'.repeat(60_000)],
    ['words', 'word '.repeat(13_000)],
  ])('a long text is counted in pieces and never tokenized as a whole: %s', (_, text) => {
    const lengths: number[] = []
    const { vocabulary } = engine
    const counting: Engine = Object.create(engine, {
      facts: { value: engine.facts },
      vocabulary: {
        value: {
          ...vocabulary,
          encode: (one: string) => {
            lengths.push(one.length)
            return vocabulary.encode(one)
          },
        },
      },
    })
    expect(caught(() => startCompletion({ engine: counting, template, request: ask(text) }))).toMatchObject({ code: 'context_length_exceeded' })
    expect(Math.max(...lengths)).toBeLessThanOrEqual(2048)
    expect(lengths.length).toBeLessThan(10)
  })

  test('a long text that fits is answered', async () => {
    const text = 'word '.repeat(990)
    expect(text.length).toBeGreaterThan(4 * 1024)
    expect(await runToEnd(start(text, { max_tokens: 2 }))).toMatchObject({ usage: { completionTokens: 2 } })
  })

  test('a full queue is engine_busy', async () => {
    const [running, waiting] = [start('Hello!'), start('Hello!')]
    expect(caught(() => start('Hello!'))).toMatchObject({ code: 'engine_busy' })
    expect(await Promise.all([runToEnd(running), runToEnd(waiting)])).toMatchObject([{ outcome: 'complete' }, { outcome: 'complete' }])
  })
})

test('a failure of the engine is an outcome with its cause; the reader just sees the end', async () => {
  const failing: Engine = Object.create(engine, {
    generate: {
      value: async function* () {
        yield { token: engine.vocabulary.encode('a')[0], logprob: 0, top: [] }
        throw new Error('broken')
      },
    },
    facts: { value: engine.facts },
    vocabulary: { value: engine.vocabulary },
  })
  const result = await runToEnd(startCompletion({ engine: failing, template, request: ask('Hello!') }))
  expect(result).toMatchObject({ outcome: 'error', finishReason: null, text: 'a', error: new Error('broken') })
})

test('a very hot answer has no broken characters and replays from its tokens', async () => {
  const completion = start(story, { temperature: 2, seed: 11, max_tokens: 300 })
  let text = ''
  for await (const delta of completion) {
    expect(delta.text.isWellFormed()).toBe(true)
    text += delta.text
  }
  const { completionTokens } = await completion.result
  const bytes = completionTokens.flatMap((token) => [...engine.vocabulary.bytes(token)])
  expect(new TextDecoder().decode(Uint8Array.from(bytes)).startsWith(text)).toBe(true)
})
