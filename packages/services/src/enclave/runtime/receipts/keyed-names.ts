import { createHmac, createSecretKey, hash, type KeyObject } from 'node:crypto'

const blockBytes = 64
/** Of names that are made here: ids, digests. Whoever asks for a receipt may name any. */
const shortName = 256

/**
 * HMAC-SHA-256 of short texts under one key, hex. Node's own makes an object for each that takes twice as long as the four blocks it hashes; this is its definition
 * (RFC 2104, section 2), with the two padded keys ready.
 */
export class KeyedNames {
  readonly #key: KeyObject
  readonly #inner = Buffer.alloc(blockBytes + 3 * shortName, 0x36)
  readonly #outer = Buffer.alloc(blockBytes + 32, 0x5c)

  /** Throws TypeError for a key that is longer than a block. */
  constructor(key: Uint8Array) {
    if (key.length > blockBytes) throw new TypeError(`KeyedNames: expected a key of at most ${blockBytes} bytes`)
    this.#key = createSecretKey(key)
    for (const [at, byte] of key.entries()) {
      this.#inner[at] = byte ^ 0x36
      this.#outer[at] = byte ^ 0x5c
    }
  }

  of(text: string): string {
    if (text.length > shortName) return createHmac('sha256', this.#key).update(text).digest('hex')
    const end = blockBytes + this.#inner.write(text, blockBytes)
    this.#outer.write(hash('sha256', this.#inner.subarray(0, end), 'hex'), blockBytes, 'hex')
    return hash('sha256', this.#outer, 'hex')
  }
}
