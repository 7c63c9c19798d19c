import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KeyedNames } from '../../src/enclave/runtime/receipts/keyed-names.ts'

const hmac = (key: Uint8Array, text: string): string => createHmac('sha256', key).update(text).digest('hex')

test('a keyed name is the HMAC of the text, whichever came before it', () => {
  const texts = fc.array(
    fc.oneof(fc.string({ maxLength: 80 }), fc.string({ unit: 'grapheme', maxLength: 300 }), fc.string({ unit: 'binary', maxLength: 20 })),
    { minLength: 1, maxLength: 8 },
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), texts, (key, some) => {
      const names = new KeyedNames(key)
      for (const text of some) expect(names.of(text)).toBe(hmac(key, text))
    }),
    { numRuns: 500 },
  )
})

test('also of the longest texts that fit, and of longer ones', () => {
  const key = new Uint8Array(32).fill(7)
  const names = new KeyedNames(key)
  for (const length of [0, 1, 255, 256, 257, 100_000])
    for (const unit of ['a', 'é', '€', '\ud83d', '\u{1f600}']) {
      const text = unit.repeat(length)
      expect(names.of(text)).toBe(hmac(key, text))
    }
})

test('a key that HMAC would hash first is refused', () => {
  expect(() => new KeyedNames(new Uint8Array(65))).toThrow(TypeError)
})
