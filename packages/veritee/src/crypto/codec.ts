/** Text to bytes without Node: what `web.ts` has in place of the decoders of `node.ts`. */

/** A table by character code: the value of each digit of `alphabet`, and `none` for all else below 256. */
function tableOf(alphabet: string, none: number): Uint8Array {
  const table = new Uint8Array(256).fill(none)
  for (let value = 0; value < alphabet.length; value++) table[alphabet.charCodeAt(value)] = value
  return table
}

const hexDigits: Uint8Array = tableOf('0123456789abcdef', 0x10)
for (let value = 10; value < 16; value++) hexDigits[value.toString(16).toUpperCase().charCodeAt(0)] = value

/** Bytes of hex of either case; null for an odd number of characters, and where one is no digit. */
export function decodeHex(text: string): Uint8Array | null {
  const { length } = text
  if (length % 2 !== 0) return null
  const out = new Uint8Array(length / 2)
  // By table and without a branch for each digit, which would be guessed wrong half the time. Each digit is 0 to 15; all else sets bit 4.
  let wrong = 0
  for (let at = 0; at < length; at += 2) {
    const high = hexDigits[text.charCodeAt(at)] ?? 0x10
    const low = hexDigits[text.charCodeAt(at + 1)] ?? 0x10
    wrong |= high | low
    out[at >> 1] = (high << 4) | low
  }
  return wrong > 15 ? null : out
}

/** By character code below 256: the value of a base64 digit, 0x40 for all else. */
export const base64Digits: Uint8Array = tableOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 0x40)

/** Bytes of standard base64 in its canonical form (RFC 4648 section 4: padded, trailing bits zero, no white space); null for any other text. */
export function decodeBase64(text: string): Uint8Array | null {
  const { length } = text
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0
  if (length % 4 !== 0) return null
  const out = new Uint8Array((length / 4) * 3 - padding)
  const digit = (at: number): number => base64Digits[text.charCodeAt(at)] ?? 0x40
  // Each digit is 0 to 63; all else sets bit 6 of `wrong`, and so do trailing bits that are not zero.
  let wrong = 0
  let at = 0
  const last = length - padding
  for (let from = 0; from < length; from += 4) {
    const a = digit(from)
    const b = digit(from + 1)
    const c = from + 2 < last ? digit(from + 2) : 0
    const d = from + 3 < last ? digit(from + 3) : 0
    wrong |= a | b | c | d
    out[at++] = (a << 2) | (b >> 4)
    if (from + 2 < last) out[at++] = (b << 4) | (c >> 2)
    else if ((b & 0xf) !== 0) wrong = 0x40
    if (from + 3 < last) out[at++] = (c << 6) | d
    else if ((c & 3) !== 0) wrong = 0x40
  }
  return wrong > 63 ? null : out
}

const hexPairs: readonly string[] = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, '0'))

/** Lower-case hex of bytes. */
export function encodeHex(bytes: Uint8Array): string {
  let out = ''
  for (const byte of bytes) out += hexPairs[byte]
  return out
}

/** True for equal bytes. The time depends on the contents, which are public. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  const { length } = a
  if (b.length !== length) return false
  for (let at = 0; at < length; at++) if (a[at] !== b[at]) return false
  return true
}
