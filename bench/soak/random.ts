/** Small, seeded and good enough to choose edits: the same (seed, iteration) gives the same choices on every machine. */
export class Random {
  #a: number
  #b: number
  #c: number
  #d = 1

  constructor(seed: number, iteration: number) {
    this.#a = seed | 0
    this.#b = iteration | 0
    this.#c = Math.floor(iteration / 0x1_0000_0000) | 0
    // The first outputs still show the seed.
    for (let i = 0; i < 12; i++) this.next()
  }

  /** 32 bits (sfc32). */
  next(): number {
    const sum = (this.#a + this.#b + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** 0 to below `bound`, which is at least 1. */
  below(bound: number): number {
    return this.next() % bound
  }

  chance(one: number): boolean {
    return this.below(one) === 0
  }

  pick<T>(items: readonly [T, ...T[]] | readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new TypeError('pick: nothing to pick from')
    return item
  }
}
