import { parseCertificate, parsePem } from '../../attestation/index.ts'
import { fail } from '../../errors.ts'

/** Header names, lower case, the current version's first (P18). */
export const issuerChainHeaders = {
  // API v4, then v3.
  tcbInfo: ['tcb-info-issuer-chain', 'sgx-tcb-info-issuer-chain'],
  qeIdentity: ['sgx-enclave-identity-issuer-chain'],
  pckCrl: ['sgx-pck-crl-issuer-chain'],
  pckCertificate: ['sgx-pck-certificate-issuer-chain', 'pcs-certificate-issuer-chain'],
} as const

/**
 * The PEM issuer chain in a response's headers: percent-encoded, in whichever order of certificates the service has (P18; verification orders them).
 * Every certificate must parse; nothing is verified. Throws `collateral_malformed`, `malformed_encoding`, `certificate_malformed`.
 */
export function issuerChain(headers: { readonly [name: string]: string }, names: readonly string[]): string {
  const name = names.find((candidate) => Object.hasOwn(headers, candidate))
  const value = name === undefined ? undefined : headers[name]
  if (value === undefined) throw fail('collateral_malformed', `expected a header ${names[0]}`)
  let text: string
  try {
    text = decodeURIComponent(value)
  } catch (cause) {
    throw fail('collateral_malformed', `${name}: expected percent-encoded PEM`, cause)
  }
  for (const certificate of parsePem(text)) parseCertificate(certificate)
  return text.endsWith('\n') ? text : `${text}\n`
}
