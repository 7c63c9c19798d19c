import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { jcs } from 'veritee/bytes'
import { fail } from 'veritee/errors'

/** One sealed piece of the file: what was sealed, and its tag, which the next one names. */
export interface Frame {
  readonly plain: Buffer
  readonly tag: Buffer
}

const magic = Buffer.from('veritee.broker.store.v1\n')
export const headerBytes: number = magic.length + 8
const overhead = 4 + 12 + 16

/** What begins the file: `veritee.broker.store.v1\n` and the generation of the first frame, 8 bytes big-endian. */
export function header(generation: number): Buffer {
  const bytes = Buffer.alloc(headerBytes)
  magic.copy(bytes)
  bytes.writeBigUInt64BE(BigInt(generation), magic.length)
  return bytes
}

/**
 * Seals a frame: 4 bytes of length of all that follows, 12 bytes of nonce, AES-256-GCM ciphertext, the tag. The additional data bind it to its place: its
 * generation, and the tag of the frame before it (empty for the first). So no frame can be moved, repeated, left out in the middle, or taken from another file.
 *
 * The nonces are random: one key serves for 2^32 frames, which at a hundred releases a second is more than a year.
 */
export function sealFrame(
  key: Uint8Array,
  generation: number,
  previous: Buffer,
  plain: Uint8Array,
): { readonly bytes: Buffer; readonly tag: Buffer } {
  const nonce = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additionalData(generation, previous))
  const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(28 + ciphertext.length)
  const tag = cipher.getAuthTag()
  return { bytes: Buffer.concat([length, nonce, ciphertext, tag]), tag }
}

/** All frames of a file, the first one with the whole state, and how many bytes at its end are no frame. */
export interface Opened {
  /** Of the first frame; each further one counts one more. */
  readonly generation: number
  readonly frames: readonly Frame[]
  /** Bytes of header and frames. */
  readonly length: number
}

/**
 * Opens a whole file. A last frame that is cut short, or does not open and has nothing after it, is what a crash leaves of a write that nobody was told of:
 * it is left out, and `length` ends before it. Whoever can cut a file there could as well have put an older one in its place (rule S11), so nothing is lost by
 * it. Anything else that does not open is refused. Throws `broker_store_invalid`.
 */
export function openFrames(bytes: Buffer, key: Uint8Array): Opened {
  if (bytes.length < headerBytes || !bytes.subarray(0, magic.length).equals(magic))
    throw fail('broker_store_invalid', 'expected a file that begins with veritee.broker.store.v1')
  const first = bytes.readBigUInt64BE(magic.length)
  if (first === 0n || first >= 1n << 52n) throw fail('broker_store_invalid', 'expected a generation in range')
  const generation = Number(first)
  const frames: Frame[] = []
  let at = headerBytes
  let previous: Buffer = Buffer.alloc(0)
  while (at < bytes.length) {
    const end = frameEnd(bytes, at)
    const frame = end === null ? null : openFrame(bytes.subarray(at + 4, end), key, generation + frames.length, previous)
    if (frame === null) {
      const last = end === null || end === bytes.length
      if (frames.length > 0 && last) break
      throw fail('broker_store_invalid', 'expected a state that was sealed under the key of this enclave')
    }
    frames.push(frame)
    previous = frame.tag
    at = end ?? at
  }
  if (frames.length === 0) throw fail('broker_store_invalid', 'expected a sealed state')
  return { generation, frames, length: at }
}

/** Null where the file ends before the frame does. */
function frameEnd(bytes: Buffer, at: number): number | null {
  if (bytes.length - at < overhead) return null
  const end = at + 4 + bytes.readUInt32BE(at)
  return end > bytes.length || end < at + overhead ? null : end
}

function openFrame(sealed: Buffer, key: Uint8Array, generation: number, previous: Buffer): Frame | null {
  const tag = Buffer.from(sealed.subarray(-16))
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12), { authTagLength: 16 })
    decipher.setAAD(additionalData(generation, previous)).setAuthTag(tag)
    return { plain: Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]), tag }
  } catch {
    return null
  }
}

function additionalData(generation: number, previous: Buffer): Buffer {
  return Buffer.from(jcs({ generation, key: 'state', previous: previous.toString('hex'), table: 'broker', v: 1 }))
}
