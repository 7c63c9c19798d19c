import { fromBase64 } from '../../bytes/base64.ts'
import { base64Digits } from '../../crypto/codec.ts'
import { fail } from '../../errors.ts'
import type { Slab } from '../cache/slab.ts'

const begin = '-----BEGIN CERTIFICATE-----'
const end = '-----END CERTIFICATE-----'
/** A chain of three is about 4 KiB. */
export const maxPemLength = 65_536
const maxCertificates = 16

/**
 * The certificates of a PEM text (RFC 7468, label CERTIFICATE only), as DER in the order of the text. At least one.
 *
 * Strict: nothing but line ends between the blocks (no headers, no explanatory text, no NUL), canonical base64, at most 64 KiB and 16 certificates.
 * Line length is free. The contents are not looked at. Throws `malformed_encoding`.
 *
 * @example parsePem(collateral.tcbInfoIssuerChain).map(parseCertificate)
 */
export function parsePem(text: string): Uint8Array[] {
  return readPem(text).map(fromBase64)
}

/** The same before decoding: base64 without line ends, which {@link fromBase64} takes in one form only, so equal certificates are equal texts. */
export function readPem(text: string): string[] {
  if (text.length > maxPemLength) throw fail('malformed_encoding', `expected at most ${maxPemLength} characters of PEM, found ${text.length}`)
  const found: string[] = []
  let at = lineEnds(text, 0)
  while (at < text.length) {
    if (!text.startsWith(begin, at)) throw fail('malformed_encoding', `expected '${begin}' at offset ${at}`)
    if (found.length === maxCertificates) throw fail('malformed_encoding', `expected at most ${maxCertificates} certificates`)
    const from = at + begin.length
    const to = text.indexOf(end, from)
    if (to < 0) throw fail('malformed_encoding', `expected '${end}' after offset ${from}`)
    const body = text.slice(from, to)
    if (lineEnds(body, 0) === 0 || !body.endsWith('\n'))
      throw fail('malformed_encoding', `expected PEM markers on lines of their own at offset ${at}`)
    found.push((body.includes('\r') ? body.replaceAll('\r\n', '\n') : body).replaceAll('\n', ''))
    at = to + end.length
    const next = lineEnds(text, at)
    if (next === at && at < text.length) throw fail('malformed_encoding', `expected a line end at offset ${at}`)
    at = next
  }
  if (found.length === 0) throw fail('malformed_encoding', 'expected at least one PEM certificate')
  return found
}

/** The certificate in the first block of a PEM text, and where that block ends. */
export interface FirstBlock {
  readonly der: Uint8Array
  readonly end: number
}

// Intel's certificates are below 1.3 KiB. Nothing is left here between two calls that anybody reads.
const decoded = new Uint8Array(8192)

/**
 * Decodes the first block of a PEM text where it has the form that everybody writes: marker lines, and between them lines of whole groups of four
 * digits that end with LF. Null for any other, and for a long one, which {@link readPem} is to judge.
 */
export function decodeFirstBlock(pem: Uint8Array, slab: Slab): FirstBlock | null {
  if (!standsAt(pem, 0, begin) || pem[begin.length] !== lf) return null
  let length = 0
  let at = begin.length + 1
  // The end marker is longer than a group, so there are four octets to look at.
  while (length < decoded.length - 2 && at + end.length <= pem.length) {
    const first = digitAt(pem, at)
    const second = digitAt(pem, at + 1)
    const third = digitAt(pem, at + 2)
    const fourth = digitAt(pem, at + 3)
    if ((first | second | third | fourth) < noDigit) {
      const bits = (first << 18) | (second << 12) | (third << 6) | fourth
      decoded[length++] = bits >> 16
      decoded[length++] = (bits >> 8) & 0xff
      decoded[length++] = bits & 0xff
      at += 4
    } else if (pem[at] === lf) at++
    else {
      // The last group may stand for one octet or two. What of its bits is behind them is zero, or this is another encoding of the same octets.
      if (pem[at + 3] === equals && (first | second) < noDigit) {
        const bits = (first << 18) | (second << 12) | (third << 6)
        if (third < noDigit ? (bits & 0xff) !== 0 : pem[at + 2] !== equals || (second & 0xf) !== 0) return null
        decoded[length++] = bits >> 16
        if (third < noDigit) decoded[length++] = (bits >> 8) & 0xff
        at += 4
        while (pem[at] === lf) at++
      }
      if (pem[at - 1] !== lf || !standsAt(pem, at, end)) return null
      return { der: slab.copy(decoded.subarray(0, length)), end: at + end.length }
    }
  }
  return null
}

const lf = 0x0a
const equals = 0x3d
const noDigit = 0x40

/** The value of a digit, or one that is none. */
function digitAt(pem: Uint8Array, at: number): number {
  return base64Digits[pem[at] as number] as number
}

function standsAt(pem: Uint8Array, from: number, marker: string): boolean {
  for (let at = 0; at < marker.length; at++) if (pem[from + at] !== marker.charCodeAt(at)) return false
  return true
}

function lineEnds(text: string, from: number): number {
  let at = from
  while (text[at] === '\n' || (text[at] === '\r' && text[at + 1] === '\n')) at++
  return at
}
