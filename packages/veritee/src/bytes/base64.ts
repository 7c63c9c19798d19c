import { fail } from '../errors.ts'

/** Standard base64 with padding (RFC 4648 section 4). */
export function toBase64(bytes: Uint8Array): string {
  let binary = ''
  for (let at = 0; at < bytes.length; at += 0x8000) binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000))
  return btoa(binary)
}

/** Bytes of standard base64. Refuses missing padding, white space and non-zero trailing bits. Throws `malformed_encoding`. */
export function fromBase64(text: string): Uint8Array {
  const { length } = text
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  if (length % 4 !== 0) throw fail('malformed_encoding', 'expected canonical base64')
  const out = new Uint8Array((length / 4) * 3 - padding)
  // Each digit is 0 to 63; anything else sets bit 6 or above of `wrong`.
  let wrong = 0
  let at = 0
  const last = length - padding
  for (let from = 0; from < length; from += 4) {
    const a = digit(text, from)
    const b = digit(text, from + 1)
    const c = from + 2 < last ? digit(text, from + 2) : 0
    const d = from + 3 < last ? digit(text, from + 3) : 0
    wrong |= a | b | c | d
    out[at++] = (a << 2) | (b >> 4)
    if (from + 2 < last) out[at++] = (b << 4) | (c >> 2)
    else if ((b & 0xf) !== 0) throw fail('malformed_encoding', 'expected canonical base64: trailing bits are not zero')
    if (from + 3 < last) out[at++] = (c << 6) | d
    else if ((c & 3) !== 0) throw fail('malformed_encoding', 'expected canonical base64: trailing bits are not zero')
  }
  if (wrong > 63) throw fail('malformed_encoding', 'expected canonical base64')
  return out
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const digits: Uint8Array = new Uint8Array(128).fill(0x40)
for (let value = 0; value < alphabet.length; value++) digits[alphabet.charCodeAt(value)] = value

/** The value of one digit, or 64 for a character that is none. */
function digit(text: string, at: number): number {
  return digits[text.charCodeAt(at)] ?? 0x40
}
