import { type Certificate, parseCertificate, parsePem, parseSgxExtension, type Quote, type SgxExtension } from '../../attestation/index.ts'
import { fromUtf8 } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'

/** Which collateral a quote needs, read from its PCK certificate. Nothing here is verified: a forged quote asks for another platform's collateral, and fails with it. */
export interface Platform {
  readonly tee: 'sgx' | 'tdx'
  /** 6 bytes hex, lower case. */
  readonly fmspc: string
  readonly pceId: string
  /** Which of Intel's two authorities issued the PCK certificate: its revocation list is the one needed. */
  readonly ca: 'processor' | 'platform'
  /** The self-issued certificate of the chain; null where the quote carries the leaf only. */
  readonly root: Certificate | null
}

/**
 * Reads the platform of a quote that carries its PCK certificate (certification data of types 4 and 5).
 * Throws `quote_no_pck_chain` for the other types, `chain_invalid`, `certificate_malformed`, `malformed_encoding`.
 */
export function platformOf(quote: Quote): Platform {
  const { certification } = quote
  if (certification.kind === 'platform')
    throw fail('quote_no_pck_chain', `expected a PCK certificate, found certification data of type ${certification.type}`)
  const certificates = certificatesOf(pemText(certification.pem))
  const { leaf, extension } = pckLeaf(certificates)
  return { tee: quote.tee, fmspc: extension.fmspc, pceId: extension.pceId, ca: authorityOf(leaf), root: certificates.find(isSelfIssued) ?? null }
}

export function certificatesOf(pem: string): readonly Certificate[] {
  return parsePem(pem).map(parseCertificate)
}

/** Intel's library ends the text with NUL. */
export function pemText(bytes: Uint8Array): string {
  let length = bytes.length
  while (length > 0 && bytes[length - 1] === 0) length--
  return fromUtf8(bytes.subarray(0, length))
}

/** The certificate with the SGX extension. Throws `certificate_malformed` where there is none. */
export function pckLeaf(certificates: readonly Certificate[]): { readonly leaf: Certificate; readonly extension: SgxExtension } {
  const leaf = certificates.find(({ extensions }) => extensions.some(({ id }) => id === '1.2.840.113741.1.13.1')) ?? certificates[0]
  if (leaf === undefined) throw fail('certificate_malformed', 'expected a PCK certificate')
  return { leaf, extension: parseSgxExtension(leaf) }
}

function authorityOf(leaf: Certificate): 'processor' | 'platform' {
  const name = leaf.issuer.commonName ?? ''
  if (name.includes('Processor CA')) return 'processor'
  if (name.includes('Platform CA')) return 'platform'
  throw fail('chain_invalid', `expected a PCK certificate of the Processor or Platform CA, found one of '${name.slice(0, 64)}'`)
}

function isSelfIssued({ issuer, subject }: Certificate): boolean {
  return issuer.der.length === subject.der.length && issuer.der.every((byte, i) => byte === subject.der[i])
}
