import * as crypto from '#crypto'
import type { MaybePromise } from '../crypto/types.ts'

/**
 * The chunks of one sealed file: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar, CRYPTO 2015) over AES-256-GCM. The nonce of a chunk holds
 * its number and whether it is the last, so chunks cannot be dropped, moved, repeated or added, nor a file be cut at a chunk's end.
 */

const tagBytes = 16
/** The counter has four bytes. */
export const maxChunks: number = 2 ** 32

/** How many chunks a file of `size` plain bytes has. An empty file has one, which is empty: it too has a tag. */
export function chunkCount(size: number, chunkSize: number): number {
  return Math.max(1, Math.ceil(size / chunkSize))
}

/** Bytes of the sealed form of a file of `size` plain bytes. */
export function sealedSize(size: number, chunkSize: number): number {
  return size + tagBytes * chunkCount(size, chunkSize)
}

/** Where a chunk stands in the sealed file. */
export function chunkPlace(
  index: number,
  size: number,
  chunkSize: number,
): { readonly start: number; readonly length: number; readonly last: boolean } {
  const last = index === chunkCount(size, chunkSize) - 1
  const plain = last ? size - index * chunkSize : chunkSize
  return { start: index * (chunkSize + tagBytes), length: plain + tagBytes, last }
}

/** 12 bytes: the file's prefix of 7, the chunk's number from 0 as 4 (big-endian), and 1 for the last chunk, else 0. */
export function chunkNonce(prefix: Uint8Array, index: number, last: boolean): Uint8Array {
  if (prefix.length !== 7) throw new TypeError('chunkNonce: expected a prefix of 7 bytes')
  if (!Number.isInteger(index) || index < 0 || index >= maxChunks) throw new TypeError('chunkNonce: expected a 32-bit chunk number')
  const nonce = new Uint8Array(12)
  nonce.set(prefix)
  new DataView(nonce.buffer).setUint32(7, index)
  nonce[11] = last ? 1 : 0
  return nonce
}

/** Ciphertext and tag of one chunk. One key, prefix and number must never seal two different texts: see `fileKey`. */
export function sealChunk(key: Uint8Array, prefix: Uint8Array, index: number, last: boolean, plain: Uint8Array): MaybePromise<Uint8Array> {
  return crypto.sealAes256Gcm(key, chunkNonce(prefix, index, last), plain)
}

/** The plain bytes of one chunk, or null where the tag does not hold. */
export function openChunk(key: Uint8Array, prefix: Uint8Array, index: number, last: boolean, sealed: Uint8Array): MaybePromise<Uint8Array | null> {
  return crypto.openAes256Gcm(key, chunkNonce(prefix, index, last), sealed)
}
