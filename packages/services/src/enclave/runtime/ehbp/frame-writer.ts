import { createCipheriv } from 'node:crypto'
import { writtenFrameBytes } from 'veritee/ehbp'

const lengthBytes = 4
const tagBytes = 16

interface Key {
  readonly key: Uint8Array
  readonly baseNonce: Uint8Array
}

/** As `sealAes256Gcm` of the library, at once: what is written to a response cannot wait for a promise. */
export function sealNow({ key, baseNonce }: Key, plain: Uint8Array): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, baseNonce, { authTagLength: tagBytes })
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** The frames of an answer (spec/ehbp-binding.md), sealed one after the other and without waiting. */
export class FrameWriter {
  readonly #key: Uint8Array
  readonly #nonce: Buffer
  /** The last four bytes of the base nonce, into which the number of the frame goes. */
  readonly #base: number
  #index = 0

  constructor({ key, baseNonce }: Key) {
    this.#key = key
    this.#nonce = Buffer.from(baseNonce)
    this.#base = this.#nonce.readUInt32BE(8)
  }

  /** The frames of a piece of plain text; none for an empty one. */
  seal(plain: Uint8Array): Buffer {
    const frames: Buffer[] = []
    for (let from = 0; from < plain.length; from += writtenFrameBytes) frames.push(...this.#frame(plain.subarray(from, from + writtenFrameBytes)))
    return Buffer.concat(frames)
  }

  #frame(plain: Uint8Array): Buffer[] {
    if (this.#index > 0xffffffff) throw new RangeError('FrameWriter: too many frames under one key')
    this.#nonce.writeUInt32BE((this.#base ^ this.#index++) >>> 0, 8)
    const cipher = createCipheriv('aes-256-gcm', this.#key, this.#nonce, { authTagLength: tagBytes })
    const length = Buffer.allocUnsafe(lengthBytes)
    length.writeUInt32BE(plain.length + tagBytes)
    return [length, cipher.update(plain), cipher.final(), cipher.getAuthTag()]
  }
}
