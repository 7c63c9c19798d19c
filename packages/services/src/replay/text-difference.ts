import { TextStream } from '../enclave/worker/engine/completion/text-stream.ts'
import type { Vocabulary } from '../enclave/worker/engine/index.ts'

/**
 * Position of the first token that writes what the text does not have there; null where all agree. Two tokens may begin alike, so the first token that
 * really differs may stand before. Where the text is the beginning of an answer only, what is written after its end counts for nothing.
 */
export function textDifference(
  tokens: readonly number[],
  bytesOf: Vocabulary['bytes'],
  text: string,
  { stop, isBeginning }: { readonly stop: readonly string[]; readonly isBeginning: boolean },
): number | null {
  const stream = new TextStream(stop)
  let written = ''
  for (const [position, token] of tokens.entries()) {
    written += stream.add(bytesOf(token)).text
    const agrees = written.length <= text.length ? text.startsWith(written) : isBeginning && written.startsWith(text)
    if (!agrees) return position
  }
  return null
}
