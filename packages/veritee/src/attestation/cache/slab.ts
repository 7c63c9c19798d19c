// Some quotes, or the certificates in them. Whoever keeps one small piece keeps all of it.
const slabLength = 32_768

/**
 * Memory for bytes that a cache may keep, cut from larger pieces: to allocate a few kilobytes for each verification takes longer than to copy them.
 * What it gives is nobody else's, and never given again.
 */
export class Slab {
  #memory = new Uint8Array(0)
  #used = 0

  /** Zeros, or not: whoever takes them writes to all of them. */
  take(length: number): Uint8Array {
    if (length > slabLength / 4) return new Uint8Array(length)
    if (length > this.#memory.length - this.#used) {
      this.#memory = new Uint8Array(slabLength)
      this.#used = 0
    }
    this.#used += length
    return this.#memory.subarray(this.#used - length, this.#used)
  }

  copy(bytes: Uint8Array): Uint8Array {
    const out = this.take(bytes.length)
    out.set(bytes)
    return out
  }
}
