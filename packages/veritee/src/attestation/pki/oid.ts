import { KnownOids } from '../../bytes/oids.ts'

/** Object identifiers that certificates and revocation lists of DCAP use (RFC 5280, RFC 5480, RFC 5758). */
export const oid = {
  ecPublicKey: '1.2.840.10045.2.1',
  prime256v1: '1.2.840.10045.3.1.7',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  basicConstraints: '2.5.29.19',
  crlNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  crlDistributionPoints: '2.5.29.31',
  authorityKeyIdentifier: '2.5.29.35',
  /** Intel SGX PCK Certificate and CRL Profile, section 1.3.5. */
  sgxExtension: '1.2.840.113741.1.13.1',
} as const

/** Those of {@link oid}, and the others that Intel's certificates and lists hold. */
export const knownOids: KnownOids = new KnownOids([
  ...Object.values(oid),
  // Country, locality, state, organization.
  ...['2.5.4.6', '2.5.4.7', '2.5.4.8', '2.5.4.10'],
])
