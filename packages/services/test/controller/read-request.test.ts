import { requestLimits, spliceConstraints } from 'veritee/receipt'
import { expect, test } from 'vitest'
import { answerTokensOf, maximumOf, type ReadRequest } from '../../src/controller/stages/read-request.ts'

const [chat, text, responses, embeddings] = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/embeddings'] as const
const reading = (endpoint: string, body: object): ReadRequest =>
  ({
    request: { endpoint },
    content: spliceConstraints(new TextEncoder().encode(JSON.stringify({ model: 'm', ...body })), requestLimits),
  }) as ReadRequest

test.each<[string, object, number | null]>([
  [chat, {}, null],
  [chat, { max_tokens: 5 }, 5],
  [chat, { max_completion_tokens: 7 }, 7],
  [chat, { max_tokens: 900, max_completion_tokens: 7 }, 900],
  // A chat knows no such member, so it bounds nothing.
  [chat, { max_output_tokens: 1 }, null],
  [chat, { max_tokens: 900, max_output_tokens: 1 }, 900],
  [chat, { max_tokens: 900, max_completion_tokens: null }, 900],
  [chat, { max_tokens: null }, null],
  [chat, { max_tokens: 1, n_predict: 900 }, 900],
  // Without end, for some engines.
  [chat, { max_tokens: 1, n_predict: -1 }, null],
  [chat, { max_tokens: '5' }, null],
  [text, { max_tokens: 900, max_completion_tokens: 1, max_output_tokens: 1 }, 900],
  [responses, { max_output_tokens: 900, max_tokens: 1 }, 900],
  [responses, { max_tokens: 1 }, null],
  [embeddings, { max_tokens: 9 }, 0],
])('at %s, %o bounds an answer to %s tokens', (endpoint, body, most) => {
  expect(maximumOf(reading(endpoint, body))).toBe(most)
})

test('choices count each, and so do prompts', () => {
  expect(answerTokensOf(reading(text, { max_tokens: 5, n: 2, prompt: ['a', 'b', 'c'] }))).toBe(30)
  expect(answerTokensOf(reading(text, { max_tokens: 5, prompt: [1, 2, 3] }))).toBe(5)
  expect(answerTokensOf(reading(chat, { max_tokens: 5, n: 3 }))).toBe(15)
  expect(answerTokensOf(reading(text, { max_tokens: 5, n: 2, best_of: 4 }))).toBe(20)
  expect(answerTokensOf(reading(chat, { n: 3 }))).toBeNull()
})
