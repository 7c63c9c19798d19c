import { fromBase64 } from '../../bytes/base64.ts'
import { fail } from '../../errors.ts'

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
  for (let at = 0; at < end.length; at++) if (pem[from + at] !== end.charCodeAt(at)) return pem.length
  return from + end.length
}

function lineEnds(text: string, from: number): number {
  let at = from
  while (text[at] === '\n' || (text[at] === '\r' && text[at + 1] === '\n')) at++
  return at
}
