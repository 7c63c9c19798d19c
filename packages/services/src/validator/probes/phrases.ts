import { type Draws, shuffled } from './draws.ts'
import { leastBits } from './templates.ts'

/** A text and how many bits of the seed decided what stands in it. */
export interface Varied {
  readonly text: string
  readonly bits: number
}

const wordOrNumber = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu
const pieceEnd = /(?<=[.!?])\s+|\n+/
const leastPieces = 4
const digits = /^[0-9]+$/
/** Of a reference, as many programs write them: six bits each. */
const marks = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

/**
 * Knows which words stand between which others in a set of texts, and by that varies one of them: each exchanged word stood between the same two elsewhere, so that every
 * pair of words that comes of a single exchange has been written by somebody. Numbers become others of as many digits. Of what has several sentences or lines, some become
 * others of about the same length. What is read is bounded by whoever reads it.
 */
export class Phrases {
  readonly #between = new Map<string, Set<string>>()
  /** Sentences and lines, by their length in steps of a fifth, and their end. */
  readonly #pieces = new Map<string, Set<string>>()

  constructor(texts: Iterable<string>) {
    for (const text of texts) {
      const words = wordsOf(text)
      for (const [i, word] of words.entries()) {
        if (digits.test(word)) continue
        const place = placeOf(words, i)
        const known = this.#between.get(place) ?? new Set()
        if (known.size < 64) known.add(word)
        this.#between.set(place, known)
      }
      const pieces = text.split(pieceEnd)
      for (const piece of pieces.length < leastPieces ? [] : pieces) this.#piecesLike(piece).add(piece)
    }
  }

  #piecesLike(piece: string): Set<string> {
    const kind = `${Math.round(Math.log(1 + piece.length) / Math.log(1.2))} ${/[.!?:;,]?$/.exec(piece)?.[0] ?? ''}`
    const known = this.#pieces.get(kind) ?? new Set()
    this.#pieces.set(kind, known)
    return known
  }

  /**
   * Varies a text until `bits` bits of the draws are in it: first by words and numbers, in an order that is drawn too, then by sentences and lines, then by a reference at its
   * end; for that a shorter one of `alike` is taken, where there is one, or last words are left out, so that it comes out about as long. Bits are counted as the logarithm of the number of values of each
   * exchange, each as likely; which ones are exchanged is not counted.
   */
  vary(text: string, bits: number, draws: Draws, alike: readonly string[] = []): Varied {
    const first = this.#exchanged(text, bits, draws)
    if (first.bits >= bits) return first
    const reference = referenceOf(bits - first.bits, draws)
    const wanted = text.length - reference.text.length
    const shorter = alike.reduce((best, one) => (Math.abs(one.length - wanted) < Math.abs(best.length - wanted) ? one : best), text)
    const cut = withoutLastWords(shorter, wanted)
    const base = cut === text ? first : this.#exchanged(cut, bits, draws)
    // The other one may have had fewer places.
    const rest = base.bits + reference.bits >= bits ? reference : referenceOf(bits - base.bits, draws)
    return { text: `${base.text}${rest.text}`, bits: base.bits + rest.bits }
  }

  #exchanged(text: string, bits: number, draws: Draws): Varied {
    const words = this.#exchangedWords(text, bits, draws)
    return words.bits >= bits ? words : this.#exchangedPieces(words, bits, draws)
  }

  #exchangedPieces({ text, bits: before }: Varied, bits: number, draws: Draws): Varied {
    const pieces = text.split(pieceEnd)
    if (pieces.length < leastPieces) return { text, bits: before }
    const gaps = text.match(new RegExp(pieceEnd, 'g')) ?? []
    let found = before
    // What is asked for stands first or last.
    for (const at of shuffled([...pieces.keys()].slice(1, -1), draws)) {
      if (found >= bits) break
      const others = [...this.#piecesLike(pieces[at] ?? '')]
      if (others.length < 2) continue
      pieces[at] = draws.of(others)
      found += Math.log2(others.length)
    }
    return { text: pieces.map((piece, i) => `${piece}${gaps[i] ?? ''}`).join(''), bits: found }
  }

  #exchangedWords(text: string, bits: number, draws: Draws): Varied {
    const words = wordsOf(text)
    const gaps = text.split(wordOrNumber)
    const order = shuffled([...words.keys()], draws)
    let found = 0
    for (const at of order) {
      if (found >= bits) break
      const word = words[at] ?? ''
      if (digits.test(word)) {
        if (word.length > 9) continue
        const first = word.length > 1 ? 1 + draws.below(9) : draws.below(10)
        words[at] = `${first}${Array.from({ length: word.length - 1 }, () => draws.below(10)).join('')}`
        found += Math.log2(word.length > 1 ? 9 : 10) + (word.length - 1) * Math.log2(10)
        continue
      }
      const others = [...(this.#between.get(placeOf(words, at)) ?? [])].filter((other) => shapeOf(other) === shapeOf(word))
      if (others.length < 2) continue
      words[at] = draws.of(others)
      found += Math.log2(others.length)
    }
    const varied = gaps.map((gap, i) => `${gap}${words[i] ?? ''}`).join('')
    return { text: varied, bits: found }
  }
}

function wordsOf(text: string): string[] {
  return text.match(wordOrNumber) ?? []
}

function placeOf(words: readonly string[], at: number): string {
  return `${words[at - 1]?.toLowerCase() ?? ''} ${words[at + 1]?.toLowerCase() ?? ''}`
}

/** Capitals stay where they are. */
function shapeOf(word: string): string {
  return /^\p{Lu}/u.test(word) ? (word.length > 1 && word === word.toUpperCase() ? 'all' : 'first') : 'none'
}

const references = [' #{}', ' {}', '\n{}', ' ({})', ' id {}'] as const

/** Down to so many characters, and to two thirds of the text at most: it stays a question. */
function withoutLastWords(text: string, wanted: number): string {
  const least = Math.max(wanted, Math.ceil((2 * text.length) / 3))
  if (text.length <= least) return text
  const end = text.slice(0, least).search(/\s\S*$/)
  return end < text.length / 2 ? text : text.slice(0, end)
}

/** The least that holds so many bits, up to those of a prompt. */
function referenceOf(bits: number, draws: Draws): Varied {
  const length = Math.ceil(Math.min(leastBits, bits) / 6)
  const reference = Array.from({ length }, () => marks[draws.below(marks.length)]).join('')
  return { text: draws.of(references).replace('{}', reference), bits: 6 * length }
}
