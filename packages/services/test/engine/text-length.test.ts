import { expect, test } from 'vitest'
import type { Vocabulary } from '../../src/enclave/worker/engine/index.ts'
import { isTooLong } from '../../src/enclave/worker/engine/index.ts'

/** So many tokens for each character. */
function counting(perCharacter: number): { readonly vocabulary: Vocabulary; readonly lengths: number[] } {
  const lengths: number[] = []
  const encode = (text: string): number[] => {
    lengths.push(text.length)
    return Array.from({ length: Math.ceil(text.length * perCharacter) }, () => 0)
  }
  return { vocabulary: { encode } as Partial<Vocabulary> as Vocabulary, lengths }
}

test('a long context is no reason to tokenize a long text as a whole before it is known to fit', () => {
  const { vocabulary, lengths } = counting(3)
  expect(isTooLong(['\u0001'.repeat(400_000)], vocabulary, 131_072)).toBe(true)
  expect(Math.max(...lengths)).toBeLessThanOrEqual(2048)
  // It ends when it is clear, not at the end of the text.
  expect(lengths.length * 2048).toBeLessThan(200_000)
})

test('what may fit is not refused, and what is short is not counted', () => {
  expect(isTooLong(['word '.repeat(80_000)], counting(0.2).vocabulary, 131_072)).toBe(false)
  const short = counting(1)
  expect(isTooLong(['x'.repeat(16_384)], short.vocabulary, 131_072)).toBe(false)
  expect(short.lengths).toEqual([])
})
