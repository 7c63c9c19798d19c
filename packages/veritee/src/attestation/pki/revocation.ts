import { sameBytes } from '#crypto'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import type { Certificate } from './certificate.ts'
import type { Crl, PooledCrl } from './crl.ts'
import { keyUsageBit } from './extensions.ts'
import type { CertificatePool } from './pool.ts'

/**
 * Checks a revocation list against the certificate of the authority that must have issued it, in this order: issuer name byte for byte,
 * key usage cRLSign, signature by that authority's key, window with both bounds inclusive (P2).
 *
 * The authority itself must have been verified by the caller. Throws `crl_issuer_mismatch`, `crl_signature_invalid`, `crl_expired`.
 */
export function verifyCrl(pool: CertificatePool, crl: PooledCrl, authority: Certificate, at: Date): MaybePromise<void> {
  if (crl.issuer !== authority.subject && !sameBytes(crl.issuer.der, authority.subject.der))
    throw fail('crl_issuer_mismatch', `expected a list of '${authority.subject.commonName}', found '${crl.issuer.commonName}'`)
  if (authority.keyUsage === null || (authority.keyUsage & keyUsageBit.crlSign) === 0)
    throw fail('crl_issuer_mismatch', `'${authority.subject.commonName}' may not sign revocation lists (key usage)`)
  return whenDone(pool.signed(authority, crl), (valid) => {
    if (!valid) throw fail('crl_signature_invalid', `the list of '${authority.subject.commonName}' is not signed by that authority's key`)
    const { thisUpdate, nextUpdate } = crl
    const now = at.getTime()
    if (!(now >= thisUpdate.getTime() && now <= nextUpdate.getTime()))
      throw fail(
        'crl_expired',
        `the list of '${authority.subject.commonName}' is for ${thisUpdate.toISOString()} to ${nextUpdate.toISOString()}, verified at ${at.toISOString()}`,
      )
  })
}

/** Throws `certificate_revoked` if the list of its issuer names this certificate. The list must have been verified with {@link verifyCrl}. */
export function checkNotRevoked(crl: Crl, certificate: Certificate): void {
  if (crl.revoked.has(certificate.serial)) throw fail('certificate_revoked', `'${certificate.subject.commonName}' is on the list of its issuer`)
}
