import { DerReader, derTag } from '../../bytes/der.ts'
import type { ErrorCode } from '../../errors/codes.ts'
import { knownOids, oid } from './oid.ts'

/** One X.509 extension (RFC 5280 section 4.2). `value` is the contents of extnValue, not interpreted. */
export interface Extension {
  readonly id: string
  readonly critical: boolean
  readonly value: Uint8Array
}

/** Bits of KeyUsage (RFC 5280 section 4.2.1.3), by their position in the named-bit list. */
export const keyUsageBit = { digitalSignature: 1 << 0, keyCertSign: 1 << 5, crlSign: 1 << 6 } as const

export interface BasicConstraints {
  readonly ca: boolean
  /** How many more authorities may follow below; null where unlimited. */
  readonly pathLength: number | null
}

const maxExtensions = 32

/** Reads an Extensions sequence. Refuses an empty one, a repeated identifier and an encoded DEFAULT FALSE. */
export function readExtensions(reader: DerReader, what: string): readonly Extension[] {
  const found: Extension[] = []
  const outer = reader.open(derTag.sequence, what)
  while (!reader.done) {
    if (found.length === maxExtensions) throw reader.refuse(`at most ${maxExtensions} items in ${what}`)
    const fields = reader.open(derTag.sequence, what)
    const id = reader.oid(what, knownOids)
    const critical = reader.flag(what)
    const value = reader.read(derTag.octetString, what)
    reader.close(fields, what)
    if (findExtension(found, id) !== undefined) throw reader.refuse(`${what}: each extension once, found ${id} twice`)
    found.push({ id, critical, value })
  }
  reader.close(outer, what)
  if (found.length === 0) throw reader.refuse(`${what}: at least one extension`)
  return found
}

/** The extension with this identifier; undefined where it is absent. */
export function findExtension(extensions: readonly Extension[], id: string): Extension | undefined {
  for (const extension of extensions) if (extension.id === id) return extension
  return undefined
}

/** BasicConstraints (RFC 5280 section 4.2.1.9); null where the extension is absent. */
export function readBasicConstraints(extensions: readonly Extension[], code: ErrorCode): BasicConstraints | null {
  const what = 'basicConstraints'
  const value = findExtension(extensions, oid.basicConstraints)?.value
  if (value === undefined) return null
  const reader = new DerReader(value, code)
  const outer = reader.open(derTag.sequence, what)
  const ca = reader.flag(what)
  const pathLength = ca && reader.at(derTag.integer) ? reader.unsigned(what, 255) : null
  reader.close(outer, what)
  reader.finish(what)
  return { ca, pathLength }
}

/** KeyUsage as bits of {@link keyUsageBit}; null where the extension is absent. */
export function readKeyUsage(extensions: readonly Extension[], code: ErrorCode): number | null {
  const value = findExtension(extensions, oid.keyUsage)?.value
  if (value === undefined) return null
  const reader = new DerReader(value, code)
  const bits = reader.namedBits('keyUsage')
  reader.finish('keyUsage')
  if (bits === 0) throw reader.refuse('keyUsage: at least one bit')
  return bits
}
