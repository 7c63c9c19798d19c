import { randomInt } from 'node:crypto'

/** Which name it is: one row has both kinds, and a name of one kind says nothing of the other. */
export type NameKind = 'key' | 'alias'

const smallest = 1024

/**
 * Which rows may have a name: a hash of each name and the number of its row, 8 bytes together, in a table with open addressing that is at most three quarters
 * full (Knuth, The Art of Computer Programming 3, 6.4, algorithms L and R). Two names may have one hash, so the row itself has the last word: whoever asks looks
 * there.
 *
 * In memory, since in a file each name dirties a page of its own, wherever its hash falls: 8 MiB for 250,000 rows of two names.
 */
export class NameIndex {
  readonly #seed = randomInt(2 ** 32)
  /** 0: nothing here. */
  #hashes = new Uint32Array(smallest)
  /** The low 32 bits: rows that are more than 2^32 numbers older than the newest are not found. */
  #numbers = new Uint32Array(smallest)
  #size = 0
  #newest = 0
  /** The last name of each kind: who puts a row looks first whether there is one. */
  readonly #last = { key: { name: '', hash: 0 }, alias: { name: '', hash: 0 } }

  add(kind: NameKind, name: string, number: number): void {
    if (this.#size >= this.#hashes.length * 0.75) this.#grow()
    this.#place(this.#hash(kind, name), number)
    this.#size++
    this.#newest = Math.max(this.#newest, number)
  }

  /** The number of a row that `has` confirms to have this name; null where none does. */
  find(kind: NameKind, name: string, has: (number: number) => boolean): number | null {
    const hash = this.#hash(kind, name)
    for (let at = this.#home(hash); this.#hashes[at] !== 0; at = this.#next(at)) {
      if (this.#hashes[at] !== hash) continue
      const number = this.#newest - ((this.#newest - (this.#numbers[at] ?? 0)) >>> 0)
      if (has(number)) return number
    }
    return null
  }

  /** Forgets the name of this very row; nothing where it is not there. */
  remove(kind: NameKind, name: string, number: number): void {
    const hash = this.#hash(kind, name)
    let at = this.#home(hash)
    while (this.#hashes[at] !== hash || this.#numbers[at] !== number >>> 0) {
      if (this.#hashes[at] === 0) return
      at = this.#next(at)
    }
    this.#size--
    // What comes behind and could stand here moves up, so that no search ends at the gap.
    for (let gap = at, from = this.#next(at); ; from = this.#next(from)) {
      const moved = this.#hashes[from] ?? 0
      if (moved === 0) {
        this.#hashes[gap] = 0
        return
      }
      if (this.#distance(this.#home(moved), from) < this.#distance(gap, from)) continue
      this.#hashes[gap] = moved
      this.#numbers[gap] = this.#numbers[from] ?? 0
      gap = from
    }
  }

  #grow(): void {
    const [hashes, numbers] = [this.#hashes, this.#numbers]
    this.#hashes = new Uint32Array(hashes.length * 2)
    this.#numbers = new Uint32Array(hashes.length * 2)
    // By their places: an iterator would make a pair for each, of hundreds of thousands at once.
    for (let at = 0; at < hashes.length; at++) {
      const hash = hashes[at] ?? 0
      if (hash !== 0) this.#place(hash, numbers[at] ?? 0)
    }
  }

  #place(hash: number, number: number): void {
    let at = this.#home(hash)
    while (this.#hashes[at] !== 0) at = this.#next(at)
    this.#hashes[at] = hash
    this.#numbers[at] = number
  }

  /** FNV-1a from a start that nobody else knows, its bits mixed once more (the end of MurmurHash3). */
  #hash(kind: NameKind, name: string): number {
    const last = this.#last[kind]
    if (last.name === name && name !== '') return last.hash
    let hash = this.#seed ^ (kind === 'key' ? 0 : 0x9e3779b9)
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    last.name = name
    last.hash = (hash ^ (hash >>> 16)) >>> 0 || 1
    return last.hash
  }

  #home(hash: number): number {
    return hash & (this.#hashes.length - 1)
  }

  #next(at: number): number {
    return (at + 1) & (this.#hashes.length - 1)
  }

  #distance(from: number, to: number): number {
    return (to - from) & (this.#hashes.length - 1)
  }
}
