import { equal, utf8 } from 'veritee/bytes'
import type { Choice, Guide, Vocabulary } from '../enclave/worker/engine/index.ts'
import { endTokens, writings } from './tokens.ts'

/**
 * Follows known tokens whatever is chosen, and tells each choice beside the token that the answer has there. A token that may not come at all (`isHeld`:
 * the answer is held to a form, which is known once it runs) is not followed: from there on nothing is comparable.
 */
export function followTokens(tokens: readonly number[], isHeld: () => boolean, onChoice: (choice: Choice, token: number) => void): Guide {
  return {
    expect: (sofar) => tokens.slice(sofar.length),
    replace: (choice) => {
      const token = tokens[choice.position] ?? choice.token
      onChoice(choice, token)
      return isHeld() ? choice.token : token
    },
  }
}

/** Enough text for a batch of tokens. It may end within a character, whose token is then a wrong guess. */
const aheadBytes = 1024

/** Expects tokens that write the rest of a text; what is chosen stays chosen. */
export function expectText(text: string, vocabulary: Vocabulary): Guide {
  const bytes = utf8(text)
  const ends = endTokens(vocabulary)
  const end = vocabulary.eos !== null && ends.includes(vocabulary.eos) ? [vocabulary.eos] : ends.slice(0, 1)
  let read = 0
  let at = 0
  let lost = false
  return {
    expect: (tokens) => {
      for (; read < tokens.length && !lost; read++) {
        const written = vocabulary.bytes(tokens[read] as number)
        lost = !equal(written, bytes.subarray(at, at + written.length))
        at += written.length
      }
      if (lost) return []
      return [...(writings(new TextDecoder().decode(bytes.subarray(at, at + aheadBytes)), vocabulary)[0] ?? []), ...end]
    },
  }
}
