import { timingSafeEqual } from 'node:crypto'
import { toldToken } from '../enclave/worker/engine/completion/follow.ts'
import { isTooLong, type Vocabulary } from '../enclave/worker/engine/index.ts'
import { tokensHmac } from '../enclave/worker/served-model.ts'
import type { AnswerToken } from './answer.ts'
import type { ClaimedChoice } from './claim.ts'

/** More ways to read an answer as tokens than this are not tried: each costs one HMAC over all of them. */
const maxReadings = 1024

/** No token in use is longer; a text that is cannot be written by so many tokens, and is not tokenized to know it. */
const maxCharactersPerToken = 512

/** Longer texts are counted in pieces first: for some, tokenizing takes time with the square of the length, and a worker says how long its answer is. */
const writtenAtOnce = 16_384

/** True where these are the tokens that the digest in the receipt is over. */
export function isTokensOf(key: Uint8Array, tokens: readonly number[], digest: string): boolean {
  return timingSafeEqual(Buffer.from(tokensHmac(key, tokens), 'hex'), Buffer.from(digest, 'hex'))
}

/**
 * The very tokens of an answer, where they can be known: the receipt holds their number and a keyed digest, so a guess can be checked. Guesses are the
 * tokens in the response's `logprobs`, and the vocabulary's own way to write `text`, each with what an answer ends with. null where none is it: an
 * answer that was sampled is often written in an uncommon way, and a stop string hides its last tokens.
 */
export function findTokens(
  { tokens: count, hmac, answer }: ClaimedChoice,
  text: string,
  stop: readonly string[],
  receiptKey: Uint8Array | null,
  vocabulary: Vocabulary,
): readonly number[] | null {
  if (receiptKey === null) return null
  const isIt = (tokens: readonly number[]): boolean => tokens.length === count && isTokensOf(receiptKey, tokens, hmac)
  const ends = endTokens(vocabulary)
  const completed = (tokens: readonly number[]): (readonly number[])[] => [tokens, ...ends.map((end) => [...tokens, end])]

  for (const reading of readings(answer.tokens ?? [], vocabulary)) for (const tokens of completed(reading)) if (isIt(tokens)) return tokens
  for (const ending of ['', ...stop]) {
    const whole = text + ending
    if (whole.length > maxCharactersPerToken * count || (whole.length > writtenAtOnce && isTooLong([whole], vocabulary, count))) continue
    for (const written of writings(whole, vocabulary)) for (const tokens of completed(written)) if (isIt(tokens)) return tokens
  }
  return null
}

/** The vocabulary's way to write a text in the middle of one, and at its beginning, where some vocabularies put a space in front. */
export function writings(text: string, vocabulary: Vocabulary): (readonly number[])[] {
  const lead = vocabulary.encode('\n')
  const within = vocabulary.encode(`\n${text}`)
  const plain = vocabulary.encode(text)
  return lead.every((token, i) => within[i] === token) ? [within.slice(lead.length), plain] : [plain]
}

export function endTokens(vocabulary: Vocabulary): readonly number[] {
  return [...vocabulary.specials.values()].map(({ id }) => id).filter((id) => vocabulary.isEndOfGeneration(id))
}

/** Each way to read a list of token bytes as token ids: several tokens may have equal bytes. */
function* readings(tokens: readonly AnswerToken[], vocabulary: Vocabulary): Generator<readonly number[]> {
  if (tokens.length === 0) return
  const idsOf = new Map<string, number[]>()
  const isNamed = tokens[0]?.bytes === null
  for (let id = 0; id < vocabulary.size; id++) {
    const key = keyOfToken(id, isNamed, vocabulary)
    // The later ones first: a vocabulary begins with a token for each byte, which a model hardly writes where it has a word.
    idsOf.set(key, [id, ...(idsOf.get(key) ?? [])])
  }
  const choices = tokens.map(({ bytes, name }) => idsOf.get(keyOf(bytes, name)) ?? [])
  const count = choices.reduce((product, { length }) => product * length, 1)
  for (let reading = 0; reading < Math.min(count, maxReadings); reading++) {
    let rest = reading
    yield choices.map((ids) => {
      const id = ids[rest % ids.length] as number
      rest = Math.floor(rest / ids.length)
      return id
    })
  }
}

/** Position of the first token that is none of those which may be told so; null where there is none. Several tokens may be told alike. */
export function tokenDifference(tokens: readonly number[], told: readonly AnswerToken[], vocabulary: Vocabulary): number | null {
  const at = told
    .slice(0, tokens.length)
    .findIndex(({ bytes, name }, i) => keyOf(bytes, name) !== keyOfToken(tokens[i] as number, bytes === null, vocabulary))
  return at === -1 ? null : at
}

function keyOfToken(id: number, isNamed: boolean, vocabulary: Vocabulary): string {
  return isNamed ? keyOf(null, toldToken(id, vocabulary)) : keyOf(vocabulary.bytes(id), vocabulary.name(id))
}

/** A control token has no bytes; its name tells it from the others. */
function keyOf(bytes: ArrayLike<number> | null, name: string): string {
  return bytes === null || bytes.length === 0 ? `name ${name}` : `bytes ${Array.from(bytes).join()}`
}
