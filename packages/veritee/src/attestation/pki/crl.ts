import { equal } from '../../bytes/bytes.ts'
import { DerReader, derTag } from '../../bytes/der.ts'
import { fail } from '../../errors.ts'
import { type Extension, readExtensions } from './extensions.ts'
import { type Name, readName } from './name.ts'
import { oid } from './oid.ts'
import { readAlgorithm, readEcdsaSignature } from './signature-value.ts'

/** A complete X.509 v2 certificate revocation list (RFC 5280 section 5.1) as parsed: nothing in it is verified. */
export interface Crl {
  readonly der: Uint8Array
  readonly tbs: Uint8Array
  readonly issuer: Name
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  /** Contents of each userCertificate INTEGER, in the form of `Certificate.serial`. */
  readonly revoked: readonly Uint8Array[]
  readonly extensions: readonly Extension[]
  /** 64 bytes r || s. */
  readonly signature: Uint8Array
}

const code = 'crl_malformed'
// Intel's largest is about 3.4 KiB; this leaves room for ten thousand entries.
const maxLength = 524_288
const maxEntries = 16_384

/**
 * Parses a DER revocation list as Intel issues them: strict DER, version 2, ecdsa-with-SHA256, nextUpdate present, CRLNumber and
 * AuthorityKeyIdentifier present, no critical extension on the list or on an entry (so no delta, indirect or partial list), no trailing bytes.
 *
 * Does not check the signature, issuer or window. PEM and hex are not accepted here. Throws `crl_malformed`.
 */
export function parseCrl(der: Uint8Array): Crl {
  if (der.length > maxLength) throw fail(code, `expected a revocation list of at most ${maxLength} bytes, found ${der.length}`)
  const bytes = new Uint8Array(der)
  const outer = new DerReader(bytes, code)
  const parts = outer.enter(derTag.sequence, 'certificateList')
  outer.finish('certificateList')
  const tbs = parts.raw(derTag.sequence, 'tbsCertList')
  const algorithm = readAlgorithm(parts, code, 'signatureAlgorithm')
  const signature = readEcdsaSignature(parts.bitString('signatureValue'), code)
  parts.finish('certificateList')

  const fields = new DerReader(tbs, code).enter(derTag.sequence, 'tbsCertList')
  if (fields.unsigned('version', 255) !== 1) throw fail(code, 'expected version 2')
  const inner = readAlgorithm(fields, code, 'signature')
  if (algorithm.id !== oid.ecdsaWithSha256 || inner.id !== algorithm.id) throw fail(code, 'expected ecdsa-with-SHA256')
  const issuer = readName(fields, code, 'issuer')
  const thisUpdate = fields.time('thisUpdate')
  const nextUpdate = fields.time('nextUpdate')
  const revoked = fields.at(derTag.sequence) ? readEntries(fields) : []
  const wrapped = fields.enter(0xa0, 'crlExtensions')
  const extensions = readExtensions(wrapped, 'crlExtensions')
  wrapped.finish('crlExtensions')
  fields.finish('tbsCertList')
  for (const required of [oid.crlNumber, oid.authorityKeyIdentifier])
    if (!extensions.some((extension) => extension.id === required)) throw fail(code, `expected the extension ${required}`)
  refuseCritical(extensions)
  return { der: bytes, tbs, issuer, thisUpdate, nextUpdate, revoked, extensions, signature }
}

function readEntries(fields: DerReader): readonly Uint8Array[] {
  const revoked: Uint8Array[] = []
  // Most entries of a list say when and why in the same bytes as the one before. What was read once is not read again.
  let date: Uint8Array | null = null
  let reason: Uint8Array | null = null
  for (const entry of fields.elements(derTag.sequence, 'revokedCertificates', maxEntries)) {
    revoked.push(entry.integer('userCertificate'))
    const entryDate = entry.raw(entry.at(derTag.utcTime) ? derTag.utcTime : derTag.generalizedTime, 'revocationDate')
    if (date === null || !equal(entryDate, date)) new DerReader(entryDate, code).time('revocationDate')
    date = entryDate
    if (entry.done) continue
    const entryReason = entry.raw(derTag.sequence, 'crlEntryExtensions')
    // Whatever the reason says, an entry on a complete list revokes.
    if (reason === null || !equal(entryReason, reason)) refuseCritical(readExtensions(new DerReader(entryReason, code), 'crlEntryExtensions'))
    reason = entryReason
    entry.finish('revokedCertificate')
  }
  // RFC 5280 section 5.1.2.6: without entries the list is absent.
  if (revoked.length === 0) throw fail(code, 'expected no empty revokedCertificates')
  return revoked
}

function refuseCritical(extensions: readonly Extension[]): void {
  const critical = extensions.find((extension) => extension.critical)
  if (critical !== undefined) throw fail(code, `expected no critical extension, found ${critical.id}`)
}

/** True if the list names this serial number. The list must have been verified against the certificate's issuer. */
export function isRevoked(crl: Crl, serial: Uint8Array): boolean {
  const last = serial.at(-1)
  return crl.revoked.some((entry) => entry[entry.length - 1] === last && equal(entry, serial))
}
