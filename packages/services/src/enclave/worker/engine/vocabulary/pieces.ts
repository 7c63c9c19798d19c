import type { VocabularyTable } from './vocabulary.ts'

/** llama.cpp's type of a token that is one byte. */
export const typeByte = 6

/** Texts up to this length are tokenized in one go, and longer ones in pieces of about it. */
const pieceLength = 2_048

/**
 * The same tokens in time that grows with the length: for characters that a SentencePiece vocabulary writes as bytes, llama.cpp takes time with the square of
 * their number, and nothing else can run meanwhile. A text is cut before characters that occur in no longer token: no merge spans such a place. What the
 * tokenizer puts in front of every text (a space, where the file asks for one) is taken off the later pieces.
 *
 * Other vocabularies, and texts without such characters, are tokenized as they are.
 */
export function inPieces(table: VocabularyTable, encode: (text: string) => number[], length: number = pieceLength): (text: string) => number[] {
  if (table.kind !== 'spm') return encode
  const places = placesOf(table)
  return (text) => {
    if (text.length <= 2 * length) return encode(text)
    const tokens: number[] = []
    let from = 0
    while (from < text.length) {
      const to = nextCut(text, from, length, places)
      const piece = encode(text.slice(from, to))
      const added = from === 0 ? 0 : addedBefore(text, from, encode)
      for (let i = added; i < piece.length; i++) tokens.push(piece[i] as number)
      from = to
    }
    return tokens
  }
}

/** How many tokens stand before the first character of a text that begins here, which is one that never joins with what is before it. */
function addedBefore(text: string, at: number, encode: (text: string) => number[]): number {
  const character = String.fromCodePoint(text.codePointAt(at) ?? 0)
  // Twice, less once: what is left is what one of them takes, and the rest was added.
  const [once, twice] = [encode(character).length, encode(character + character).length]
  return 2 * once - twice
}

/** The first place behind `from + length` before a character that no longer token holds; the end where there is none. */
function nextCut(text: string, from: number, length: number, { joined, endsInWord }: Places): number {
  // Behind a word, and behind the white space that it may take away, the tokenizer begins anew, with a space where the file asks for one.
  let behindWord = false
  for (let place = from + 1; place < text.length; place++) {
    behindWord = endsInWord(text, place) || (behindWord && /\s/.test(text.charAt(place - 1)))
    if (behindWord || place < from + length) continue
    const unit = text.charCodeAt(place)
    // Not within a pair, and not before half of one, which becomes another character on its way.
    if (unit >= 0xdc00 && unit <= 0xdfff) continue
    const character = String.fromCodePoint(text.codePointAt(place) ?? 0)
    if (unit >= 0xd800 && unit <= 0xdbff && character.length === 1) continue
    if (!joined.has(character)) return place
  }
  return text.length
}

interface Places {
  /** Characters of tokens of several, and of words. */
  readonly joined: ReadonlySet<string>
  /** Whether a word ends just before this place. */
  endsInWord(text: string, place: number): boolean
}

/** Words are what the tokenizer finds before anything else. A space is written as U+2581. */
function placesOf({ names, types, specials }: VocabularyTable): Places {
  const words = new Set(specials.map(([name]) => name))
  const lengths = [...new Set([...words].map(({ length }) => length))]
  const ends = new Set([...words].map((word) => word.at(-1)))
  const joined = new Set<string>([' '])
  for (const [token, name] of names.entries()) {
    if (types?.[token] === typeByte) continue
    const characters = [...name]
    if (characters.length > 1 || words.has(name)) for (const character of characters) joined.add(character)
  }
  return {
    joined,
    endsInWord: (text, place) =>
      ends.has(text.charAt(place - 1)) && lengths.some((length) => length <= place && words.has(text.slice(place - length, place))),
  }
}
