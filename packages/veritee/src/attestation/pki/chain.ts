import { sameBytes } from '#crypto'
import type { MaybePromise } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import type { PooledCertificate } from './certificate.ts'
import { findExtension, keyUsageBit } from './extensions.ts'
import type { Name } from './name.ts'
import { oid } from './oid.ts'

/** A certificate chain in the order leaf to root. */
export type Certificates = readonly [leaf: PooledCertificate, ...issuers: PooledCertificate[]]

/** What certificates a chain must consist of. */
export interface ChainProfile {
  /** Parts of the common names, leaf to root. */
  readonly names: readonly string[]
  /** True for the part of a chain above its end entity. */
  readonly authoritiesOnly: boolean
}

/** A chain as read. It remembers what was found about it that depends on nothing else. */
export class Chain {
  readonly certificates: Certificates
  /** The profile that {@link verifyChain} has found it to obey. */
  profile: ChainProfile | null = null

  constructor(certificates: Certificates) {
    this.certificates = certificates
  }

  get leaf(): PooledCertificate {
    return this.certificates[0]
  }

  get root(): PooledCertificate {
    return this.certificates[this.certificates.length - 1] as PooledCertificate
  }
}

/** The chain of `length` certificates that stand in any order (P18). Throws `chain_invalid`. */
export function orderChain(certificates: readonly PooledCertificate[], length: number): Chain {
  if (certificates.length !== length) throw fail('chain_invalid', `expected ${length} certificates, found ${certificates.length}`)
  if (inOrder(certificates)) return new Chain(certificates as Certificates)
  const ordered: PooledCertificate[] = []
  while (ordered.length < length) {
    const [issuer] = ordered
    let next: PooledCertificate | null = null
    for (const certificate of certificates) {
      // The first is the one that names itself as its issuer.
      if (ordered.includes(certificate) || !sameName(certificate.issuer, (issuer ?? certificate).subject)) continue
      next = next === null ? certificate : notOneChain(length)
    }
    ordered.unshift(next ?? notOneChain(length))
  }
  return new Chain(ordered as [PooledCertificate, ...PooledCertificate[]])
}

/** As Intel writes them. Subjects that differ, each naming the next as its issuer and the last itself, are one chain and in no other order. */
function inOrder(certificates: readonly PooledCertificate[]): boolean {
  const last = certificates.length - 1
  for (let at = 0; at <= last; at++) {
    const { issuer, subject } = certificates[at] as PooledCertificate
    if (!sameName(issuer, (certificates[Math.min(at + 1, last)] as PooledCertificate).subject)) return false
    for (let above = at + 1; above <= last; above++) if (sameName(subject, (certificates[above] as PooledCertificate).subject)) return false
  }
  return true
}

function sameName(a: Name, b: Name): boolean {
  return a === b || sameBytes(a.der, b.der)
}

function notOneChain(length: number): never {
  throw fail('chain_invalid', `expected one chain of ${length} from a leaf to a self-issued root`)
}

// Intel's profile has these in every certificate, and its library refuses one that lacks any.
const required: readonly string[] = [
  oid.authorityKeyIdentifier,
  oid.crlDistributionPoints,
  oid.subjectKeyIdentifier,
  oid.keyUsage,
  oid.basicConstraints,
]

// Extensions whose meaning this verifier enforces; any other one that is critical is refused (RFC 5280 section 4.2).
const understood: readonly string[] = [oid.basicConstraints, oid.keyUsage, oid.sgxExtension]

/** Who finds out, or remembers, whether the key of `issuer` signed `certificate`. */
export interface SignatureCheck {
  signed(issuer: PooledCertificate, certificate: PooledCertificate): MaybePromise<boolean>
}

/**
 * Checks a chain from the root down: common names, P-256 keys, the extensions of Intel's profile, basicConstraints with CA and path length, keyUsage,
 * no critical extension that is not understood (RFC 5280 section 6.1, which Intel's library leaves out), and each signature by its issuer. Once for a
 * chain and a profile.
 *
 * The root is taken as given: the caller has compared it with a trusted one. Does not check dates and revocation. Throws `chain_invalid`.
 */
export function verifyChain(pool: SignatureCheck, chain: Chain, profile: ChainProfile): MaybePromise<void> {
  if (chain.profile === profile) return undefined
  return whenDone(verifyFrom(pool, chain, profile, chain.certificates.length - 1), () => {
    chain.profile = profile
  })
}

function verifyFrom(pool: SignatureCheck, chain: Chain, profile: ChainProfile, depth: number): MaybePromise<void> {
  const certificate = chain.certificates[depth] as PooledCertificate
  const name = certificate.subject.commonName ?? 'a certificate without a common name'
  const expected = profile.names[depth]
  if (expected === undefined || !name.includes(expected)) throw fail('chain_invalid', `expected '${expected}', found '${name.slice(0, 64)}'`)
  if (certificate.publicKey === null) throw fail('chain_invalid', `${name}: expected a P-256 key`)
  for (const { critical, id } of certificate.extensions)
    if (critical && !understood.includes(id)) throw fail('chain_invalid', `${name}: the critical extension ${id} is not understood`)
  for (const id of required)
    if (findExtension(certificate.extensions, id) === undefined) throw fail('chain_invalid', `${name}: expected the extension ${id}`)
  if (profile.authoritiesOnly) checkAuthority(certificate, name, depth)
  else if (depth > 0) checkAuthority(certificate, name, depth - 1)
  else checkLeaf(certificate, name)
  const issuer = chain.certificates[depth + 1]
  return whenDone(issuer === undefined ? true : pool.signed(issuer, certificate), (valid) => {
    if (!valid) throw fail('chain_invalid', `${name}: not signed by its issuer`)
    return depth === 0 ? undefined : verifyFrom(pool, chain, profile, depth - 1)
  })
}

function checkAuthority(certificate: PooledCertificate, name: string, authoritiesBelow: number): void {
  const constraints = certificate.basicConstraints
  if (constraints === null || !constraints.ca) throw fail('chain_invalid', `${name}: expected a certification authority (basicConstraints)`)
  if (constraints.pathLength !== null && constraints.pathLength < authoritiesBelow)
    throw fail('chain_invalid', `${name}: expected a path length of at least ${authoritiesBelow}, found ${constraints.pathLength}`)
  if (certificate.keyUsage === null || (certificate.keyUsage & keyUsageBit.keyCertSign) === 0)
    throw fail('chain_invalid', `${name}: expected the key usage keyCertSign`)
}

function checkLeaf(certificate: PooledCertificate, name: string): void {
  if (certificate.basicConstraints?.ca === true) throw fail('chain_invalid', `${name}: expected an end entity, found a certification authority`)
  if (certificate.keyUsage === null || (certificate.keyUsage & keyUsageBit.digitalSignature) === 0)
    throw fail('chain_invalid', `${name}: expected the key usage digitalSignature`)
}

/** Both bounds inclusive. Throws `certificate_expired` or `certificate_not_yet_valid`. */
export function checkWindow({ certificates }: Chain, at: Date): void {
  // As numbers: comparing Date objects converts each of them through their methods.
  const now = at.getTime()
  for (const { notBefore, notAfter, subject } of certificates) {
    if (now >= notBefore.getTime() && now <= notAfter.getTime()) continue
    const name = subject.commonName ?? 'a certificate'
    if (now > notAfter.getTime()) throw fail('certificate_expired', `${name}: valid until ${iso(notAfter)}, verified at ${iso(at)}`)
    throw fail('certificate_not_yet_valid', `${name}: valid from ${iso(notBefore)}, verified at ${iso(at)}`)
  }
}

function iso(date: Date): string {
  return date.toISOString()
}
