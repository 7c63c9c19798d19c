import { equal } from '../../bytes/bytes.ts'
import { DerReader, derTag } from '../../bytes/der.ts'
import { fail } from '../../errors.ts'
import { type BasicConstraints, type Extension, readBasicConstraints, readExtensions, readKeyUsage } from './extensions.ts'
import { type Name, readName } from './name.ts'
import { oid } from './oid.ts'
import { readAlgorithm, readEcdsaSignature } from './signature-value.ts'

/** An X.509 v3 certificate (RFC 5280 section 4.1) as parsed: nothing in it is verified. Byte fields are views of `der`. */
export interface Certificate {
  readonly der: Uint8Array
  /** The signed bytes. */
  readonly tbs: Uint8Array
  /** Contents of the serialNumber INTEGER: minimal, so equal serials are equal bytes. */
  readonly serial: Uint8Array
  readonly issuer: Name
  readonly subject: Name
  readonly notBefore: Date
  readonly notAfter: Date
  /** The whole SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  /** 64 bytes x || y of an uncompressed P-256 key; null for any other kind. Whether it is on the curve is for signature verification to find. */
  readonly publicKey: Uint8Array | null
  readonly extensions: readonly Extension[]
  readonly basicConstraints: BasicConstraints | null
  /** Bits of `keyUsageBit`; null where the extension is absent. */
  readonly keyUsage: number | null
  /** 64 bytes r || s where the algorithm is ecdsa-with-SHA256; null for any other. */
  readonly signature: Uint8Array | null
}

const code = 'certificate_malformed'
// Intel's are below 1.3 KiB; a TLS certificate with many names may be larger.
const maxLength = 32_768
// RFC 5280 allows 20 octets; Intel's 20-octet serials take a 21st where the top bit is set.
const maxSerialOctets = 21

/**
 * Parses one DER certificate: strict DER, version 3, no unique identifiers, one algorithm inside and out, no trailing bytes, at most 32 KiB.
 *
 * Keys and signatures of other kinds than P-256 are left null, so that the SPKI of any certificate can be read.
 * Does not check signatures, dates, critical extensions or names. Throws `certificate_malformed`.
 */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > maxLength) throw fail(code, `expected a certificate of at most ${maxLength} bytes, found ${der.length}`)
  const bytes = new Uint8Array(der)
  const outer = new DerReader(bytes, code)
  const parts = outer.enter(derTag.sequence, 'certificate')
  outer.finish('certificate')
  const tbs = parts.raw(derTag.sequence, 'tbsCertificate')
  const algorithm = readAlgorithm(parts, code, 'signatureAlgorithm')
  const signature = parts.bitString('signatureValue')
  parts.finish('certificate')

  const fields = new DerReader(tbs, code).enter(derTag.sequence, 'tbsCertificate')
  const version = fields.enter(0xa0, 'version')
  if (version.unsigned('version', 255) !== 2) throw fail(code, 'expected version 3')
  version.finish('version')
  const serial = fields.integer('serialNumber')
  if (serial.length > maxSerialOctets || (serial[0] as number) >= 0x80) throw fail(code, 'expected a non-negative serial number of at most 20 octets')
  const inner = readAlgorithm(fields, code, 'signature')
  if (!equal(inner.der, algorithm.der)) throw fail(code, 'expected the same signature algorithm inside and out')
  const issuer = readName(fields, code, 'issuer')
  const validity = fields.enter(derTag.sequence, 'validity')
  const notBefore = validity.time('notBefore')
  const notAfter = validity.time('notAfter')
  validity.finish('validity')
  const subject = readName(fields, code, 'subject')
  const spki = fields.raw(derTag.sequence, 'subjectPublicKeyInfo')
  const wrapped = fields.enter(0xa3, 'extensions')
  const extensions = readExtensions(wrapped, 'extensions')
  wrapped.finish('extensions')
  fields.finish('tbsCertificate')

  return {
    der: bytes,
    tbs,
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    spki,
    publicKey: readP256(spki),
    extensions,
    basicConstraints: readBasicConstraints(extensions, code),
    keyUsage: readKeyUsage(extensions, code),
    signature: algorithm.id === oid.ecdsaWithSha256 ? readEcdsaSignature(signature, code) : null,
  }
}

/** RFC 5480 section 2: named curve, uncompressed point. */
function readP256(spki: Uint8Array): Uint8Array | null {
  const fields = new DerReader(spki, code).enter(derTag.sequence, 'subjectPublicKeyInfo')
  const algorithm = fields.enter(derTag.sequence, 'public key algorithm')
  const kind = algorithm.oid('public key algorithm')
  const point = fields.bitString('subjectPublicKey')
  fields.finish('subjectPublicKeyInfo')
  if (kind !== oid.ecPublicKey || !algorithm.at(derTag.oid) || algorithm.oid('curve') !== oid.prime256v1) return null
  algorithm.finish('public key algorithm')
  if (point.length !== 65 || point[0] !== 4) throw fail(code, 'expected an uncompressed P-256 point')
  return point.subarray(1)
}
