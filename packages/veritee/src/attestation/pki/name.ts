import { sameBytes } from '#crypto'
import { type DerReader, derTag } from '../../bytes/der.ts'
import { type Shelf, ShelfView } from '../cache/shelf.ts'
import { knownOids, oid } from './oid.ts'

/** A distinguished name. Names are compared by their DER: no case folding, no reordering. */
export interface Name {
  readonly der: Uint8Array
  /** The one commonName, or null where there is none. */
  readonly commonName: string | null
}

// RFC 5280 appendix A.1 bounds no sequence of RDNs; Intel's have five.
const maxAttributes = 32

/** Names that were read before, found by all of their bytes: each certificate repeats its issuer's, and all PCK certificates have one subject. */
export class NameView {
  readonly #view: ShelfView<number, Name>

  constructor(shelf: Shelf<number, Name> | null) {
    this.#view = new ShelfView(shelf)
  }

  find(der: Uint8Array): Name | null {
    const known = this.#view.get(sumOf(der))
    return known !== undefined && sameBytes(known.der, der) ? known : null
  }

  keep(name: Name): Name {
    return this.#view.set(sumOf(name.der), name)
  }

  /** As `ShelfView.commit`. */
  commit(): void {
    this.#view.commit()
  }
}

/** A key that is cheap to make: all names end alike. */
function sumOf(der: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < der.length; at++) sum = (Math.imul(sum, 31) + (der[at] as number)) & 0x3fff_ffff
  return sum
}

/**
 * Reads a Name (RFC 5280 section 4.1.2.4). Refuses string types other than UTF8, Printable and IA5, and a second commonName. One of the `known` names
 * is not read again.
 */
export function readName(reader: DerReader, what: string, known: NameView | null = null): Name {
  const start = reader.position
  const outer = reader.open(derTag.sequence, what)
  const der = reader.through(start)
  const found = known?.find(der) ?? null
  if (found !== null) {
    reader.leave(outer)
    return found
  }
  const commonName = readAttributes(reader, what)
  reader.close(outer, what)
  const name = { der, commonName }
  return known === null ? name : known.keep(name)
}

/** Reads an RDNSequence to its end, and returns the commonName. */
function readAttributes(reader: DerReader, what: string): string | null {
  let commonName: string | null = null
  for (let count = 0; !reader.done; count++) {
    if (count === maxAttributes) throw reader.refuse(`at most ${maxAttributes} attributes in ${what}`)
    const set = reader.open(derTag.set, what)
    if (reader.done) throw reader.refuse(`${what}: no empty attribute set`)
    let before = -1
    for (let inSet = 0; !reader.done; inSet++) {
      if (inSet === maxAttributes) throw reader.refuse(`at most ${maxAttributes} attributes in ${what}`)
      const from = reader.position
      const attribute = reader.open(derTag.sequence, what)
      if (reader.oid(what, knownOids) !== oid.commonName) reader.passText(what)
      else if (commonName === null) commonName = reader.text(what)
      else throw reader.refuse(`${what}: one common name`)
      reader.close(attribute, what)
      if (before >= 0) reader.ascending(before, from, what)
      before = from
    }
    reader.close(set, what)
  }
  return commonName
}
