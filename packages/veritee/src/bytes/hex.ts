import { fail } from '../errors.ts'

const digits: readonly string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))

/** Lower-case hex of bytes. */
export function toHex(bytes: Uint8Array): string {
  let out = ''
  for (const byte of bytes) out += digits[byte]
  return out
}

/**
 * Bytes of a hex string of either case, of exactly `length` bytes where given. Throws `malformed_encoding`.
 * Where a format demands lower case, check with {@link isHex} first.
 */
export function fromHex(text: string, length?: number): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw fail('malformed_encoding', 'expected an even number of hex digits')
  if (length !== undefined && text.length !== 2 * length) throw fail('malformed_encoding', `expected ${2 * length} hex digits, found ${text.length}`)
  const out = new Uint8Array(text.length / 2)
  for (let i = 0; i < out.length; i++) out[i] = (digitValue(text.charCodeAt(2 * i)) << 4) | digitValue(text.charCodeAt(2 * i + 1))
  return out
}

/** Of the code of a hex digit: the low four bits of '0' to '9' are its value, those of 'A' and 'a' are 1. */
function digitValue(code: number): number {
  return (code & 0xf) + (code > 0x39 ? 9 : 0)
}

/** True for lower-case hex of exactly `length` bytes: the form of every digest, key and id in aci/1 documents. */
export function isHex(value: unknown, length: number): value is string {
  return typeof value === 'string' && value.length === 2 * length && /^[0-9a-f]*$/.test(value)
}
