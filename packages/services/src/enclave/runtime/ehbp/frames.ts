import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto'
import { type FrameLimits, FrameReader, writtenFrameBytes } from 'veritee/ehbp'
import { fail } from 'veritee/errors'
import type { SealKey } from './key-schedule.ts'

const lengthBytes = 4
const tagBytes = 16
const gcm = 'aes-256-gcm'
const oneTagLength = { authTagLength: tagBytes }

/** The nonces of one direction, one after the other: the base nonce, its last four bytes XORed with the frame's number. */
class Nonces {
  readonly #nonce: Buffer
  readonly #base: number
  #index = 0

  constructor(baseNonce: Uint8Array) {
    this.#nonce = Buffer.from(baseNonce)
    this.#base = this.#nonce.readUInt32BE(8)
  }

  /** How many were given. */
  get given(): number {
    return this.#index
  }

  /** To be used before the next is asked for. */
  next(): Uint8Array {
    if (this.#index > 0xffffffff) throw new RangeError('Nonces: too many frames under one key')
    this.#nonce.writeUInt32BE((this.#base ^ this.#index++) >>> 0, 8)
    return this.#nonce
  }
}

/** One text under a key and nonce that seal nothing else: ciphertext and tag. */
export function sealNow({ key, baseNonce }: SealKey, plain: Uint8Array): Buffer {
  return Buffer.concat(enciphered(key, baseNonce, plain))
}

function enciphered(key: KeyObject, nonce: Uint8Array, plain: Uint8Array): [Buffer, Buffer] {
  const cipher = createCipheriv(gcm, key, nonce, oneTagLength)
  const body = cipher.update(plain)
  cipher.final()
  return [body, cipher.getAuthTag()]
}

/** The frames of an answer (spec/ehbp-binding.md), sealed one after the other and without waiting: what is written to a response cannot wait for a promise. */
export class FrameWriter {
  readonly #key: KeyObject
  readonly #nonces: Nonces

  constructor({ key, baseNonce }: SealKey) {
    this.#key = key
    this.#nonces = new Nonces(baseNonce)
  }

  /** The frames of a piece of plain text; none for an empty one. */
  seal(plain: Uint8Array): Buffer {
    if (plain.length <= writtenFrameBytes) return plain.length === 0 ? Buffer.alloc(0) : this.#frame(plain)
    const frames: Buffer[] = []
    for (let from = 0; from < plain.length; from += writtenFrameBytes) frames.push(this.#frame(plain.subarray(from, from + writtenFrameBytes)))
    return Buffer.concat(frames)
  }

  #frame(plain: Uint8Array): Buffer {
    const [body, tag] = enciphered(this.#key, this.#nonces.next(), plain)
    const frame = Buffer.allocUnsafe(lengthBytes + body.length + tagBytes)
    frame.writeUInt32BE(body.length + tagBytes)
    frame.set(body, lengthBytes)
    frame.set(tag, lengthBytes + body.length)
    return frame
  }
}

/** Opens the frames of a request as their bytes come: {@link FrameReader} with its bounds, and the tag of each frame. */
export class FrameDecryptor {
  readonly #reader: FrameReader
  readonly #key: KeyObject
  readonly #nonces: Nonces
  #opened = 0

  constructor({ key, baseNonce }: SealKey, limits: FrameLimits) {
    this.#reader = new FrameReader(limits)
    this.#key = key
    this.#nonces = new Nonces(baseNonce)
  }

  /** How many frames were opened. */
  get opened(): number {
    return this.#opened
  }

  /** Hands over the plain text of the frames that a part completes. Throws as `FrameOpener` of the library does; afterwards call nothing. */
  push(part: Uint8Array, take: (plain: Buffer) => void): void {
    for (const sealed of this.#reader.read(part)) {
      take(this.#open(sealed))
      this.#opened++
    }
  }

  /** Throws `ehbp_malformed` where the bytes ended within a frame. */
  end(): void {
    this.#reader.end()
  }

  #open(sealed: Uint8Array): Buffer {
    const end = sealed.length - tagBytes
    const decipher = createDecipheriv(gcm, this.#key, this.#nonces.next(), oneTagLength)
    decipher.setAuthTag(sealed.subarray(end))
    const plain = decipher.update(sealed.subarray(0, end))
    try {
      decipher.final()
    } catch {
      // What has been deciphered is not authentic, and nobody is to see it.
      plain.fill(0)
      throw fail('ehbp_not_authentic', 'a frame does not open: it was changed, or is for another key or place')
    }
    return plain
  }
}
