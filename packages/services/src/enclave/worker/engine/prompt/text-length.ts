import type { Vocabulary } from '../engine.ts'

/** No vocabulary in use has tokens longer than this on average, so more text cannot fit and need not be tokenized to know it. */
const maxCharactersPerToken = 64
/** Up to so many characters for each token of the context, and so many in any case, a text is just tokenized. */
const charactersWithoutCount = 4
const mostWithoutCount = 16_384
const pieceLength = 2_048

/**
 * Whether texts are certainly too long for a context. For some texts tokenizers take time with the square of the length, and nothing else can run
 * meanwhile; so long ones are counted in pieces first, until it is clear. A cut makes a few tokens more, never many less.
 */
export function isTooLong(texts: readonly string[], vocabulary: Vocabulary, contextSize: number): boolean {
  const characters = texts.reduce((sum, text) => sum + text.length, 0)
  if (characters <= Math.min(contextSize * charactersWithoutCount, mostWithoutCount)) return false
  if (characters > contextSize * maxCharactersPerToken) return true
  let allowed = 2 * contextSize
  for (const text of texts)
    for (let at = 0; at < text.length; at += pieceLength) {
      allowed += maxCharactersPerToken - vocabulary.encode(text.slice(at, at + pieceLength)).length
      if (allowed < 0) return true
    }
  return false
}
