import * as crypto from '#crypto'
import type { SigningKey } from '../../crypto/types.ts'
import {
  authorityKeyIdentifier,
  basicConstraints,
  crlDistributionPoint,
  crlNumber,
  type Extension,
  issueCertificate,
  issueCrl,
  keyIdentifier,
  keyUsage,
  type Name,
  randomSerial,
  subjectKeyIdentifier,
} from '../pki/issue.ts'

/** A key that signs, and the certificate that says so. The private key is inside `key.sign` and nowhere else. */
export interface Authority {
  readonly subject: Name
  readonly serial: Uint8Array
  /** DER. */
  readonly certificate: Uint8Array
  readonly key: SigningKey
}

/** A certificate still to be signed: everything but its key and its issuer. */
export interface CertificateProfile {
  readonly subject: Name
  readonly notBefore: Date
  readonly notAfter: Date
  /** Without the two key identifiers, which {@link issueAuthority} puts before these. */
  readonly extensions: readonly Extension[]
}

/** Changes a certificate before it is signed. Tests make with it what a verifier must refuse. */
export type Alteration = (profile: CertificateProfile) => CertificateProfile

/** The subject of a simulated certificate: the common name of Intel's profile, which verification reads, under an organization that says what it is. */
export function simulatedName(commonName: string): Name {
  return [
    ['CN', commonName],
    ['O', 'Veritee Simulator (SIMULATED, not hardware)'],
  ]
}

/** A certification authority as Intel's profile has it: certSign and crlSign, and `pathLength` more levels below. */
export function caProfile(commonName: string, pathLength: number, notBefore: Date, notAfter: Date): CertificateProfile {
  const extensions = [crlDistributionPoint('https://simulator.invalid/root.crl'), keyUsage('keyCertSign', 'cRLSign'), basicConstraints(pathLength)]
  return { subject: simulatedName(commonName), notBefore, notAfter, extensions }
}

/** A certificate that signs no others, as Intel's profile has it: digitalSignature, nonRepudiation, not a CA. */
export function leafProfile(commonName: string, notBefore: Date, notAfter: Date, ...more: readonly Extension[]): CertificateProfile {
  const extensions = [
    crlDistributionPoint('https://simulator.invalid/issuer.crl'),
    keyUsage('digitalSignature', 'nonRepudiation'),
    basicConstraints(null),
    ...more,
  ]
  return { subject: simulatedName(commonName), notBefore, notAfter, extensions }
}

/** A fresh key with a certificate from `issuer`, or, for null, a self-signed one. */
export async function issueAuthority(profile: CertificateProfile, issuer: Authority | null): Promise<Authority> {
  const key = await crypto.generateP256()
  const serial = randomSerial()
  const signer = issuer ?? { subject: profile.subject, key }
  const keyIds = [authorityKeyIdentifier(await keyIdentifier(signer.key.publicKey)), subjectKeyIdentifier(await keyIdentifier(key.publicKey))]
  const certificate = await issueCertificate(
    {
      serial,
      issuer: signer.subject,
      subject: profile.subject,
      notBefore: profile.notBefore,
      notAfter: profile.notAfter,
      publicKey: key.publicKey,
      extensions: [...keyIds, ...profile.extensions],
    },
    signer.key.sign,
  )
  return { subject: profile.subject, serial, certificate, key }
}

/** The window of a revocation list or of a signed document. */
export interface Window {
  readonly from: Date
  readonly to: Date
}

/** The revocation list of an authority, with the CRL number and authority key identifier that Intel's lists carry. */
export async function issueAuthorityCrl(issuer: Authority, revoked: readonly Uint8Array[], window: Window, number = 1): Promise<Uint8Array> {
  return issueCrl(
    {
      issuer: issuer.subject,
      thisUpdate: window.from,
      nextUpdate: window.to,
      revoked: revoked.map((serial) => ({ serial, at: window.from })),
      extensions: [crlNumber(number), authorityKeyIdentifier(await keyIdentifier(issuer.key.publicKey))],
    },
    issuer.key.sign,
  )
}
