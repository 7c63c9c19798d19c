import { DerReader, derTag } from '../../bytes/der.ts'
import type { ErrorCode } from '../../errors.ts'
import { oid } from './oid.ts'

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
  for (const fields of reader.elements(derTag.sequence, what, maxExtensions)) {
    const id = fields.oid(what)
    const critical = fields.at(derTag.boolean)
    if (critical && !fields.boolean(what)) throw fields.refuse(`${what}: DEFAULT FALSE left out`)
    const value = fields.read(derTag.octetString, what)
    fields.finish(what)
    if (found.some((other) => other.id === id)) throw fields.refuse(`${what}: each extension once, found ${id} twice`)
    found.push({ id, critical, value })
  }
  if (found.length === 0) throw reader.refuse(`${what}: at least one extension`)
  return found
}

/** BasicConstraints (RFC 5280 section 4.2.1.9); null where the extension is absent. */
export function readBasicConstraints(extensions: readonly Extension[], code: ErrorCode): BasicConstraints | null {
  const what = 'basicConstraints'
  const value = extensions.find((extension) => extension.id === oid.basicConstraints)?.value
  if (value === undefined) return null
  const outer = new DerReader(value, code)
  const fields = outer.enter(derTag.sequence, what)
  outer.finish(what)
  const ca = fields.at(derTag.boolean)
  if (ca && !fields.boolean(what)) throw fields.refuse(`${what}: DEFAULT FALSE left out`)
  const pathLength = ca && fields.at(derTag.integer) ? fields.unsigned(what, 255) : null
  fields.finish(what)
  return { ca, pathLength }
}

/** KeyUsage as bits of {@link keyUsageBit}; null where the extension is absent. */
export function readKeyUsage(extensions: readonly Extension[], code: ErrorCode): number | null {
  const value = extensions.find((extension) => extension.id === oid.keyUsage)?.value
  if (value === undefined) return null
  const outer = new DerReader(value, code)
  const bits = outer.namedBits('keyUsage')
  outer.finish('keyUsage')
  if (bits === 0) throw outer.refuse('keyUsage: at least one bit')
  return bits
}
