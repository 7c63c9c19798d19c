import * as crypto from '#crypto'
import {
  derBitString,
  derBoolean,
  derContext,
  derContextPrimitive,
  derEnumerated,
  derInteger,
  derNamedBits,
  derOctetString,
  derOid,
  derPrintableString,
  derSequence,
  derSetOf,
  derTime,
  derUtf8String,
} from '../../bytes/der-writer.ts'
import { concat, toBase64, toHex, utf8 } from '../../bytes/index.ts'
import type { MaybePromise } from '../../crypto/types.ts'

/** Signs with ECDSA on P-256 over SHA-256 of the message and gives 64 bytes r || s. The private key stays with the caller. */
export type SignP256 = (message: Uint8Array) => MaybePromise<Uint8Array>

const attributes = { CN: '2.5.4.3', O: '2.5.4.10', L: '2.5.4.7', ST: '2.5.4.8', C: '2.5.4.6' } as const
/** A distinguished name: relative names in order, each of one attribute. */
export type Name = readonly (readonly [keyof typeof attributes, string])[]

/** One X.509 extension; `value` is the DER inside its OCTET STRING. */
export interface Extension {
  readonly oid: string
  readonly critical: boolean
  readonly value: Uint8Array
}

/** What a certificate says (RFC 5280 section 4.1.2). It says exactly this: no extension is added or corrected. */
export interface CertificateFields {
  /** Unsigned big-endian, at most 20 bytes. */
  readonly serial: Uint8Array
  readonly issuer: Name
  readonly subject: Name
  readonly notBefore: Date
  readonly notAfter: Date
  /** P-256: 64 bytes x || y. */
  readonly publicKey: Uint8Array
  readonly extensions: readonly Extension[]
}

/** What a revocation list says (RFC 5280 section 5.1.2). */
export interface CrlFields {
  readonly issuer: Name
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly revoked: readonly { readonly serial: Uint8Array; readonly at: Date }[]
  readonly extensions: readonly Extension[]
}

const ecdsaWithSha256 = derSequence(derOid('1.2.840.10045.4.3.2'))
const p256Algorithm = derSequence(derOid('1.2.840.10045.2.1'), derOid('1.2.840.10045.3.1.7'))
const keyCompromise: Extension = { oid: '2.5.29.21', critical: false, value: derEnumerated(1) }

/**
 * An X.509 v3 certificate for a P-256 key, signed with ECDSA over SHA-256, as DER.
 *
 * It judges nothing: what `fields` says is what gets signed, sound or not, so that tests can issue what a verifier must refuse.
 * Throws `TypeError` for a key that is not 64 bytes, a serial that is not 1 to 20 bytes, or a signer that does not give 64 bytes.
 */
export function issueCertificate(fields: CertificateFields, sign: SignP256): Promise<Uint8Array> {
  return signed(
    derSequence(
      derContext(0, derInteger(2)),
      serialNumber(fields.serial),
      ecdsaWithSha256,
      distinguishedName(fields.issuer),
      derSequence(derTime(fields.notBefore), derTime(fields.notAfter)),
      distinguishedName(fields.subject),
      subjectPublicKeyInfo(fields.publicKey),
      ...(fields.extensions.length === 0 ? [] : [derContext(3, extensionList(fields.extensions))]),
    ),
    sign,
  )
}

/** An X.509 v2 revocation list, as DER. Each entry says keyCompromise, as Intel's do. Judges nothing and throws as {@link issueCertificate} does. */
export function issueCrl(fields: CrlFields, sign: SignP256): Promise<Uint8Array> {
  const entries = fields.revoked.map(({ serial, at }) => derSequence(serialNumber(serial), derTime(at), extensionList([keyCompromise])))
  return signed(
    derSequence(
      derInteger(1),
      ecdsaWithSha256,
      distinguishedName(fields.issuer),
      derTime(fields.thisUpdate),
      derTime(fields.nextUpdate),
      // The list of entries is absent, not empty, where nothing is revoked (RFC 5280 section 5.1.2.6).
      ...(entries.length === 0 ? [] : [derSequence(...entries)]),
      ...(fields.extensions.length === 0 ? [] : [derContext(0, extensionList(fields.extensions))]),
    ),
    sign,
  )
}

async function signed(body: Uint8Array, sign: SignP256): Promise<Uint8Array> {
  const signature = await sign(body)
  if (signature.length !== 64) throw new TypeError(`issue: expected a signature of 64 bytes r || s, found ${signature.length}`)
  const value = derSequence(derInteger(signature.subarray(0, 32)), derInteger(signature.subarray(32)))
  return derSequence(body, ecdsaWithSha256, derBitString(value))
}

function serialNumber(serial: Uint8Array): Uint8Array {
  if (serial.length < 1 || serial.length > 20) throw new TypeError(`issue: expected a serial of 1 to 20 bytes, found ${serial.length}`)
  return derInteger(serial)
}

function distinguishedName(name: Name): Uint8Array {
  // A country is a PrintableString by definition (RFC 5280 appendix A.1), the rest UTF8String.
  const text = (attribute: string, value: string): Uint8Array => (attribute === 'C' ? derPrintableString(value) : derUtf8String(value))
  return derSequence(...name.map(([attribute, value]) => derSetOf(derSequence(derOid(attributes[attribute]), text(attribute, value)))))
}

function extensionList(extensions: readonly Extension[]): Uint8Array {
  return derSequence(
    ...extensions.map(({ oid, critical, value }) => derSequence(derOid(oid), ...(critical ? [derBoolean(true)] : []), derOctetString(value))),
  )
}

/** SubjectPublicKeyInfo of a P-256 key given as 64 bytes x || y (RFC 5480). */
export function subjectPublicKeyInfo(publicKey: Uint8Array): Uint8Array {
  if (publicKey.length !== 64) throw new TypeError(`issue: expected a P-256 key of 64 bytes, found ${publicKey.length}`)
  return derSequence(p256Algorithm, derBitString(concat(Uint8Array.of(4), publicKey)))
}

/** Key identifier of a P-256 key: the first 20 bytes of SHA-256 of the point (RFC 7093 section 2, method 1). */
export async function keyIdentifier(publicKey: Uint8Array): Promise<Uint8Array> {
  return (await crypto.sha256(concat(Uint8Array.of(4), publicKey))).slice(0, 20)
}

/** A random serial of 20 bytes whose top bits are 01: positive, and never shorter. */
export function randomSerial(): Uint8Array {
  const serial = crypto.randomBytes(20)
  serial[0] = ((serial[0] as number) & 0x3f) | 0x40
  return serial
}

/** Critical basicConstraints: a CA whose chain may go `pathLength` deeper, or, for null, not a CA. */
export function basicConstraints(pathLength: number | null): Extension {
  return { oid: '2.5.29.19', critical: true, value: pathLength === null ? derSequence() : derSequence(derBoolean(true), derInteger(pathLength)) }
}

const usages = { digitalSignature: 0, nonRepudiation: 1, keyCertSign: 5, cRLSign: 6 } as const
/** Critical keyUsage. */
export function keyUsage(...names: readonly (keyof typeof usages)[]): Extension {
  return { oid: '2.5.29.15', critical: true, value: derNamedBits(names.map((name) => usages[name])) }
}

export function subjectKeyIdentifier(keyId: Uint8Array): Extension {
  return { oid: '2.5.29.14', critical: false, value: derOctetString(keyId) }
}

export function authorityKeyIdentifier(keyId: Uint8Array): Extension {
  return { oid: '2.5.29.35', critical: false, value: derSequence(derContextPrimitive(0, keyId)) }
}

export function crlDistributionPoint(uri: string): Extension {
  const fullName = derContext(0, derContext(0, derContextPrimitive(6, utf8(uri))))
  return { oid: '2.5.29.31', critical: false, value: derSequence(derSequence(fullName)) }
}

export function crlNumber(number: number): Extension {
  return { oid: '2.5.29.20', critical: false, value: derInteger(number) }
}

/** PEM of a certificate (RFC 7468): lines of 64 characters, a newline at the end. */
export function certificatePem(certificate: Uint8Array): string {
  const lines = toBase64(certificate).match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

/** A TLS server certificate to issue. At least one name or address. */
export interface SelfSignedTlsFields {
  /** P-256: 64 bytes x || y. */
  readonly publicKey: Uint8Array
  readonly sign: SignP256
  readonly dnsNames: readonly string[]
  /** IPv4 in dotted form, or the 4 or 16 bytes of an address. */
  readonly ipAddresses: readonly (string | Uint8Array)[]
  readonly notBefore: Date
  readonly notAfter: Date
}

export interface SelfSignedTls {
  readonly certificate: Uint8Array
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hex: what a keyset lists and a client pins. */
  readonly spkiSha256: string
}

/**
 * A self-signed TLS server certificate: subjectAltName, serverAuth, digitalSignature, not a CA.
 * Trust comes from the key's presence in an attested keyset, never from this certificate's own signature or dates.
 * Throws `TypeError` for no names, names that are not LDH labels (a leading `*.` is allowed) or malformed addresses.
 */
export async function issueSelfSignedTls(fields: SelfSignedTlsFields): Promise<SelfSignedTls> {
  const names = [
    ...fields.dnsNames.map((name) => derContextPrimitive(2, dnsName(name))),
    ...fields.ipAddresses.map((address) => derContextPrimitive(7, ipAddress(address))),
  ]
  if (names.length === 0) throw new TypeError('issue: expected at least one DNS name or IP address')
  const subject: Name = [['CN', 'Veritee attested TLS key']]
  const certificate = await issueCertificate(
    {
      serial: randomSerial(),
      issuer: subject,
      subject,
      notBefore: fields.notBefore,
      notAfter: fields.notAfter,
      publicKey: fields.publicKey,
      extensions: [
        basicConstraints(null),
        keyUsage('digitalSignature'),
        { oid: '2.5.29.37', critical: false, value: derSequence(derOid('1.3.6.1.5.5.7.3.1')) },
        { oid: '2.5.29.17', critical: false, value: derSequence(...names) },
        subjectKeyIdentifier(await keyIdentifier(fields.publicKey)),
      ],
    },
    fields.sign,
  )
  return { certificate, spkiSha256: toHex(await crypto.sha256(subjectPublicKeyInfo(fields.publicKey))) }
}

function dnsName(name: string): Uint8Array {
  const label = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
  if (name.length > 253 || !new RegExp(`^(?:\\*\\.)?${label}(?:\\.${label})*$`).test(name)) throw new TypeError('issue: expected a DNS name')
  return utf8(name)
}

function ipAddress(address: string | Uint8Array): Uint8Array {
  if (typeof address !== 'string') {
    if (address.length !== 4 && address.length !== 16) throw new TypeError(`issue: expected 4 or 16 address bytes, found ${address.length}`)
    return address
  }
  const octets = address.split('.')
  if (octets.length !== 4 || !octets.every((octet) => /^(?:0|[1-9][0-9]{0,2})$/.test(octet) && Number(octet) < 256))
    throw new TypeError('issue: expected a dotted IPv4 address; give IPv6 as 16 bytes')
  return Uint8Array.from(octets, Number)
}
