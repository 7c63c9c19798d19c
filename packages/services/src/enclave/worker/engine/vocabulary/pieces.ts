import type { VocabularyTable } from './vocabulary.ts'

/** llama.cpp's type of a token that is one byte. */
export const typeByte = 6

/** Texts up to twice this length are tokenized in one go, and longer ones in pieces of about it. */
const pieceLength = 1_024

/**
 * The same tokens in time that grows with the length. llama.cpp takes time with the square of the length for characters that a SentencePiece vocabulary writes
 * as bytes, and for words that the file declares as user-defined (a line feed may be one), and nothing else can run meanwhile. A text is cut before characters
 * that occur in no longer token, since no merge spans such a place, and behind such words, where the tokenizer begins anew. What it puts in front of every
 * text (a space, where the file asks for one) is taken off the later pieces, except behind a word, where it puts the same.
 *
 * Other vocabularies, and texts without such places, are tokenized as they are.
 */
export function inPieces(table: VocabularyTable, encode: (text: string) => number[], length: number = pieceLength): (text: string) => number[] {
  if (table.kind !== 'spm') return encode
  const places = placesOf(table)
  return (given) => {
    if (given.length <= 2 * length) return encode(given)
    // Half of a pair becomes U+FFFD on its way to the tokenizer in any case.
    const text = given.toWellFormed()
    const tokens: number[] = []
    let cut: Cut = { place: 0, behindWord: true }
    while (cut.place < text.length) {
      const { place: from, behindWord } = cut
      cut = nextCut(text, from, length, places)
      const piece = encode(text.slice(from, cut.place))
      for (let i = behindWord ? 0 : addedBefore(text, from, encode); i < piece.length; i++) tokens.push(piece[i] as number)
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

interface Cut {
  readonly place: number
  /** There the tokenizer begins as it begins a text. */
  readonly behindWord: boolean
}

/** The first place behind `from + length` where a text may be cut; the end where there is none. */
function nextCut(text: string, from: number, length: number, places: Places): Cut {
  // Behind a word, and behind the white space that it may take away, the tokenizer begins anew, with a space where the file asks for one.
  let maybeBehind = false
  for (let place = from + 1; place < text.length; place++) {
    maybeBehind = places.endsInWord(text, place) || (maybeBehind && /\s/.test(text.charAt(place - 1)))
    if (place < from + length) continue
    if (places.isBehindLoneWord(text, place)) return { place, behindWord: true }
    const unit = text.charCodeAt(place)
    if (maybeBehind || (unit >= 0xdc00 && unit <= 0xdfff)) continue
    if (!places.joined.has(String.fromCodePoint(text.codePointAt(place) ?? 0))) return { place, behindWord: false }
  }
  return { place: text.length, behindWord: true }
}

interface Places {
  /** Characters of tokens of several, and of words. */
  readonly joined: ReadonlySet<string>
  /** Whether a word ends just before this place. */
  endsInWord(text: string, place: number): boolean
  /** Whether one certainly does that the tokenizer finds there, whatever stands around it, and that takes no white space away. */
  isBehindLoneWord(text: string, place: number): boolean
}

/** Words are what the tokenizer finds before anything else, the longest first. A space is written as U+2581. */
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
  // A word of one character is found unless a longer one holds that very place, and none does that has not these two units beside each other.
  const stripping = specials.some(([, { stripsLeft, stripsRight }]) => stripsLeft || stripsRight)
  const lone = new Set(stripping ? [] : specials.filter(([name, { kind }]) => kind === 'user-defined' && name.length === 1).map(([name]) => name))
  const inside = new Set([...words].flatMap((word) => Array.from({ length: word.length - 1 }, (_, i) => word.slice(i, i + 2))))
  return {
    joined,
    endsInWord: (text, place) =>
      ends.has(text.charAt(place - 1)) && lengths.some((length) => length <= place && words.has(text.slice(place - length, place))),
    isBehindLoneWord: (text, place) => lone.has(text.charAt(place - 1)) && !inside.has(text.slice(place - 1, place + 1)),
  }
}
