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

/** Where the block at the beginning ends: dashes stand in markers only. The end of the text where there is no such block. */
export function endOfFirstBlock(pem: Uint8Array): number {
  const from = pem.indexOf(0x2d, begin.length)
  if (from < 0) return pem.length
  return standsAt(pem, from, end) ? from + end.length : pem.length
}

function standsAt(pem: Uint8Array, from: number, marker: string): boolean {
  for (let at = 0; at < marker.length; at++) if (pem[from + at] !== marker.charCodeAt(at)) return false
  return true
}

/**
 * The certificate in a first block that ends at `blockEnd`, where the block has the form that everybody writes: marker lines, and between them lines of
 * whole groups of four digits that end with LF. Null for any other, which {@link readPem} is to judge.
 */
export function decodeFirstBlock(pem: Uint8Array, blockEnd: number, slab: Slab): Uint8Array | null {
  const to = blockEnd - end.length
  if (!standsAt(pem, 0, begin) || !standsAt(pem, to, end)) return null
  if (pem[begin.length] !== lf || pem[to - 1] !== lf) return null
  const out = slab.take(((to - begin.length) >> 2) * 3)
  let length = 0
  let padding = 0
  for (let at = begin.length + 1; at < to; ) {
    if (pem[at] === lf) {
      at++
      continue
    }
    // Past the last group there is nothing but line ends.
    if (padding > 0) return null
    padding = pem[at + 3] !== equals ? 0 : pem[at + 2] !== equals ? 1 : 2
    const first = digit(pem, at)
    const second = digit(pem, at + 1)
    const third = padding === 2 ? 0 : digit(pem, at + 2)
    const fourth = padding > 0 ? 0 : digit(pem, at + 3)
    if ((first | second | third | fourth) >= noDigit) return null
    const bits = (first << 18) | (second << 12) | (third << 6) | fourth
    // Bits behind the last octet that are not zero: another encoding of the same octets.
    if ((padding === 1 && (bits & 0xff) !== 0) || (padding === 2 && (bits & 0xffff) !== 0)) return null
    out[length++] = bits >> 16
    out[length++] = (bits >> 8) & 0xff
    out[length++] = bits & 0xff
    at += 4
  }
  return out.subarray(0, length - padding)
}

const lf = 0x0a
const equals = 0x3d
const noDigit = 0x40

function digit(pem: Uint8Array, at: number): number {
  return base64Digits[pem[at] as number] ?? noDigit
}

function lineEnds(text: string, from: number): number {
  let at = from
  while (text[at] === '\n' || (text[at] === '\r' && text[at + 1] === '\n')) at++
  return at
}
