import { fail } from 'veritee/errors'

/**
 * Frames between a worker and its engine process: the length of the rest as 4 bytes big-endian, one byte of type, the payload.
 * The channel is a pair of sockets that only these two processes hold.
 */
export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

const headerLength = 5
/** The largest is the vocabulary of a model: 262,144 tokens are 8 MB of JSON. */
export const maxPayload: number = 64 << 20

export function frame(type: number, ...parts: readonly Uint8Array[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  if (length > maxPayload) throw fail('engine_failed', `expected a message of at most ${maxPayload} bytes to the engine process, found ${length}`)
  const header = Buffer.allocUnsafe(headerLength)
  header.writeUInt32BE(length + 1)
  header[4] = type
  return Buffer.concat([header, ...parts])
}

/** Cuts a stream of bytes into frames, however the stream was cut on its way. */
export class FrameReader {
  #parts: Buffer[] = []
  #length = 0

  /** The frames that these bytes complete. Throws `engine_failed` at a length that no frame has; the channel is then useless. */
  push(bytes: Buffer): Frame[] {
    this.#parts.push(bytes)
    this.#length += bytes.length
    const found: Frame[] = []
    for (let wanted = this.#wanted(); this.#length >= wanted; wanted = this.#wanted()) {
      const all = this.#join()
      found.push({ type: all[4] as number, payload: all.subarray(headerLength, wanted) })
      this.#parts = [all.subarray(wanted)]
      this.#length -= wanted
    }
    return found
  }

  /** Bytes of the frame that comes first, its header included; the header's own where that is not there yet. */
  #wanted(): number {
    if (this.#length < headerLength) return headerLength
    const [first] = this.#parts
    const length = (first !== undefined && first.length >= headerLength ? first : this.#join()).readUInt32BE()
    if (length < 1 || length > maxPayload + 1) throw fail('engine_failed', `expected a frame of 1 to ${maxPayload + 1} bytes, found ${length}`)
    return 4 + length
  }

  /** One buffer; made when a frame is whole, so that a long one is not copied with every part of it that comes. */
  #join(): Buffer {
    const [first] = this.#parts
    if (first !== undefined && this.#parts.length === 1) return first
    const all = Buffer.concat(this.#parts)
    this.#parts = [all]
    return all
  }
}
