import { fromUtf8, type Json, jcs, parseJson, Shape, utf8 } from 'veritee/bytes'
import { readResourceName } from '../store/index.ts'

/**
 * An entry of a log that revokes a resource (spec/key-release.md, section "Revocations in a log"): every version up to `through`. It is not signed: whoever may add documents to the log may revoke,
 * which takes something away and gives nobody anything.
 */
export interface Revocation {
  readonly resource: string
  readonly through: number
}

const version = 'veritee.key-revocation.v1'
const maxLength = 1024
const shape = new Shape('malformed_document')

/** The bytes of the entry: JCS. */
export function revocationEntry({ resource, through }: Revocation): Uint8Array {
  return utf8(jcs({ version, resource: readResourceName(resource), through } satisfies Json))
}

/** The revocation that an entry of a log is; null for any other, and for one that is not well-formed: a log keeps for ever what was once added, and must not stop its readers. */
export function revocationOf(entry: Uint8Array): Revocation | null {
  // Most entries are hashes.
  if (entry.length > maxLength || !Buffer.from(entry.buffer, entry.byteOffset, entry.length).includes(version)) return null
  try {
    const o = shape.object(parseJson(fromUtf8(entry), { maxLength, maxDepth: 2 }), 'revocation', ['version', 'resource', 'through'])
    shape.oneOf(o.version, 'version', [version])
    return { resource: readResourceName(shape.string(o.resource, 'resource', 256)), through: shape.integer(o.through, 'through') }
  } catch {
    return null
  }
}
