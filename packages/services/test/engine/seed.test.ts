import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseChatRequest, RequestError, readSeed, seedBytes, withExactSeed } from '../../src/enclave/worker/engine/index.ts'

const read = (body: string) => readSeed(withExactSeed(JSON.parse(body), new TextEncoder().encode(body)).seed)

test('S20: the seed of a request has all of its 64 bits, wherever it stands', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (seed) => {
      const texts = [`{"seed":${seed},"messages":[]}`, `{"messages":[{"seed":1}], "seed" : ${seed} }`]
      for (const text of texts) expect(BigInt(read(text) ?? 0)).toBe(seed)
      expect(Buffer.from(seedBytes(seed)).readBigInt64BE()).toBe(seed)
    }),
    { numRuns: 300, seed: 64 },
  )
  const neighbours = ['9007199254740993', '9007199254740994'].map((seed) => Buffer.from(seedBytes(read(`{"seed":${seed}}`) ?? 0)).toString('hex'))
  expect(new Set(neighbours).size).toBe(2)
})

test.for(['9223372036854775808', '-9223372036854775809', '1e300', '9007199254740993.0', '9.1e18', '0.5', '"7"', 'true', '1'.repeat(300)])(
  'a seed of %s is refused',
  (seed) => {
    expect(() => read(`{"seed":${seed}}`)).toThrow(RequestError)
    expect(() => read(`{"messages":[],"seed":${seed}}`)).toThrow(RequestError)
  },
)

test('a chat request has the seed that was read exactly', () => {
  const body = '{"seed":-9223372036854775807,"model":"m","messages":[{"role":"user","content":"a"}]}'
  const { seed } = parseChatRequest(withExactSeed(JSON.parse(body), new TextEncoder().encode(body)))
  expect(seed).toBe(-9223372036854775807n)
})
