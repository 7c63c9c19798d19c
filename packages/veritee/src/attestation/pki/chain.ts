import * as crypto from '#crypto'
import { fromBase64 } from '../../bytes/base64.ts'
import { equal, fromUtf8 } from '../../bytes/bytes.ts'
import type { MaybePromise, P256Key } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { fail } from '../../errors.ts'
import { Shelf, ShelfView, sameBytes, tailOf, tailOfText } from '../cache/shelf.ts'
import type { SignedDocument } from '../tcb/document.ts'
import { type Certificate, readCertificate } from './certificate.ts'
import { type Crl, parseCrl } from './crl.ts'
import { findExtension, keyUsageBit } from './extensions.ts'
import { oid } from './oid.ts'
import { endOfFirstBlock, maxPemLength, readPem } from './pem.ts'
import { parseSgxExtension, type SgxExtension } from './sgx-extension.ts'

/** A certificate chain in the order leaf to root. */
export type Chain = readonly [leaf: Certificate, ...issuers: Certificate[]]

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

/** A key, a signature and what it is over. */
export interface Signed {
  readonly tbs: Uint8Array
  /** 64 bytes r || s; null where it is of another kind. */
  readonly signature: Uint8Array | null
}

interface SignedBytes extends Signed {
  readonly signature: Uint8Array
}

interface QuotedChain {
  readonly pem: Uint8Array
  readonly chain: Chain
}

/** The part of a quoted chain behind its first certificate: the same for all platforms of an authority. */
interface QuotedIssuers {
  readonly pem: Uint8Array
  readonly certificates: readonly Certificate[]
}

interface PemCertificate {
  /** Without line ends. */
  readonly base64: string
  readonly certificate: Certificate
}

interface ImportedKey {
  readonly publicKey: Uint8Array
  readonly key: P256Key
}

/** What certificate pools of several verifications may share. All of it follows from bytes alone, not from the time or from whom one trusts. */
export class PoolShelves {
  readonly chains: Shelf<string, Chain>
  readonly quotedChains: Shelf<number, QuotedChain>
  readonly quotedIssuers: Shelf<number, QuotedIssuers>
  readonly certificates: Shelf<number, PemCertificate>
  readonly crls: Shelf<number, Crl>
  readonly signedBytes: Shelf<number, SignedBytes>
  readonly keys: Shelf<number, ImportedKey>
  readonly facts: PoolFacts = new PoolFacts()

  constructor(maxEntries: number) {
    this.chains = new Shelf(maxEntries)
    this.quotedChains = new Shelf(maxEntries)
    this.quotedIssuers = new Shelf(maxEntries)
    this.certificates = new Shelf(maxEntries)
    this.crls = new Shelf(maxEntries)
    this.signedBytes = new Shelf(maxEntries)
    this.keys = new Shelf(maxEntries)
  }
}

/** Found once about an object that never changes, and forgotten with it. Only what has passed is here. */
class PoolFacts {
  /** The public key that signed it. */
  readonly signer = new WeakMap<Signed, Uint8Array>()
  readonly profile = new WeakMap<Chain, ChainProfile>()
  readonly sgx = new WeakMap<Certificate, SgxExtension>()
  readonly description = new WeakMap<Chain | Crl | SignedDocument, string>()
}

/**
 * The certificates and revocation lists met during one verification. Equal DER is one object, parsed once; a signature that held is not checked
 * again; each key is imported once. Nothing in it is a verdict: dates, trusted roots and revocation are judged by the callers, each time.
 *
 * It lives for one call. With shelves it also finds what earlier calls have left there, and leaves what it made when
 * {@link CertificatePool.commit} is called.
 */
export class CertificatePool {
  readonly #chains: ShelfView<string, Chain>
  readonly #quotedChains: ShelfView<number, QuotedChain>
  readonly #quotedIssuers: ShelfView<number, QuotedIssuers>
  readonly #certificates: ShelfView<number, PemCertificate>
  readonly #crls: ShelfView<number, Crl>
  readonly #signedBytes: ShelfView<number, SignedBytes>
  readonly #keys: ShelfView<number, ImportedKey>
  readonly #facts: PoolFacts

  constructor(shelves: PoolShelves | null = null) {
    this.#chains = new ShelfView(shelves?.chains ?? null)
    this.#quotedChains = new ShelfView(shelves?.quotedChains ?? null)
    this.#quotedIssuers = new ShelfView(shelves?.quotedIssuers ?? null)
    this.#certificates = new ShelfView(shelves?.certificates ?? null)
    this.#crls = new ShelfView(shelves?.crls ?? null)
    this.#signedBytes = new ShelfView(shelves?.signedBytes ?? null)
    this.#keys = new ShelfView(shelves?.keys ?? null)
    this.#facts = shelves?.facts ?? new PoolFacts()
  }

  /**
   * Parses a PEM chain and orders it leaf to root, whatever its order was (P18).
   * Throws `malformed_encoding`, `certificate_malformed`, `chain_invalid`.
   */
  chain(pem: string, length: number): Chain {
    const known = this.#chains.get(pem)
    if (known !== undefined && known.length === length) return known
    return this.#chains.set(pem, orderChain(this.#parseCertificates(pem), length))
  }

  /**
   * {@link CertificatePool.chain} of text that Intel's library ends with NUL; NUL inside the text is not ignored. Nobody will write to these bytes:
   * they are not copied.
   *
   * What stands behind the first certificate is looked up by itself: the platforms of an authority share it. It has been the end of a text that
   * passed, so the first part alone gives, or is refused for, what the whole would.
   */
  chainOfBytes(pem: Uint8Array, length: number): Chain {
    // The leaf comes first, and these are from its serial number, which is random.
    const name = nameOfPem(pem)
    const known = this.#quotedChains.get(name)
    if (known !== undefined && known.chain.length === length && sameBytes(known.pem, pem)) return known.chain
    const firstEnd = endOfFirstBlock(pem)
    const rest = pem.subarray(firstEnd)
    const restName = nameOfPem(rest)
    const issuers = this.#quotedIssuers.get(restName)
    if (issuers !== undefined && pem.length <= maxPemLength && sameBytes(issuers.pem, rest)) {
      const first = this.#parseCertificates(fromUtf8(pem.subarray(0, firstEnd)))
      return this.#quotedChains.set(name, { pem, chain: orderChain([...first, ...issuers.certificates], length) }).chain
    }
    let end = pem.length
    while (end > 0 && pem[end - 1] === 0) end--
    const certificates = this.#parseCertificates(fromUtf8(pem.subarray(0, end)))
    const chain = orderChain(certificates, length)
    // Of a text that has passed, this begins with the end of a line.
    if (rest.length > 0) this.#quotedIssuers.set(restName, { pem: rest, certificates: certificates.slice(1) })
    return this.#quotedChains.set(name, { pem, chain }).chain
  }

  #parseCertificates(pem: string): readonly Certificate[] {
    const texts = readPem(pem)
    const known = texts.map((base64) => this.#knownCertificate(base64))
    // All are decoded before any is parsed, so that what is refused first does not depend on what is known.
    const decoded = texts.map((base64, index) => (known[index] === null ? fromBase64(base64) : null))
    return texts.map((base64, index) => known[index] ?? this.#newCertificate(base64, decoded[index] as Uint8Array))
  }

  #knownCertificate(base64: string): Certificate | null {
    const known = this.#certificates.get(tailOfText(base64))
    return known?.base64 === base64 ? known.certificate : null
  }

  #newCertificate(base64: string, der: Uint8Array): Certificate {
    return this.#certificates.set(tailOfText(base64), { base64, certificate: readCertificate(der) }).certificate
  }

  /** Parses a revocation list. Throws `crl_malformed`. */
  crl(der: Uint8Array): Crl {
    const key = tailOf(der)
    const known = this.#crls.get(key)
    if (known !== undefined && sameBytes(known.der, der)) return known
    return this.#crls.set(key, parseCrl(der))
  }

  /** Signed bytes that are met again, such as the report of a quoting enclave: the same object for the same bytes and signature, which nobody will write to. */
  signedBytes(bytes: Uint8Array, signature: Uint8Array): Signed {
    const name = tailOf(signature)
    const known = this.#signedBytes.get(name)
    if (known !== undefined && sameBytes(known.tbs, bytes) && sameBytes(known.signature, signature)) return known
    return this.#signedBytes.set(name, { tbs: bytes, signature })
  }

  /** Parses the SGX extension of a PCK certificate. Throws `certificate_malformed`. */
  sgxExtension(certificate: Certificate): SgxExtension {
    const { sgx } = this.#facts
    const known = sgx.get(certificate)
    if (known !== undefined) return known
    const extension = parseSgxExtension(certificate)
    sgx.set(certificate, extension)
    return extension
  }

  /** True if `issuer`'s key signed `item`. Remembered is the key and not the certificate, which may be reissued for the same key (P20). */
  signed(issuer: Certificate, item: Signed): MaybePromise<boolean> {
    const signer = this.#facts.signer.get(item)
    if (signer !== undefined && issuer.publicKey !== null && equal(signer, issuer.publicKey)) return true
    return this.#verifySigned(issuer, item)
  }

  #verifySigned(issuer: Certificate, item: Signed): MaybePromise<boolean> {
    const { publicKey } = issuer
    if (publicKey === null || item.signature === null) return false
    return whenDone(this.verify(publicKey, item.signature, item.tbs), (valid) => {
      if (valid) this.#facts.signer.set(item, publicKey)
      return valid
    })
  }

  /** True if the key made this signature; false for bytes that are no P-256 key. Nobody will write to the key. */
  verify(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): MaybePromise<boolean> {
    const name = tailOf(publicKey)
    const known = this.#keys.get(name)
    if (known !== undefined && equal(known.publicKey, publicKey)) return known.key.verify(signature, message)
    return whenDone(crypto.importP256(publicKey), (key) => {
      if (key === null) return false
      this.#keys.set(name, { publicKey, key })
      return key.verify(signature, message)
    })
  }

  /** {@link verifyChain}, once for each chain and profile. */
  verifyChain(chain: Chain, profile: ChainProfile): MaybePromise<void> {
    if (this.#facts.profile.get(chain) === profile) return undefined
    return whenDone(verifyChain(this, chain, profile), () => {
      this.#facts.profile.set(chain, profile)
    })
  }

  /** What `words` say about something, which depends on it alone: putting dates into words takes longer than checking them. */
  describe<T extends Chain | Crl | SignedDocument>(thing: T, words: (thing: T) => string): string {
    const { description } = this.#facts
    const known = description.get(thing)
    if (known !== undefined) return known
    const text = words(thing)
    description.set(thing, text)
    return text
  }

  /** Leaves everything that was made on the shelves. To be called when the whole verification has passed. */
  commit(): void {
    this.#chains.commit()
    this.#quotedChains.commit()
    this.#quotedIssuers.commit()
    this.#certificates.commit()
    this.#crls.commit()
    this.#signedBytes.commit()
    this.#keys.commit()
  }
}

/** Of the text of a chain or of its rest: from the serial number of the first certificate in it, which is random. */
function nameOfPem(pem: Uint8Array): number {
  return tailOf(pem.subarray(0, 64))
}

function orderChain(certificates: readonly Certificate[], length: number): Chain {
  if (certificates.length !== length) throw fail('chain_invalid', `expected ${length} certificates, found ${certificates.length}`)
  const ordered: Certificate[] = []
  while (ordered.length < length) {
    const [issuer] = ordered
    let next: Certificate | null = null
    for (const certificate of certificates) {
      // The first is the one that names itself as its issuer.
      if (ordered.includes(certificate) || !equal(certificate.issuer.der, (issuer ?? certificate).subject.der)) continue
      next = next === null ? certificate : notOneChain(length)
    }
    ordered.unshift(next ?? notOneChain(length))
  }
  return ordered as [Certificate, ...Certificate[]]
}

function notOneChain(length: number): never {
  throw fail('chain_invalid', `expected one chain of ${length} from a leaf to a self-issued root`)
}

/** The last certificate of a chain. */
export function rootOf(chain: Chain): Certificate {
  return chain.at(-1) as Certificate
}

/** What certificates a chain must consist of. */
export interface ChainProfile {
  /** Parts of the common names, leaf to root. */
  readonly names: readonly string[]
  /** True for the part of a chain above its end entity. */
  readonly authoritiesOnly: boolean
}

/**
 * Checks a chain from the root down: common names, P-256 keys, the extensions of Intel's profile, basicConstraints with CA and path length, keyUsage,
 * no critical extension that is not understood (RFC 5280 section 6.1, which Intel's library leaves out), and each signature by its issuer.
 *
 * The root is taken as given: the caller has compared it with a trusted one. Does not check dates and revocation. Throws `chain_invalid`.
 */
function verifyChain(pool: CertificatePool, chain: Chain, profile: ChainProfile, depth: number = chain.length - 1): MaybePromise<void> {
  const certificate = chain[depth] as Certificate
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
  const issuer = chain[depth + 1]
  return whenDone(issuer === undefined ? true : pool.signed(issuer, certificate), (valid) => {
    if (!valid) throw fail('chain_invalid', `${name}: not signed by its issuer`)
    return depth === 0 ? undefined : verifyChain(pool, chain, profile, depth - 1)
  })
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
  // As numbers: comparing Date objects converts each of them through their methods.
  const now = at.getTime()
  for (const { notBefore, notAfter, subject } of chain) {
    const name = subject.commonName ?? 'a certificate'
    if (now > notAfter.getTime()) throw fail('certificate_expired', `${name}: valid until ${iso(notAfter)}, verified at ${iso(at)}`)
    if (!(now >= notBefore.getTime())) throw fail('certificate_not_yet_valid', `${name}: valid from ${iso(notBefore)}, verified at ${iso(at)}`)
  }
}

function iso(date: Date): string {
  return date.toISOString()
}
