/**
 * Objects of one kind, each under the exact text it was made from, or under {@link tailOf} the bytes. At most `maxEntries`; the least recently used
 * go first, half of them at a time: an exact order of use would have to be rewritten on each hit.
 *
 * Text keys are whole contents and not digests of them: a `Map` compares them in full, so a hit says that every character is the same.
 */
export class Shelf<K extends string | number, V> {
  readonly #half: number
  #recent = new Map<K, V>()
  #older = new Map<K, V>()

  constructor(maxEntries: number) {
    this.#half = Math.ceil(maxEntries / 2)
  }

  get(key: K): V | undefined {
    const recent = this.#recent.get(key)
    if (recent !== undefined) return recent
    const older = this.#older.get(key)
    if (older !== undefined) this.set(key, older)
    return older
  }

  has(key: K): boolean {
    return this.#recent.has(key) || this.#older.has(key)
  }

  set(key: K, value: V): void {
    this.#older.delete(key)
    this.#recent.set(key, value)
    if (this.#recent.size < this.#half) return
    this.#older = this.#recent
    this.#recent = new Map()
  }
}

/**
 * What one verification sees of a shelf, or of none: what the shelf has, and what the verification itself has made. The latter reaches the shelf with
 * {@link ShelfView.commit}, which `verifyQuote` calls when everything has passed: nothing that only a failed verification has met is ever kept.
 */
export class ShelfView<K extends string | number, V> {
  readonly #shelf: Shelf<K, V> | null
  // A verification makes a handful of each kind. Comparing with so few is cheaper than a Map, which would hash whole texts.
  #own: [K, V][] | null = null

  constructor(shelf: Shelf<K, V> | null) {
    this.#shelf = shelf
  }

  get(key: K): V | undefined {
    if (this.#own !== null) for (const one of this.#own) if (one[0] === key) return one[1]
    return this.#shelf?.get(key)
  }

  set(key: K, value: V): V {
    if (this.#own === null) this.#own = []
    for (const one of this.#own)
      if (one[0] === key) {
        one[1] = value
        return value
      }
    this.#own.push([key, value])
    return value
  }

  commit(): void {
    if (this.#shelf === null || this.#own === null) return
    for (const [key, value] of this.#own) this.#shelf.set(key, value)
    this.#own = null
  }
}

/**
 * The last 30 bits of some bytes, or of those before `end`, as a key that is cheap to make. In keys and signatures these are as good as random; whoever finds something by them
 * compares the whole bytes.
 */
export function tailOf(bytes: Uint8Array, end: number = bytes.length): number {
  const at = (fromEnd: number): number => bytes[end - fromEnd] as number
  return at(1) | (at(2) << 8) | (at(3) << 16) | ((at(4) & 0x3f) << 24)
}

/** The same of base64, from its last eight characters. */
export function tailOfText(text: string): number {
  let tail = 0
  for (let at = Math.max(0, text.length - 8); at < text.length; at++) tail = (Math.imul(tail, 31) + text.charCodeAt(at)) & 0x3fff_ffff
  return tail
}
