import { fail } from '../../errors.ts'
import { type FrameKey, openFrame, sealFrame } from './frame-key.ts'
import { writtenFrameBytes } from './names.ts'

/** Bytes of a frame beside its plain text: length and tag. */
const lengthBytes = 4
const tagBytes = 16

/** Frames of one direction, sealed one after the other: four bytes of length, big-endian, then ciphertext and tag. */
export class FrameSealer {
  readonly #key: FrameKey
  #index = 0

  constructor(key: FrameKey) {
    this.#key = key
  }

  /** The frames of a piece of plain text; none for an empty piece. One call after the other: each frame has its number. */
  async seal(plain: Uint8Array): Promise<Uint8Array> {
    const count = Math.ceil(plain.length / writtenFrameBytes)
    const out = new Uint8Array(plain.length + count * (lengthBytes + tagBytes))
    const view = new DataView(out.buffer)
    let at = 0
    for (let from = 0; from < plain.length; from += writtenFrameBytes) {
      const sealed = await sealFrame(this.#key, this.#index++, plain.subarray(from, from + writtenFrameBytes))
      view.setUint32(at, sealed.length)
      out.set(sealed, at + lengthBytes)
      at += lengthBytes + sealed.length
    }
    return out
  }
}

export interface FrameLimits {
  /** Plain bytes of all frames together, and so of each. */
  readonly maxBytes: number
  /** Frames of any length, empty ones too, which cost no plain text. */
  readonly maxFrames: number
}

/**
 * Finds the frames of one direction as their bytes come, in parts of any size, and bounds them. Holds the bytes of one frame at a time, and none of what a part has whole. Opens nothing:
 * {@link FrameOpener} does, or a service with means of its own.
 */
export class FrameReader {
  readonly #limits: FrameLimits
  readonly #length = new Uint8Array(lengthBytes)
  /** How much of the length has come; once it is whole, the frame's bytes are collected. */
  #lengthHas = 0
  /** Bytes of the frame that is being collected; 0 between frames. */
  #frameBytes = 0
  /** Grows with what has come: a length alone, which costs its sender nothing, takes no memory. */
  #frame = new Uint8Array(0)
  #frameHas = 0
  #frames = 0
  #bytes = 0

  constructor(limits: FrameLimits) {
    this.#limits = limits
  }

  /** The frames that a part completes, each ciphertext and tag, on the part's own memory where it has them whole. Throws `ehbp_malformed` past a bound and for a frame shorter than its tag. */
  *read(part: Uint8Array): Generator<Uint8Array, void, void> {
    let at = 0
    while (at < part.length) {
      if (this.#frameBytes === 0) {
        const taken = part.subarray(at, at + lengthBytes - this.#lengthHas)
        this.#length.set(taken, this.#lengthHas)
        this.#lengthHas += taken.length
        at += taken.length
        if (this.#lengthHas === lengthBytes) this.#begin()
        continue
      }
      const taken = part.subarray(at, at + this.#frameBytes - this.#frameHas)
      at += taken.length
      const sealed = taken.length === this.#frameBytes ? taken : this.#collected(taken)
      if (sealed === null) continue
      this.#frameBytes = 0
      yield sealed
    }
  }

  /** Throws `ehbp_malformed` where the bytes ended within a frame. That no frame is missing after the last, nothing here can show. */
  end(): void {
    if (this.#frameBytes > 0 || this.#lengthHas > 0) throw fail('ehbp_malformed', 'the encrypted body ended within a frame')
  }

  #begin(): void {
    this.#lengthHas = 0
    if (++this.#frames > this.#limits.maxFrames) throw fail('ehbp_malformed', `expected at most ${this.#limits.maxFrames} frames`)
    const length = new DataView(this.#length.buffer).getUint32(0)
    if (length === 0) return
    if (length < tagBytes) throw fail('ehbp_malformed', `expected frames of at least ${tagBytes} bytes, found ${length}`)
    this.#bytes += length - tagBytes
    if (this.#bytes > this.#limits.maxBytes) throw fail('ehbp_malformed', `expected at most ${this.#limits.maxBytes} bytes in all frames`)
    this.#frameBytes = length
    this.#frameHas = 0
  }

  /** The frame with what came before and these bytes; null where there is more to come. */
  #collected(part: Uint8Array): Uint8Array | null {
    const needed = this.#frameHas + part.length
    if (needed > this.#frame.length) {
      const larger = new Uint8Array(Math.min(this.#frameBytes, Math.max(needed, 2 * this.#frame.length)))
      larger.set(this.#frame.subarray(0, this.#frameHas))
      this.#frame = larger
    }
    this.#frame.set(part, this.#frameHas)
    this.#frameHas = needed
    if (needed < this.#frameBytes) return null
    const sealed = this.#frame.subarray(0, needed)
    this.#frame = new Uint8Array(0)
    return sealed
  }
}

/** Opens the frames that a {@link FrameReader} finds. Plain text is given only of whole frames whose tag holds; after a refusal nothing more is. */
export class FrameOpener {
  readonly #key: FrameKey
  readonly #reader: FrameReader
  #index = 0
  #failed = false

  constructor(key: FrameKey, limits: FrameLimits) {
    this.#key = key
    this.#reader = new FrameReader(limits)
  }

  /** How many frames were opened. */
  get opened(): number {
    return this.#index
  }

  /** The plain text of the frames that a part completes; the part must stay as it is until then. Throws what reading does, and `ehbp_not_authentic`. */
  async push(part: Uint8Array): Promise<Uint8Array[]> {
    if (this.#failed) throw new TypeError('FrameOpener: these frames were refused')
    const plain: Uint8Array[] = []
    try {
      for (const sealed of this.#reader.read(part)) plain.push(await this.#open(sealed))
    } catch (error) {
      this.#failed = true
      throw error
    }
    return plain
  }

  /** As {@link FrameReader.end}. */
  end(): void {
    this.#reader.end()
  }

  async #open(sealed: Uint8Array): Promise<Uint8Array> {
    const plain = await openFrame(this.#key, this.#index, sealed)
    if (plain === null) throw fail('ehbp_not_authentic', 'a frame does not open: it was changed, or is for another key or place')
    this.#index++
    return plain
  }
}
