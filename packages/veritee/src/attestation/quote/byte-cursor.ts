import { fail } from '../../errors.ts'

/** Reads little-endian fields in order; results are views. Throws `quote_malformed` at the end of the bytes. */
export class ByteCursor {
  readonly #bytes: Uint8Array
  #at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes
    this.#at = at
  }

  get position(): number {
    return this.#at
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  skip(length: number, what: string): void {
    if (length > this.remaining) throw fail('quote_malformed', `${what}: expected ${length} bytes, found ${this.remaining}`)
    this.#at += length
  }

  take(length: number, what: string): Uint8Array {
    this.skip(length, what)
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  u16(what: string): number {
    this.skip(2, what)
    return (this.#bytes[this.#at - 2] as number) | ((this.#bytes[this.#at - 1] as number) << 8)
  }

  u32(what: string): number {
    const low = this.u16(what)
    return low + this.u16(what) * 0x1_0000
  }

  /** Refuses bytes left over inside a declared length. */
  finish(what: string): void {
    if (this.remaining > 0) throw fail('quote_malformed', `${what}: ${this.remaining} bytes more than its parts need`)
  }
}
