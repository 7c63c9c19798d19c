import type { Json } from 'veritee/bytes'

/**
 * What may stand at one place of a receipt, within its canonical form. Each kind takes less than the strict reader takes where the kind is used
 * (`parseReceipt`, spec/receipt-events.md), and only what is its own canonical form: no escape sequence, no sign, no zero before a number.
 */
export interface SlotKind {
  /** What is constant about it, on either side. */
  readonly before: string
  readonly after: string
  /** Just past the slot that begins at `at`, behind what is before it; -1 where none is. */
  end(text: string, at: number): number
  /** The value of a slot that was found from `at` to `end`. */
  read(text: string, at: number, end: number): Json
}

/** By character code, 1 for those that a slot takes. */
function table(characters: string): Uint8Array {
  const taken = new Uint8Array(128)
  for (let i = 0; i < characters.length; i++) taken[characters.charCodeAt(i)] = 1
  return taken
}

const digits = table('0123456789')
const hexDigits = table('0123456789abcdef')
/** Printable ASCII that no JSON string escapes. */
const plain = table(Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i)).join(''))
  .fill(0, 0x22, 0x23)
  .fill(0, 0x5c, 0x5d)

/** Just past the characters of a table, `max` at most. One more than that is no part of the slot, and what is constant after it does not match. */
function past(taken: Uint8Array, text: string, at: number, max: number): number {
  const limit = Math.min(at + max, text.length)
  let end = at
  while (end < limit && taken[text.charCodeAt(end)] === 1) end++
  return end
}

const slice = (text: string, at: number, end: number): string => text.slice(at, end)

/** An integer from 0, of 15 digits at most: all of those are safe. */
export const integer: SlotKind = {
  before: '',
  after: '',
  end: (text, at) => {
    const end = past(digits, text, at, 15)
    return end === at || (end > at + 1 && text.charCodeAt(at) === 0x30) ? -1 : end
  },
  read: (text, at, end) => Number(text.slice(at, end)),
}

/** Lower-case hex of so many bytes. */
export function hex(bytes: number): SlotKind {
  const length = 2 * bytes
  const end: SlotKind['end'] = (text, at) => (past(hexDigits, text, at, length) === at + length ? at + length : -1)
  return { before: '"', after: '"', end, read: slice }
}

const mark = 'sha256:'

export const digest: SlotKind = { ...hex(32), before: `"${mark}`, read: (text, at, end) => text.slice(at - mark.length, end) }

/** Lower-case hex of 1 to 64 bytes. */
export const seed: SlotKind = {
  before: '"',
  after: '"',
  end: (text, at) => {
    const end = past(hexDigits, text, at, 128)
    return end > at && (end - at) % 2 === 0 ? end : -1
  },
  read: slice,
}

/** A string of so many characters at most. */
export function string(max: number): SlotKind {
  return { before: '"', after: '"', end: (text, at) => past(plain, text, at, max), read: slice }
}

/** One of these. */
export function word(words: readonly string[]): SlotKind {
  const longest = Math.max(...words.map(({ length }) => length))
  const end: SlotKind['end'] = (text, at) => {
    const found = past(plain, text, at, longest)
    return words.includes(text.slice(at, found)) ? found : -1
  }
  return { before: '"', after: '"', end, read: slice }
}

const maxItems = 256
const maxItemLength = 4096

/** A list of strings. */
export const strings: SlotKind = {
  before: '[',
  after: ']',
  end: (text, at) => {
    let end = at
    if (text.charCodeAt(at) !== 0x22) return end
    for (let items = 1; items <= maxItems; items++) {
      end = past(plain, text, end + 1, maxItemLength)
      if (text.charCodeAt(end) !== 0x22) return -1
      end++
      if (text.charCodeAt(end) !== 0x2c) return end
      end++
      if (text.charCodeAt(end) !== 0x22) return -1
    }
    return -1
  },
  read: (text, at, end) => (at === end ? [] : (JSON.parse(text.slice(at - 1, end + 1)) as Json)),
}
