import { DerReader, derTag } from '../../bytes/der.ts'
import { fail } from '../../errors.ts'
import { type BasicConstraints, type Extension, readBasicConstraints, readExtensions, readKeyUsage } from './extensions.ts'
import { type Name, type NameView, readName } from './name.ts'
import { knownOids, oid } from './oid.ts'
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
  return readCertificate(der.length > maxLength ? der : new Uint8Array(der))
}

/** A certificate among others of one verification or of one cache. */
export interface PooledCertificate extends Certificate {
  /** The public key by which its signature has been found to hold. */
  signer: Uint8Array | null
}

/** {@link parseCertificate} of bytes that nobody will write to: they are not copied. */
export function readCertificate(der: Uint8Array, names: NameView | null = null): PooledCertificate {
  if (der.length > maxLength) throw fail(code, `expected a certificate of at most ${maxLength} bytes, found ${der.length}`)
  const reader = new DerReader(der, code)
  const certificate = reader.open(derTag.sequence, 'certificate')
  const tbsAt = reader.position
  const fields = reader.open(derTag.sequence, 'tbsCertificate')
  const version = reader.open(0xa0, 'version')
  if (reader.unsigned('version', 255) !== 2) throw fail(code, 'expected version 3')
  reader.close(version, 'version')
  const serial = reader.integer('serialNumber')
  if (serial.length > maxSerialOctets || (serial[0] as number) >= 0x80) throw fail(code, 'expected a non-negative serial number of at most 20 octets')
  const innerAt = reader.position
  const algorithm = readAlgorithm(reader, 'signature')
  const innerEnd = reader.position
  const issuer = readName(reader, 'issuer', names)
  const validity = reader.open(derTag.sequence, 'validity')
  const notBefore = reader.time('notBefore')
  const notAfter = reader.time('notAfter')
  reader.close(validity, 'validity')
  const subject = readName(reader, 'subject', names)
  const key = readKey(reader)
  const wrapper = reader.open(0xa3, 'extensions')
  const extensions = readExtensions(reader, 'extensions')
  reader.close(wrapper, 'extensions')
  reader.close(fields, 'tbsCertificate')
  const tbs = reader.since(tbsAt)

  const outerAt = reader.position
  readAlgorithm(reader, 'signatureAlgorithm')
  const length = innerEnd - innerAt
  if (reader.position - outerAt !== length || !reader.same(innerAt, outerAt, length))
    throw fail(code, 'expected the same signature algorithm inside and out')
  let signature: Uint8Array | null = null
  if (algorithm === oid.ecdsaWithSha256) signature = readEcdsaSignature(reader)
  else reader.leave(reader.openBits('signatureValue'))
  reader.close(certificate, 'certificate')
  reader.finish('certificate')

  return {
    der,
    tbs,
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    spki: key.spki,
    publicKey: key.point,
    extensions,
    basicConstraints: readBasicConstraints(extensions, code),
    keyUsage: readKeyUsage(extensions, code),
    signature,
    signer: null,
  }
}

/** Reads a SubjectPublicKeyInfo. RFC 5480 section 2: named curve, uncompressed point. */
function readKey(reader: DerReader): { readonly spki: Uint8Array; readonly point: Uint8Array | null } {
  const what = 'public key algorithm'
  const start = reader.position
  const fields = reader.open(derTag.sequence, 'subjectPublicKeyInfo')
  const algorithm = reader.open(derTag.sequence, what)
  const isP256 = reader.oid(what, knownOids) === oid.ecPublicKey && reader.at(derTag.oid) && reader.oid('curve', knownOids) === oid.prime256v1
  if (isP256) reader.finish(what)
  reader.leave(algorithm)
  const bits = reader.openBits('subjectPublicKey')
  const pointAt = reader.position
  reader.leave(bits)
  const point = reader.since(pointAt)
  reader.close(fields, 'subjectPublicKeyInfo')
  if (isP256 && (point.length !== 65 || point[0] !== 4)) throw fail(code, 'expected an uncompressed P-256 point')
  return { spki: reader.since(start), point: isP256 ? point.subarray(1) : null }
}
