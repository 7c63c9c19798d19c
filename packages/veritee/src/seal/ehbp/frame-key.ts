import * as crypto from '#crypto'
import type { MaybePromise } from '../../crypto/types.ts'

/** What the frames of one direction of one exchange are sealed with. */
export interface FrameKey {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** 12 bytes. */
  readonly baseNonce: Uint8Array
}

/** Frames of one direction. Beyond it there would be two of one nonce. */
const maxFrames = 2 ** 32

/** The nonce of a frame: the base nonce, its last bytes XORed with the frame's number from 0, big-endian (RFC 9180 section 5.2). */
function frameNonce(baseNonce: Uint8Array, index: number): Uint8Array {
  if (!Number.isInteger(index) || index < 0 || index >= maxFrames) throw new TypeError('frameNonce: expected a 32-bit frame number')
  const nonce = baseNonce.slice()
  for (let i = 0; i < 4; i++) nonce[11 - i] = (nonce[11 - i] as number) ^ ((index >>> (8 * i)) & 0xff)
  return nonce
}

export function sealFrame({ key, baseNonce }: FrameKey, index: number, plain: Uint8Array): MaybePromise<Uint8Array> {
  return crypto.sealAes256Gcm(key, frameNonce(baseNonce, index), plain)
}

/** Null where the tag does not hold. */
export function openFrame({ key, baseNonce }: FrameKey, index: number, sealed: Uint8Array): MaybePromise<Uint8Array | null> {
  return crypto.openAes256Gcm(key, frameNonce(baseNonce, index), sealed)
}
