import { type DerReader, derTag } from '../../bytes/der.ts'
import { knownOids, oid } from './oid.ts'

/** A distinguished name. Names are compared by their DER: no case folding, no reordering. */
export interface Name {
  readonly der: Uint8Array
  /** The one commonName, or null where there is none. */
  readonly commonName: string | null
}

// RFC 5280 appendix A.1 bounds no sequence of RDNs; Intel's have five.
const maxAttributes = 32

/** Reads a Name (RFC 5280 section 4.1.2.4). Refuses string types other than UTF8, Printable and IA5, and a second commonName. */
export function readName(reader: DerReader, what: string): Name {
  const start = reader.position
  let commonName: string | null = null
  const name = reader.open(derTag.sequence, what)
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
  reader.close(name, what)
  return { der: reader.since(start), commonName }
}
