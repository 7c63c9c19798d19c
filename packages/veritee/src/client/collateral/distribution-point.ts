import type { Certificate } from '../../attestation/index.ts'
import { DerReader, derTag } from '../../bytes/der.ts'
import { fail } from '../../errors.ts'

const cRLDistributionPoints = '2.5.29.31'
/** Where Intel publishes the list of its root. */
export const intelDistributionHosts: readonly string[] = ['certificates.trustedservices.intel.com']

/**
 * The URL at which a certificate says its issuer's revocation list is (RFC 5280 section 4.2.1.13): the first URI of the first distribution point.
 *
 * The certificate is not verified yet, so the URL is anybody's choice: it is used only if it is https, on the default port, without credentials, and
 * its host is one of `hosts`, compared whole. Throws `collateral_unavailable` for any other, `certificate_malformed`.
 */
export function distributionPoint(certificate: Certificate, hosts: readonly string[]): string {
  const value = certificate.extensions.find(({ id }) => id === cRLDistributionPoints)?.value
  const uri = value === undefined ? null : firstUri(value)
  const url = uri === null || !URL.canParse(uri) ? null : new URL(uri)
  if (url === null) throw fail('collateral_unavailable', 'expected the root certificate to name where its revocation list is')
  if (url.protocol !== 'https:' || url.port !== '' || url.username !== '' || url.password !== '' || !hosts.includes(url.hostname))
    throw fail('collateral_unavailable', `the root certificate names a list at ${url.origin}, which is not on the list of allowed hosts`)
  return url.href
}

function firstUri(value: Uint8Array): string | null {
  const what = 'cRLDistributionPoints'
  const reader = new DerReader(value, 'certificate_malformed')
  reader.open(derTag.sequence, what)
  reader.open(derTag.sequence, what)
  // [0] DistributionPointName, [0] fullName, [6] uniformResourceIdentifier.
  for (const tag of [0xa0, 0xa0]) {
    if (!reader.at(tag)) return null
    reader.open(tag, what)
  }
  if (!reader.at(0x86)) return null
  const bytes = reader.read(0x86, what)
  return bytes.length > 1024 ? null : String.fromCharCode(...bytes)
}
