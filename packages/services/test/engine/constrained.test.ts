import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type ChatTemplate,
  type Completion,
  type Engine,
  parseChatRequest,
  runToEnd,
  startCompletion,
} from '../../src/enclave/worker/engine/index.ts'
import { ask, openDemo } from './demo.ts'

let engine: Engine
let template: ChatTemplate

beforeAll(async () => {
  ;({ engine, template } = await openDemo())
})
afterAll(() => engine.dispose())

function start(members: Record<string, unknown>): Completion {
  return startCompletion({ engine, template, request: ask('Tell me about a dragon named Ruby.', { temperature: 0, max_tokens: 200, ...members }) })
}

const schema = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 12 },
    legs: { type: 'integer', minimum: 0 },
    colour: { enum: ['red', 'green', 'dark green'] },
    friends: { type: 'array', items: { type: 'string', maxLength: 6 }, maxItems: 2 },
  },
  required: ['name', 'legs', 'colour', 'friends'],
  additionalProperties: false,
}
const format = { response_format: { type: 'json_schema', json_schema: { name: 'dragon', schema, strict: true } } }

describe('an answer held to a schema', () => {
  test.each([
    ['greedy', { temperature: 0 }],
    ['sampled', { temperature: 1, seed: 3 }],
    ['hot', { temperature: 2, seed: 4 }],
    ['with few candidates', { temperature: 1.5, seed: 5, top_k: 3 }],
    ['with penalties', { temperature: 0.8, seed: 6, frequency_penalty: 1.5, repetition_penalty: 1.2, logit_bias: { 5: 100 } }],
    ['top_p and min_p', { temperature: 1.5, seed: 7, top_p: 0.8, min_p: 0.05 }],
  ])('is of that form: %s', async (_, sampling) => {
    const completion = start({ ...format, ...sampling })
    const result = await runToEnd(completion)
    expect(result).toMatchObject({ outcome: 'complete', finishReason: 'stop' })
    const value = JSON.parse(result.text) as Record<string, unknown>
    expect(Object.keys(value)).toEqual(['name', 'legs', 'colour', 'friends'])
    expect(['red', 'green', 'dark green']).toContain(value.colour)
    expect(completion.parameters).toMatchObject({ constraint: 'json_schema', constraint_source: JSON.stringify(schema) })
  })

  test('S23: the same seed gives the same tokens; each answer of several is of the form', async () => {
    const one = await runToEnd(start({ ...format, temperature: 1.5, seed: 9, n: 3 }))
    const again = await runToEnd(start({ ...format, temperature: 1.5, seed: 9, n: 3 }))
    expect(again.completionTokens).toEqual(one.completionTokens)
    expect(new Set(one.choices.map(({ text }) => text)).size).toBe(3)
    for (const { text } of one.choices) expect(() => JSON.parse(text) as unknown).not.toThrow()
  })

  test('a limit cuts it, and says so', async () => {
    expect(await runToEnd(start({ ...format, max_tokens: 4 }))).toMatchObject({ outcome: 'length' })
  })

  test('probabilities are the model’s own and finite, also of tokens far down', async () => {
    const { logprobs, text } = await runToEnd(start({ ...format, logprobs: true, top_logprobs: 2 }))
    expect(logprobs.map(({ token }) => token).join('')).toBe(text)
    for (const { logprob, topLogprobs } of logprobs) {
      expect(logprob).toBeLessThanOrEqual(topLogprobs[0]?.logprob ?? Number.NaN)
      expect(Number.isFinite(logprob)).toBe(true)
    }
  })
})

test('json_object gives an object', async () => {
  const { text, outcome } = await runToEnd(start({ response_format: { type: 'json_object' }, temperature: 1, seed: 2, top_k: 20, max_tokens: 900 }))
  if (outcome === 'complete') expect(JSON.parse(text)).toBeTypeOf('object')
  expect(text).toMatch(/^\{/)
})

test('a choice, and a text that the model would never write: it is looked for among all tokens', async () => {
  expect((await runToEnd(start({ guided_choice: ['dragon', 'cat'] }))).text).toMatch(/^(?:dragon|cat)$/)
  const odd = '\u0007\u2603 Zq~^|}\u{1f9ff}'
  for (const sampling of [{ temperature: 0 }, { temperature: 1, seed: 1 }])
    expect(await runToEnd(start({ guided_choice: [odd], ...sampling }))).toMatchObject({ text: odd, outcome: 'complete' })
})

test('a GBNF grammar', async () => {
  const grammar = 'root ::= "(" [a-z]{3} ")" | "(" root ")"'
  const completion = start({ guided_grammar: grammar, temperature: 1, seed: 1 })
  expect((await runToEnd(completion)).text).toMatch(/^\(+[a-z]{3}\)+$/)
  expect(completion.parameters).toMatchObject({ constraint: 'gbnf', constraint_source: grammar })
})

test('a grammar too ambiguous to follow ends the answer with an error, and no text', async () => {
  const root = `root ::= "a" (${Array.from({ length: 300 }, () => '"b" root "c"').join(' | ')}) | "d"`
  expect(await runToEnd(start({ grammar: root, logit_bias: {}, seed: 1, temperature: 2 }))).toMatchObject({
    outcome: 'error',
    error: { code: 'engine_failed' },
  })
})

test('a vocabulary without single bytes cannot be held to a form', () => {
  const { vocabulary } = engine
  const poor: Engine = Object.create(engine, {
    facts: { value: engine.facts },
    vocabulary: {
      value: { ...vocabulary, bytes: (token: number) => (vocabulary.bytes(token)[0] === 0x7b ? new Uint8Array(0) : vocabulary.bytes(token)) },
    },
  })
  const request = ask('Hello!', format)
  expect(() => startCompletion({ engine: poor, template, request })).toThrow(expect.objectContaining({ status: 400, code: 'unsupported_value' }))
})

describe('refused', () => {
  const minimal = { model: 'm', messages: [{ role: 'user', content: 'hi' }] }
  test.each<[name: string, members: Record<string, unknown>, param: string]>([
    ['a format that is no object', { response_format: 'json' }, 'response_format'],
    ['an unknown type', { response_format: { type: 'xml' } }, 'response_format.type'],
    ['an unknown member', { response_format: { type: 'json_object', x: 1 } }, 'response_format'],
    ['a schema for text', { response_format: { type: 'text', json_schema: {} } }, 'response_format'],
    ['no json_schema', { response_format: { type: 'json_schema' } }, 'response_format.json_schema'],
    ['no name', { response_format: { type: 'json_schema', json_schema: { schema: {} } } }, 'response_format.json_schema.name'],
    ['no schema', { response_format: { type: 'json_schema', json_schema: { name: 'x' } } }, 'response_format.json_schema.schema'],
    [
      'strict as text',
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: {}, strict: 'yes' } } },
      'response_format.json_schema',
    ],
    [
      'a schema outside the subset',
      { response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { not: {} } } } },
      'response_format.json_schema.schema',
    ],
    ['guided_json as text', { guided_json: '{}' }, 'guided_json'],
    ['no choices', { guided_choice: [] }, 'guided_choice'],
    ['an empty choice', { guided_choice: [''] }, 'guided_choice'],
    ['a lone surrogate', { guided_choice: ['\ud800'] }, 'guided_choice'],
    ['a grammar that is none', { grammar: 'root' }, 'grammar'],
    ['a list as grammar', { guided_grammar: ['root ::= "a"'] }, 'guided_grammar'],
    ['two forms', { guided_choice: ['a'], guided_json: {} }, 'response_format'],
    ['a regular expression', { guided_regex: 'a+' }, 'guided_regex'],
  ])('%s', (_, members, param) => {
    expect(() => parseChatRequest({ ...minimal, ...members })).toThrow(expect.objectContaining({ status: 400, param }))
  })
})
