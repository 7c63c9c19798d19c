import { DerReader, derTag } from '../../bytes/der.ts'
import type { ErrorCode } from '../../errors.ts'
import { oid } from './oid.ts'

/** A distinguished name. Names are compared by their DER: no case folding, no reordering. */
export interface Name {
  readonly der: Uint8Array
  /** The one commonName, or null where there is none. */
  readonly commonName: string | null
}

// RFC 5280 appendix A.1 bounds no sequence of RDNs; Intel's have five.
const maxAttributes = 32

/** Reads a Name (RFC 5280 section 4.1.2.4). Refuses string types other than UTF8, Printable and IA5, and a second commonName. */
export function readName(reader: DerReader, code: ErrorCode, what: string): Name {
  const der = reader.raw(derTag.sequence, what)
  const rdns = new DerReader(der, code).enter(derTag.sequence, what)
  let commonName: string | null = null
  for (let count = 0; !rdns.done; count++) {
    if (count === maxAttributes) throw rdns.refuse(`at most ${maxAttributes} attributes in ${what}`)
    let empty = true
    for (const attribute of rdns.elements(derTag.set, what, maxAttributes)) {
      empty = false
      const type = attribute.oid(what)
      const text = attribute.text(what)
      attribute.finish(what)
      if (type !== oid.commonName) continue
      if (commonName !== null) throw rdns.refuse(`${what}: one common name`)
      commonName = text
    }
    if (empty) throw rdns.refuse(`${what}: no empty attribute set`)
  }
  return { der, commonName }
}
