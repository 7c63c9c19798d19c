import { fromBase64 } from '../../bytes/base64.ts'
import { fromUtf8 } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'

const pem = /^-----BEGIN X509 CRL-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END X509 CRL-----$/

/**
 * The DER of a revocation list in whichever encoding a service answered (P17): DER (Intel with `encoding=der`), PEM (Intel's default), or hex text
 * (a PCCS for its root list, older ones for every list, and even hex of PEM). The three cannot be confused: DER begins with 0x30, hex of it with
 * the digit '3', PEM with a hyphen.
 *
 * The list itself is not looked into. Throws `crl_malformed`.
 */
export function crlDer(body: Uint8Array): Uint8Array {
  if (body[0] === 0x30) return body
  let text: string
  try {
    text = fromUtf8(body).trim()
    const isHex = /^[0-9a-fA-F]+$/.test(text)
    const decoded = isHex ? fromHex(text) : null
    if (decoded?.[0] === 0x30) return decoded
    if (decoded !== null) text = fromUtf8(decoded).trim()
    const found = pem.exec(text)
    if (found?.[1] !== undefined) return fromBase64(found[1].replace(/[\r\n]/g, ''))
  } catch (cause) {
    throw fail('crl_malformed', 'expected a revocation list in DER, PEM or hex', cause)
  }
  throw fail('crl_malformed', 'expected a revocation list in DER, PEM or hex')
}
