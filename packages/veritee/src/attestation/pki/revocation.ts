import * as crypto from '#crypto'
import { equal } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import type { Certificate } from './certificate.ts'
import { type Crl, isRevoked } from './crl.ts'
import { keyUsageBit } from './extensions.ts'

/**
 * Checks a revocation list against the certificate of the authority that must have issued it, in this order: issuer name byte for byte,
 * key usage cRLSign, signature by that authority's key, window with both bounds inclusive (P2).
 *
 * The authority itself must have been verified by the caller. Throws `crl_issuer_mismatch`, `crl_signature_invalid`, `crl_expired`.
 */
export async function verifyCrl(crl: Crl, authority: Certificate, at: Date): Promise<void> {
  if (!equal(crl.issuer.der, authority.subject.der))
    throw fail('crl_issuer_mismatch', `expected a list of '${authority.subject.commonName}', found '${crl.issuer.commonName}'`)
  if (authority.keyUsage === null || (authority.keyUsage & keyUsageBit.crlSign) === 0)
    throw fail('crl_issuer_mismatch', `'${authority.subject.commonName}' may not sign revocation lists (key usage)`)
  if (authority.publicKey === null || !(await crypto.verifyP256(authority.publicKey, crl.signature, crl.tbs)))
    throw fail('crl_signature_invalid', `the list of '${authority.subject.commonName}' is not signed by that authority's key`)
  if (at < crl.thisUpdate || at > crl.nextUpdate)
    throw fail(
      'crl_expired',
      `the list of '${authority.subject.commonName}' is for ${crl.thisUpdate.toISOString()} to ${crl.nextUpdate.toISOString()}, verified at ${at.toISOString()}`,
    )
}

/** Throws `certificate_revoked` if the list of its issuer names this certificate. The list must have been verified with {@link verifyCrl}. */
export function checkNotRevoked(crl: Crl, certificate: Certificate): void {
  if (isRevoked(crl, certificate.serial)) throw fail('certificate_revoked', `'${certificate.subject.commonName}' is on the list of its issuer`)
}
