import { expect, test } from 'vitest'
import type { Vocabulary } from '../../src/enclave/worker/engine/index.ts'
import { tokensHmac } from '../../src/enclave/worker/served-model.ts'
import type { ClaimedChoice } from '../../src/replay/claim.ts'
import { findTokens } from '../../src/replay/tokens.ts'

const key = new Uint8Array(32)

/** Each character is a token. */
function bytewise(): { readonly vocabulary: Vocabulary; readonly lengths: number[] } {
  const lengths: number[] = []
  const encode = (text: string): number[] => {
    lengths.push(text.length)
    return Array.from(text, (character) => character.charCodeAt(0))
  }
  return { vocabulary: { encode, specials: new Map(), isEndOfGeneration: () => false } as Partial<Vocabulary> as Vocabulary, lengths }
}

const claim = (text: string, tokens: number, hmac = '00'.repeat(32)): ClaimedChoice => ({
  tokens,
  hmac,
  outcome: 'complete',
  answer: { text, calls: [], finishReason: 'stop', tokens: null },
})

test('an answer that cannot be so few tokens is not tokenized as a whole to know it, with stop strings neither', () => {
  for (const [text, stop] of [
    ['\u0001'.repeat(400_000), []],
    ['\u0001'.repeat(16_000), ['\u0001'.repeat(400_000)]],
  ] as const) {
    const { vocabulary, lengths } = bytewise()
    expect(findTokens(claim(text, 4096), text, stop, key, vocabulary)).toBeNull()
    expect(Math.max(...lengths)).toBeLessThan(16_384)
  }
})

test('a long answer is found by its text', () => {
  const text = 'abcd'.repeat(10_000)
  const tokens = Array.from(text, (character) => character.charCodeAt(0))
  expect(findTokens(claim(text, tokens.length, tokensHmac(key, tokens)), text, [], key, bytewise().vocabulary)).toEqual(tokens)
  expect(
    findTokens(claim(text.slice(0, -1), tokens.length, tokensHmac(key, tokens)), text.slice(0, -1), ['x', 'd'], key, bytewise().vocabulary),
  ).toEqual(tokens)
})
