import { DerReader, derTag } from '../../bytes/der.ts'
import { fail } from '../../errors.ts'
import { type Extension, findExtension, readExtensions } from './extensions.ts'
import { type Name, type NameView, readName } from './name.ts'
import { oid } from './oid.ts'
import { readAlgorithm, readEcdsaSignature } from './signature-value.ts'

/** The serial numbers on a list, in the form of `Certificate.serial`; of a list in force there are hundreds, of which one is looked for. */
export class RevokedSerials {
  readonly #der: Uint8Array
  /** Where the contents of each userCertificate INTEGER begin and end. */
  readonly #bounds: readonly number[]

  constructor(der: Uint8Array, bounds: readonly number[]) {
    this.#der = der
    this.#bounds = bounds
  }

  get length(): number {
    return this.#bounds.length / 2
  }

  /** True if this serial number is on the list. */
  has(serial: Uint8Array): boolean {
    const { length } = serial
    for (let entry = 0; entry < this.#bounds.length; entry += 2) {
      const end = this.#bounds[entry + 1] as number
      if (end - (this.#bounds[entry] as number) !== length) continue
      // From the last octet: Intel's serial numbers are random, and many begin with a zero.
      let left = length
      while (left > 0 && this.#der[end - length + left - 1] === serial[left - 1]) left--
      if (left === 0) return true
    }
    return false
  }

  /** Views of all of them, in the order of the list. */
  all(): readonly Uint8Array[] {
    const found: Uint8Array[] = []
    for (let entry = 0; entry < this.#bounds.length; entry += 2) found.push(this.#der.subarray(this.#bounds[entry], this.#bounds[entry + 1]))
    return found
  }
}

/** A complete X.509 v2 certificate revocation list (RFC 5280 section 5.1) as parsed: nothing in it is verified. */
export interface Crl {
  readonly der: Uint8Array
  readonly tbs: Uint8Array
  readonly issuer: Name
  readonly thisUpdate: Date
  readonly nextUpdate: Date
  readonly revoked: RevokedSerials
  readonly extensions: readonly Extension[]
  /** 64 bytes r || s. */
  readonly signature: Uint8Array
}

const code = 'crl_malformed'
// Intel's largest is about 3.4 KiB; this leaves room for ten thousand entries.
const maxLength = 524_288
const maxEntries = 16_384

/**
 * Parses a DER revocation list as Intel issues them: strict DER, version 2, ecdsa-with-SHA256, nextUpdate present, CRLNumber and
 * AuthorityKeyIdentifier present, no critical extension on the list or on an entry (so no delta, indirect or partial list), no trailing bytes.
 *
 * Does not check the signature, issuer or window. PEM and hex are not accepted here. Throws `crl_malformed`.
 */
export function parseCrl(der: Uint8Array): Crl {
  return readCrl(der.length > maxLength ? der : new Uint8Array(der))
}

/** A list that remembers the public key by which its signature has been found to hold. */
export interface PooledCrl extends Crl {
  signer: Uint8Array | null
}

/** {@link parseCrl} of bytes that nobody will write to, with names that were read before. */
export function readCrl(der: Uint8Array, names: NameView | null = null): PooledCrl {
  if (der.length > maxLength) throw fail(code, `expected a revocation list of at most ${maxLength} bytes, found ${der.length}`)
  const reader = new DerReader(der, code)
  const list = reader.open(derTag.sequence, 'certificateList')
  const tbsAt = reader.position
  const fields = reader.open(derTag.sequence, 'tbsCertList')
  if (reader.unsigned('version', 255) !== 1) throw fail(code, 'expected version 2')
  const inner = readAlgorithm(reader, 'signature')
  const issuer = readName(reader, 'issuer', names)
  const thisUpdate = reader.time('thisUpdate')
  const nextUpdate = reader.time('nextUpdate')
  const revoked = reader.at(derTag.sequence) ? readEntries(reader) : []
  const wrapper = reader.open(0xa0, 'crlExtensions')
  const extensions = readExtensions(reader, 'crlExtensions')
  reader.close(wrapper, 'crlExtensions')
  reader.close(fields, 'tbsCertList')
  const tbs = reader.since(tbsAt)
  const algorithm = readAlgorithm(reader, 'signatureAlgorithm')
  if (algorithm !== oid.ecdsaWithSha256 || inner !== algorithm) throw fail(code, 'expected ecdsa-with-SHA256')
  const signature = readEcdsaSignature(reader)
  reader.close(list, 'certificateList')
  reader.finish('certificateList')
  for (const required of [oid.crlNumber, oid.authorityKeyIdentifier])
    if (findExtension(extensions, required) === undefined) throw fail(code, `expected the extension ${required}`)
  refuseCritical(extensions)
  return { der, tbs, issuer, thisUpdate, nextUpdate, revoked: new RevokedSerials(der, revoked), extensions, signature, signer: null }
}

/** Reads revokedCertificates, and returns where each serial number begins and ends. */
function readEntries(reader: DerReader): readonly number[] {
  const what = 'revokedCertificates'
  const bounds: number[] = []
  // Most entries of a list say when and why in the same bytes as the one before. What was read once is not read again.
  let known = 0
  let knownLength = -1
  const entries = reader.open(derTag.sequence, what)
  while (!reader.done) {
    if (bounds.length === 2 * maxEntries) throw reader.refuse(`at most ${maxEntries} items in ${what}`)
    const entry = reader.open(derTag.sequence, what)
    bounds.push(reader.passInteger('userCertificate'), reader.position)
    const from = reader.position
    if (reader.left === knownLength && reader.same(from, known, knownLength)) reader.leave(entry)
    else {
      reader.time('revocationDate')
      // Whatever the reason says, an entry on a complete list revokes.
      if (!reader.done) refuseCritical(readExtensions(reader, 'crlEntryExtensions'))
      reader.close(entry, 'revokedCertificate')
    }
    known = from
    knownLength = reader.position - from
  }
  reader.close(entries, what)
  // RFC 5280 section 5.1.2.6: without entries the list is absent.
  if (bounds.length === 0) throw reader.refuse('no empty revokedCertificates')
  return bounds
}

function refuseCritical(extensions: readonly Extension[]): void {
  const critical = extensions.find((extension) => extension.critical)
  if (critical !== undefined) throw fail(code, `expected no critical extension, found ${critical.id}`)
}
