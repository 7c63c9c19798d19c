import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Call } from '../../src/client/exchange/call.ts'
import { drawSeed, mostBytes, seeded, withSeed } from '../../src/client/exchange/seed.ts'
import { connect } from '../../src/client/index.ts'
import { requestLimits } from '../../src/receipt/index.ts'
import { trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { fakeService } from './service.ts'

const call = (body: string, path = '/v1/chat/completions'): Call => ({
  method: 'POST',
  path,
  headers: {},
  body: new TextEncoder().encode(body),
  signal: new AbortController().signal,
})
const textOf = ({ body }: Pick<Call, 'body'>): string => new TextDecoder().decode(body ?? new Uint8Array(0))
const chat = '{ "model" : "demo-model",\n "messages":[{"role":"user","content":"\\u00e9 { \\"seed\\": 1 }"}], "temperature": 1.0 }'

test('S23: a chat that names no seed gets one of 64 bits as its first member, and every other byte stays', () => {
  const text = textOf(seeded(call(chat)))
  const found = /^\{"seed":(-?[0-9]+),/.exec(text)
  expect(text.replace(found?.[0] ?? '', '{')).toBe(chat)
  expect(BigInt.asIntN(64, BigInt(found?.[1] ?? 'none'))).toBe(BigInt(found?.[1] ?? 0))
  expect(textOf(seeded(call(chat)))).not.toBe(text)
  expect(textOf(seeded(call(chat, '/v1/chat/completions?a=b')))).toContain('"seed":')
  // White space and a byte order mark before the object are the service's to judge.
  expect(textOf(seeded(call(' {"a":1}')))).toMatch(/^ \{"seed":-?[0-9]+,"a":1\}$/)
})

test('S23: seeds are of all 64 bits', () => {
  const drawn = Array.from({ length: 400 }, drawSeed)
  expect(new Set(drawn).size).toBe(400)
  for (let bit = 0n; bit < 64n; bit++) {
    const set = drawn.filter((seed) => (BigInt.asUintN(64, seed) >> bit) & 1n).length
    // 8 standard deviations: not in the life of anybody by chance.
    expect(Math.abs(set - 200)).toBeLessThan(80)
  }
})

test.for([
  ['a seed of its own', '{"messages":[],"seed":7}'],
  ['a seed that is said to be none', '{"seed":null,"messages":[]}'],
  ['no members', '{}'],
  ['an array', '[{"messages":[]}]'],
  ['no JSON', '{"messages":'],
] as const)('a body with %s is sent as it is', ([, body]) => {
  expect(textOf(seeded(call(body)))).toBe(body)
})

test('endpoints without a seed, requests without a body, and bodies that would be too long are sent as they are', () => {
  for (const path of ['/v1/embeddings', '/v1/responses', '/v1/completions', '/v1/chat/completions/x'])
    expect(textOf(seeded(call(chat, path)))).toBe(chat)
  expect(seeded({ ...call(''), body: null }).body).toBeNull()
  expect(mostBytes).toBe(requestLimits.maxLength)
  const longest = `{"messages":"${' '.repeat((8 << 20) - 15)}"}`
  expect(longest.length).toBe(8 << 20)
  expect(seeded(call(longest)).body?.length).toBe(8 << 20)
})

test('any object with members stays the object that it was, with the seed', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue(), { minKeys: 1 }),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      (members, seed) => {
        fc.pre(!Object.hasOwn(members, 'seed') && !Object.hasOwn(members, '__proto__'))
        const { seed: found, ...rest } = JSON.parse(new TextDecoder().decode(withSeed(new TextEncoder().encode(JSON.stringify(members)), seed)))
        expect(found).toBe(Number(seed))
        expect(rest).toEqual(JSON.parse(JSON.stringify(members)))
      },
    ),
    { numRuns: 200, seed: 23 },
  )
})

test('S23: what is proven and kept is what was sent, with the seed; without, where the connection says so', async () => {
  const fake = await fakeService()
  for (const freshSeed of [true, false]) {
    const kept: string[] = []
    const c = await connect(fake.url, {
      policy: policyOf(),
      trust: await trust(),
      freshSeed,
      onProof: (_, { requestBody }) => void kept.push(new TextDecoder().decode(requestBody)),
    })
    const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: '{"model":"demo-model","messages":[]}' })
    expect((await c.proofOf(response)).status).toBe('verified')
    expect(kept[0]).toMatch(freshSeed ? /^\{"seed":-?[0-9]+,"model":"demo-model","messages":\[\]\}$/ : /^\{"model"/)
    c.close()
  }
})
