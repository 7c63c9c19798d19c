import { utf8 } from 'veritee/bytes'
import type { Receipt } from 'veritee/receipt'
import { describe, expect, it } from 'vitest'
import { signedExcess, signedTime } from '../../src/validator/audit/bounds.ts'

const receipt = (servedAt: number, completion_tokens = 0): Receipt =>
  ({ servedAt, events: [{ type: 'veritee.inference', completion_tokens }] }) as unknown as Receipt

describe('S18, S19: the time that a worker signs', () => {
  it.each([
    [1000, null],
    [700, null],
    [699, 'receipt_malformed'],
    [1320, null],
    [1321, 'receipt_malformed'],
    [0, 'receipt_malformed'],
    [2 ** 40, 'receipt_malformed'],
  ])('%i for a request from 1000 to 1020: %s', (servedAt, fault) => {
    expect(signedTime({ receipt: receipt(servedAt) }, 1000, 1020)).toBe(fault)
  })

  it('is none without a receipt', () => {
    expect(signedTime({ receipt: null }, 1000, 1020)).toBeNull()
  })
})

describe('S18: an answer of more bytes than its tokens can have', () => {
  const excess = (members: object, bytes: number | string, tokens = 0) =>
    signedExcess({
      request: utf8(JSON.stringify({ model: 'm', messages: [], ...members })),
      answer: { contentType: '', body: utf8(typeof bytes === 'string' ? bytes : 'x'.repeat(bytes)), firstMs: 0, lastMs: 0 },
      receipt: receipt(0, tokens),
    })
  // Two quotes are around a string.
  const most = (tokens: number): number => 65_536 + 1024 * tokens - 2

  it.each([
    ['the limit of the request', { max_tokens: 16 }, 16],
    ['the other name of it', { max_completion_tokens: 16 }, 16],
    ['the smaller of both', { max_tokens: 99, max_completion_tokens: 16 }, 16],
    ['the limit for each of several answers', { max_tokens: 8, n: 2 }, 16],
  ])('is judged by %s, whatever the receipt counts', (_, members, tokens) => {
    expect([excess(members, most(tokens), 5000), excess(members, most(tokens) + 1, 5000)]).toEqual([null, 'answer_malformed'])
  })

  it('is judged by what the receipt counts where there is no limit, and as it is handed over', () => {
    expect([excess({}, most(100), 100), excess({}, most(100) + 1, 100)]).toEqual([null, 'answer_malformed'])
    expect([excess({}, '"'.repeat(most(0) / 2)), excess({}, '"'.repeat(most(0) / 2 + 1))]).toEqual([null, 'answer_malformed'])
    expect(excess({}, '\u0001'.repeat(most(0) / 6 + 1))).toBe('answer_malformed')
  })

  it('has room for log probabilities of each token and of each alternative, where they are asked for', () => {
    const asked = { max_tokens: 16, logprobs: true }
    expect([excess(asked, most(32)), excess(asked, most(32) + 1)]).toEqual([null, 'answer_malformed'])
    expect([excess({ ...asked, top_logprobs: 20 }, most(22 * 16)), excess({ ...asked, top_logprobs: 20 }, most(22 * 16) + 1)]).toEqual([
      null,
      'answer_malformed',
    ])
  })

  it('is judged by what an engine beside the worker counts, and is none where that does not tell', () => {
    const of = (completion_tokens: number | null, bytes: number) =>
      signedExcess({
        request: utf8('{"model":"m","messages":[]}'),
        answer: { contentType: '', body: utf8('x'.repeat(bytes)), firstMs: 0, lastMs: 0 },
        receipt: { servedAt: 0, events: [{ type: 'veritee.external_engine', completion_tokens }] } as unknown as Receipt,
      })
    expect([of(100, most(100)), of(100, most(100) + 1), of(null, most(100))]).toEqual([null, 'answer_malformed', null])
  })

  it('is none without a receipt or an answer', () => {
    expect(signedExcess({ request: utf8('{}'), answer: null, receipt: receipt(0) })).toBeNull()
    const answer = { contentType: '', body: utf8('x'.repeat(1 << 20)), firstMs: 0, lastMs: 0 }
    expect(signedExcess({ request: utf8('{}'), answer, receipt: null })).toBeNull()
  })
})
