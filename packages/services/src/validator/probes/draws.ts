import { createHmac } from 'node:crypto'

/**
 * Choices that follow from a seed and a label alone: HMAC-SHA-256(seed, label || LF || counter in decimal), 8 bytes at a time. Whoever has the seed draws the
 * same; whoever has not knows nothing of them.
 */
export class Draws {
  readonly #seed: Uint8Array
  readonly #label: string
  #counter = 0
  #left = Buffer.alloc(0)

  constructor(seed: Uint8Array, label: string) {
    this.#seed = seed
    this.#label = label
  }

  /** A whole number from 0 to 2^48 - 1. */
  bits48(): number {
    if (this.#left.length < 6) {
      this.#left = createHmac('sha256', this.#seed).update(`${this.#label}\n${this.#counter}`).digest()
      this.#counter++
    }
    const value = this.#left.readUIntBE(0, 6)
    this.#left = this.#left.subarray(6)
    return value
  }

  /** From -2^63 to 2^63 - 1, each as likely. */
  int64(): bigint {
    const [high, low] = [BigInt(this.bits48()), BigInt(this.below(2 ** 16))]
    return BigInt.asIntN(64, (high << 16n) | low)
  }

  /** A whole number from 0 to below `count`, each as likely; `count` up to 2^32. */
  below(count: number): number {
    const limit = 2 ** 48 - (2 ** 48 % count)
    for (;;) {
      const value = this.bits48()
      if (value < limit) return value % count
    }
  }

  of<T>(list: readonly T[]): T {
    const chosen = list[this.below(list.length)]
    if (chosen === undefined) throw new TypeError('Draws.of: expected a list that is not empty')
    return chosen
  }

  /** Above 0, at most 1. */
  unit(): number {
    return (this.bits48() + 1) / 2 ** 48
  }

  /** Of the normal distribution with mean 0 and variance 1. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(this.unit())) * Math.cos(2 * Math.PI * this.unit())
  }

  /** Seconds to the next event of a Poisson process with `perSecond` events a second. */
  pause(perSecond: number): number {
    return -Math.log(this.unit()) / perSecond
  }
}

/** In another order, each as likely. */
export function shuffled<T>(list: readonly T[], draws: Draws): T[] {
  const order = [...list]
  for (let i = order.length - 1; i > 0; i--) {
    const j = draws.below(i + 1)
    const held = order[i] as T
    order[i] = order[j] as T
    order[j] = held
  }
  return order
}
