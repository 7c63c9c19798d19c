import * as crypto from '#crypto'
import { fromBase64 } from '../../bytes/base64.ts'
import { fromUtf8 } from '../../bytes/bytes.ts'
import type { MaybePromise, P256Key } from '../../crypto/types.ts'
import { whenDone } from '../../crypto/when-done.ts'
import { Shelf, ShelfView, tailOf, tailOfText } from '../cache/shelf.ts'
import { Slab } from '../cache/slab.ts'
import { type PooledCertificate, readCertificate } from './certificate.ts'
import { type Chain, orderChain, type SignatureCheck } from './chain.ts'
import { type PooledCrl, readCrl } from './crl.ts'
import { type Name, NameView } from './name.ts'
import { decodeFirstBlock, maxPemLength, readPem } from './pem.ts'
import { parseSgxExtension, type SgxExtension } from './sgx-extension.ts'

/** A signature and what it is over. */
export interface Signed {
  readonly tbs: Uint8Array
  /** 64 bytes r || s; null where it is of another kind. */
  readonly signature: Uint8Array | null
  /** The public key by which it has been found to hold. */
  signer: Uint8Array | null
}

interface SignedBytes extends Signed {
  readonly signature: Uint8Array
}

/** The chain that a quote carries, and what Intel certifies in its leaf. */
export interface QuotedChain {
  readonly pem: Uint8Array
  readonly chain: Chain
  readonly sgx: SgxExtension
}

/** The part of a quoted chain behind its first certificate: the same for all platforms of an authority. */
interface QuotedIssuers {
  readonly pem: Uint8Array
  readonly certificates: readonly PooledCertificate[]
}

interface PemCertificate {
  /** Without line ends. */
  readonly base64: string
  readonly certificate: PooledCertificate
}

interface ImportedKey {
  readonly publicKey: Uint8Array
  readonly key: P256Key
}

/** What certificate pools of several verifications may share. All of it follows from bytes alone, not from the time or from whom one trusts. */
export class PoolShelves {
  readonly quotedChains: Shelf<number, QuotedChain>
  readonly quotedIssuers: Shelf<number, QuotedIssuers>
  readonly certificates: Shelf<number, PemCertificate>
  readonly signedBytes: Shelf<number, SignedBytes>
  readonly keys: Shelf<number, ImportedKey>
  readonly names: Shelf<number, Name>

  constructor(maxEntries: number) {
    this.quotedChains = new Shelf(maxEntries)
    this.quotedIssuers = new Shelf(maxEntries)
    this.certificates = new Shelf(maxEntries)
    this.signedBytes = new Shelf(maxEntries)
    this.keys = new Shelf(maxEntries)
    this.names = new Shelf(maxEntries)
  }
}

// A quote carries Intel's PCK certificate, its authority and the root.
const quotedLength = 3

/**
 * The certificates and signatures met during one verification. Equal PEM is one object, parsed once; a signature that held is not checked again; each
 * key is imported once. Nothing in it is a verdict: dates, trusted roots and revocation are judged by the callers, each time.
 *
 * It lives for one call. With shelves it also finds what earlier calls have left there, and leaves what it made when
 * {@link CertificatePool.commit} is called.
 */
export class CertificatePool implements SignatureCheck {
  readonly #slab: Slab
  readonly #quotedChains: ShelfView<number, QuotedChain>
  readonly #quotedIssuers: ShelfView<number, QuotedIssuers>
  readonly #certificates: ShelfView<number, PemCertificate>
  readonly #signedBytes: ShelfView<number, SignedBytes>
  readonly #keys: ShelfView<number, ImportedKey>
  readonly #names: NameView

  constructor(shelves: PoolShelves | null = null, slab: Slab = new Slab()) {
    this.#slab = slab
    this.#quotedChains = new ShelfView(shelves?.quotedChains ?? null)
    this.#quotedIssuers = new ShelfView(shelves?.quotedIssuers ?? null)
    this.#certificates = new ShelfView(shelves?.certificates ?? null)
    this.#signedBytes = new ShelfView(shelves?.signedBytes ?? null)
    this.#keys = new ShelfView(shelves?.keys ?? null)
    this.#names = new NameView(shelves?.names ?? null)
  }

  /**
   * Parses a PEM chain and orders it leaf to root, whatever its order was (P18).
   * Throws `malformed_encoding`, `certificate_malformed`, `chain_invalid`.
   */
  chain(pem: string, length: number): Chain {
    return orderChain(this.#parseCertificates(pem), length)
  }

  /**
   * {@link CertificatePool.chain} of the text in a quote, which Intel's library ends with NUL; NUL inside the text is not ignored. Nobody will write to
   * these bytes: they are not copied. Reads the SGX extension of the leaf too.
   *
   * What stands behind the first certificate is looked up by itself: the platforms of an authority share it. It has been the end of a text that
   * passed, so behind another block that is well-formed it gives what the whole would.
   */
  quotedChain(pem: Uint8Array): QuotedChain {
    // The leaf comes first, and these are from its serial number, which is random.
    const name = nameOfPem(pem)
    const known = this.#quotedChains.get(name)
    if (known !== undefined && crypto.sameBytes(known.pem, pem)) return known
    const chain = this.#readQuoted(pem)
    return this.#quotedChains.set(name, { pem, chain, sgx: parseSgxExtension(chain.leaf) })
  }

  #readQuoted(pem: Uint8Array): Chain {
    const first = pem.length <= maxPemLength ? decodeFirstBlock(pem, this.#slab) : null
    const rest = first === null ? noBytes : pem.subarray(first.end)
    const restName = nameOfPem(rest)
    const issuers = this.#quotedIssuers.get(restName)
    if (first !== null && issuers !== undefined && crypto.sameBytes(issuers.pem, rest))
      return orderChain([readCertificate(first.der, this.#names), ...issuers.certificates], quotedLength)
    let end = pem.length
    while (end > 0 && pem[end - 1] === 0) end--
    const certificates = this.#parseCertificates(fromUtf8(pem.subarray(0, end)))
    const chain = orderChain(certificates, quotedLength)
    if (first !== null) this.#quotedIssuers.set(restName, { pem: rest, certificates: certificates.slice(1) })
    return chain
  }

  #parseCertificates(pem: string): readonly PooledCertificate[] {
    const texts = readPem(pem)
    const known = texts.map((base64) => this.#knownCertificate(base64))
    // All are decoded before any is parsed, so that what is refused first does not depend on what is known.
    const decoded = texts.map((base64, index) => (known[index] === null ? fromBase64(base64) : null))
    return texts.map((base64, index) => known[index] ?? this.#newCertificate(base64, decoded[index] as Uint8Array))
  }

  #knownCertificate(base64: string): PooledCertificate | null {
    const known = this.#certificates.get(tailOfText(base64))
    return known?.base64 === base64 ? known.certificate : null
  }

  #newCertificate(base64: string, der: Uint8Array): PooledCertificate {
    return this.#certificates.set(tailOfText(base64), { base64, certificate: readCertificate(der, this.#names) }).certificate
  }

  /** Parses a revocation list. Throws `crl_malformed`. */
  crl(der: Uint8Array): PooledCrl {
    return readCrl(der, this.#names)
  }

  /** Signed bytes that are met again, such as the report of a quoting enclave: the same object for the same bytes and signature, which nobody will write to. */
  signedBytes(tbs: Uint8Array, signature: Uint8Array): Signed {
    const name = tailOf(signature)
    const known = this.#signedBytes.get(name)
    if (known !== undefined && crypto.sameBytes(known.tbs, tbs) && crypto.sameBytes(known.signature, signature)) return known
    return this.#signedBytes.set(name, { tbs, signature, signer: null })
  }

  /** True if `issuer`'s key signed `item`. Remembered is the key and not the certificate, which may be reissued for the same key (P20). */
  signed({ publicKey }: { readonly publicKey: Uint8Array | null }, item: Signed): MaybePromise<boolean> {
    if (publicKey === null || item.signature === null) return false
    if (item.signer !== null && (item.signer === publicKey || crypto.sameBytes(item.signer, publicKey))) return true
    return whenDone(this.verify(publicKey, item.signature, item.tbs), (valid) => {
      if (valid) item.signer = publicKey
      return valid
    })
  }

  /** True if the key made this signature; false for bytes that are no P-256 key. Nobody will write to the key. */
  verify(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): MaybePromise<boolean> {
    const name = tailOf(publicKey)
    const known = this.#keys.get(name)
    if (known !== undefined && crypto.sameBytes(known.publicKey, publicKey)) return known.key.verify(signature, message)
    return whenDone(crypto.importP256(publicKey), (key) => {
      if (key === null) return false
      this.#keys.set(name, { publicKey, key })
      return key.verify(signature, message)
    })
  }

  /** Leaves everything that was made on the shelves. To be called when the whole verification has passed. */
  commit(): void {
    this.#quotedChains.commit()
    this.#quotedIssuers.commit()
    this.#certificates.commit()
    this.#signedBytes.commit()
    this.#keys.commit()
    this.#names.commit()
  }
}

const noBytes = new Uint8Array(0)

/** Of the text of a chain or of its rest: from the serial number of the first certificate in it, which is random. */
function nameOfPem(pem: Uint8Array): number {
  return tailOf(pem, Math.min(pem.length, 64))
}
