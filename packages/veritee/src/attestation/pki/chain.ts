import * as crypto from '#crypto'
import { equal } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import { keyUsageBit } from './extensions.ts'
import { oid } from './oid.ts'
import { parsePem } from './pem.ts'

/** A certificate chain in the order leaf to root. */
export type Chain = readonly [leaf: Certificate, ...issuers: Certificate[]]

// Extensions whose meaning this verifier enforces; any other one that is critical is refused (RFC 5280 section 4.2).
const understood: readonly string[] = [oid.basicConstraints, oid.keyUsage, oid.sgxExtension]

/**
 * The certificates met during one verification. Equal DER is one object, parsed once; a certificate checked against its issuer is not checked again.
 * It lives for one call: nothing verified is carried to another time or another root.
 */
export class CertificatePool {
  readonly #certificates: Certificate[] = []
  readonly #issuerOf = new Map<Certificate, Certificate>()

  /** Parses a PEM chain and orders it leaf to root, whatever its order was (P18). Throws `malformed_encoding`, `certificate_malformed`, `chain_invalid`. */
  chain(pem: string, length: number): Chain {
    return orderChain(
      parsePem(pem).map((der) => this.#certificate(der)),
      length,
    )
  }

  #certificate(der: Uint8Array): Certificate {
    const known = this.#certificates.find((certificate) => equal(certificate.der, der))
    if (known !== undefined) return known
    const certificate = parseCertificate(der)
    this.#certificates.push(certificate)
    return certificate
  }

  /** True if `issuer`'s key signed `certificate`. */
  async signed(issuer: Certificate, certificate: Certificate): Promise<boolean> {
    if (this.#issuerOf.get(certificate) === issuer) return true
    if (issuer.publicKey === null || certificate.signature === null) return false
    if (!(await crypto.verifyP256(issuer.publicKey, certificate.signature, certificate.tbs))) return false
    this.#issuerOf.set(certificate, issuer)
    return true
  }
}

function orderChain(certificates: readonly Certificate[], length: number): Chain {
  if (certificates.length !== length) throw fail('chain_invalid', `expected ${length} certificates, found ${certificates.length}`)
  const ordered: Certificate[] = []
  let next = certificates.filter((certificate) => equal(certificate.issuer.der, certificate.subject.der))
  while (next.length === 1) {
    const [issuer] = next as [Certificate]
    ordered.unshift(issuer)
    next = certificates.filter((certificate) => !ordered.includes(certificate) && equal(certificate.issuer.der, issuer.subject.der))
  }
  const [leaf, ...issuers] = ordered
  if (leaf === undefined || ordered.length !== length)
    throw fail('chain_invalid', `expected one chain of ${length} from a leaf to a self-issued root`)
  return [leaf, ...issuers]
}

/** The last certificate of a chain. */
export function rootOf(chain: Chain): Certificate {
  return chain.at(-1) as Certificate
}

/**
 * Checks a chain from the root down: common names contain `names` (leaf to root), P-256 keys, basicConstraints with CA and path length, keyUsage,
 * no critical extension that is not understood (RFC 5280 section 6.1, which Intel's library leaves out), and each signature by its issuer.
 *
 * The root is taken as given: the caller has compared it with a trusted one. Does not check dates and revocation. Throws `chain_invalid`.
 */
export async function verifyChain(pool: CertificatePool, chain: Chain, names: readonly string[]): Promise<void> {
  for (const [depth, certificate] of [...chain.entries()].reverse()) {
    const name = certificate.subject.commonName ?? 'a certificate without a common name'
    const expected = names[depth]
    if (expected === undefined || !name.includes(expected)) throw fail('chain_invalid', `expected '${expected}', found '${name.slice(0, 64)}'`)
    if (certificate.publicKey === null) throw fail('chain_invalid', `${name}: expected a P-256 key`)
    const unknown = certificate.extensions.find((extension) => extension.critical && !understood.includes(extension.id))
    if (unknown !== undefined) throw fail('chain_invalid', `${name}: the critical extension ${unknown.id} is not understood`)
    if (depth > 0) checkAuthority(certificate, name, depth - 1)
    else checkLeaf(certificate, name)
    const issuer = chain[depth + 1]
    if (issuer !== undefined && !(await pool.signed(issuer, certificate))) throw fail('chain_invalid', `${name}: not signed by its issuer`)
  }
}

function checkAuthority(certificate: Certificate, name: string, authoritiesBelow: number): void {
  const constraints = certificate.basicConstraints
  if (constraints === null || !constraints.ca) throw fail('chain_invalid', `${name}: expected a certification authority (basicConstraints)`)
  if (constraints.pathLength !== null && constraints.pathLength < authoritiesBelow)
    throw fail('chain_invalid', `${name}: expected a path length of at least ${authoritiesBelow}, found ${constraints.pathLength}`)
  if (certificate.keyUsage === null || (certificate.keyUsage & keyUsageBit.keyCertSign) === 0)
    throw fail('chain_invalid', `${name}: expected the key usage keyCertSign`)
}

function checkLeaf(certificate: Certificate, name: string): void {
  if (certificate.basicConstraints?.ca === true) throw fail('chain_invalid', `${name}: expected an end entity, found a certification authority`)
  if (certificate.keyUsage === null || (certificate.keyUsage & keyUsageBit.digitalSignature) === 0)
    throw fail('chain_invalid', `${name}: expected the key usage digitalSignature`)
}

/** Both bounds inclusive. Throws `certificate_expired` or `certificate_not_yet_valid`. */
export function checkWindow(chain: Chain, at: Date): void {
  for (const certificate of chain) {
    const name = certificate.subject.commonName ?? 'a certificate'
    if (at > certificate.notAfter) throw fail('certificate_expired', `${name}: valid until ${iso(certificate.notAfter)}, verified at ${iso(at)}`)
    if (at < certificate.notBefore)
      throw fail('certificate_not_yet_valid', `${name}: valid from ${iso(certificate.notBefore)}, verified at ${iso(at)}`)
  }
}

function iso(date: Date): string {
  return date.toISOString()
}
