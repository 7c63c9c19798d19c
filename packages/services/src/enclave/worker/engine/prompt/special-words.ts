import type { SpecialToken } from '../engine.ts'

/** The longest word that begins at this offset of the text, or undefined. */
export type WordFinder = (text: string, at: number) => string | undefined

/** Puts `mark` inside every occurrence of a word, and where an end of the text could complete a word begun by its neighbour. */
export type WordBreaker = (text: string, mark: string) => string

/**
 * Finds words out of a few thousand. One set per length and not a regular expression: alternatives are tried one by one, which a text
 * of nothing but `<` would make quadratic.
 */
export function wordFinder(words: readonly string[]): WordFinder {
  const known = new Set(words)
  const lengths = new Map<string, number[]>()
  for (const word of known) {
    const first = word.charAt(0)
    lengths.set(
      first,
      [...new Set([...(lengths.get(first) ?? []), word.length])].sort((a, b) => b - a),
    )
  }
  return (text, at) => {
    for (const length of lengths.get(text.charAt(at)) ?? []) {
      const candidate = text.slice(at, at + length)
      if (known.has(candidate)) return candidate
    }
    return undefined
  }
}

export function wordBreaker(words: readonly string[]): WordBreaker {
  const find = wordFinder(words)
  const prefixes = new Set<string>()
  const suffixes = new Set<string>()
  let longest = 0
  for (const word of words) {
    longest = Math.max(longest, word.length)
    for (let length = 1; length < word.length; length++) {
      prefixes.add(word.slice(0, length))
      suffixes.add(word.slice(length))
    }
  }
  return (text, mark) => {
    // A template may trim what it is given, so white space at the ends does not count.
    const start = text.length - text.trimStart().length
    const end = text.trimEnd().length
    const breaks = new Set<number>()
    for (let length = 1; length < longest && start + length <= end; length++) {
      if (suffixes.has(text.slice(start, start + length))) breaks.add(start)
      if (prefixes.has(text.slice(end - length, end))) breaks.add(end)
    }
    for (let at = 0; at < text.length; at++) if (find(text, at) !== undefined) breaks.add(at + 1)
    let out = ''
    let from = 0
    for (const at of [...breaks].sort((a, b) => a - b)) {
      out += text.slice(from, at) + mark
      from = at
    }
    return out + text.slice(from)
  }
}

/** Text cut at special words, from left to right, the longest first, without the white space that such a word absorbs. */
export function cutAtWords(text: string, find: WordFinder, specials: ReadonlyMap<string, SpecialToken>): (string | SpecialToken)[] {
  const pieces: (string | SpecialToken)[] = []
  let from = 0
  let trimStart = false
  const addPlain = (end: number, trimEnd: boolean): void => {
    let piece = text.slice(from, end)
    if (trimStart) piece = piece.trimStart()
    if (trimEnd) piece = piece.trimEnd()
    if (piece !== '') pieces.push(piece)
  }
  for (let at = 0; at < text.length; ) {
    const word = find(text, at)
    const token = word === undefined ? undefined : specials.get(word)
    if (word === undefined || token === undefined) {
      at++
      continue
    }
    addPlain(at, token.stripsLeft)
    pieces.push(token)
    at += word.length
    from = at
    trimStart = token.stripsRight
  }
  addPlain(text.length, false)
  return pieces
}
