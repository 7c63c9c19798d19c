import { hash, randomBytes } from 'node:crypto'

/** Two words of 32 bits stand for each value. */
const words = 2
const firstSlots = 1024
const valueBytes = 32

/**
 * Which encapsulated keys one private key has accepted (rule S4). In memory only, and gone with the key: nobody outside can take a value away.
 * Values are kept as 64 bits of a keyed hash. Nobody who does not hold the hash's key can choose values that meet, and where two of the most that fit meet, which
 * happens once in about two million full memories, a request is refused that need not be; one that must be refused never passes.
 */
export class ReplayMemory {
  readonly capacity: number
  /** A secret, then the value: all values have one length, so a prefix is key enough, and it is the fastest. */
  readonly #keyed = Buffer.concat([randomBytes(32), Buffer.alloc(valueBytes)])
  #slots = firstSlots
  #table = new Uint32Array(firstSlots * words)
  #size = 0

  /** `capacity` values at most, for each of which at most 16 bytes are taken. */
  constructor(capacity: number) {
    this.capacity = capacity
  }

  get size(): number {
    return this.#size
  }

  /** Takes a value in. `seen` where it had been taken in before, `full` where there is room for no more. */
  accept(value: Uint8Array): 'new' | 'seen' | 'full' {
    if (value.length !== valueBytes) throw new TypeError(`ReplayMemory: expected values of ${valueBytes} bytes`)
    this.#keyed.set(value, this.#keyed.length - valueBytes)
    const tag = hash('sha256', this.#keyed, 'buffer')
    // Zero stands for an empty slot.
    const high = (tag.readUInt32LE(0) | 1) >>> 0
    const low = tag.readUInt32LE(4)
    if (this.#find(high, low) === null) return 'seen'
    if (this.#size >= this.capacity) return 'full'
    if (this.#size >= this.#slots / 2) this.#grow()
    this.#put(high, low)
    this.#size++
    return 'new'
  }

  /** The slot for a value that is not there; null where it is. */
  #find(high: number, low: number): number | null {
    for (let slot = low & (this.#slots - 1); ; slot = (slot + 1) & (this.#slots - 1)) {
      const at = slot * words
      if (this.#table[at] === 0) return at
      if (this.#table[at] === high && this.#table[at + 1] === low) return null
    }
  }

  #put(high: number, low: number): void {
    const at = this.#find(high, low)
    if (at === null) return
    this.#table[at] = high
    this.#table[at + 1] = low
  }

  #grow(): void {
    const old = this.#table
    this.#slots *= 2
    this.#table = new Uint32Array(this.#slots * words)
    for (let at = 0; at < old.length; at += words) {
      const high = old[at] as number
      if (high !== 0) this.#put(high, old[at + 1] as number)
    }
  }
}
