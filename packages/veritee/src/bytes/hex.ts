import * as crypto from '#crypto'
import { fail } from '../errors.ts'

/** Lower-case hex of bytes. */
export function toHex(bytes: Uint8Array): string {
  return crypto.encodeHex(bytes)
}

/**
 * Bytes of a hex string of either case, of exactly `length` bytes where given. Throws `malformed_encoding`.
 * Where a format demands lower case, check with {@link isHex} first.
 */
export function fromHex(text: string, length?: number): Uint8Array {
  const bytes = crypto.decodeHex(text)
  if (bytes === null) throw fail('malformed_encoding', 'expected an even number of hex digits')
  if (length !== undefined && bytes.length !== length) throw fail('malformed_encoding', `expected ${2 * length} hex digits, found ${text.length}`)
  return bytes
}

/** True for lower-case hex of exactly `length` bytes: the form of every digest, key and id in aci/1 documents. */
export function isHex(value: unknown, length: number): value is string {
  return typeof value === 'string' && value.length === 2 * length && /^[0-9a-f]*$/.test(value)
}
