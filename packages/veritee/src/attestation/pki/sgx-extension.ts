import { DerReader, derTag } from '../../bytes/der.ts'
import { toHex } from '../../bytes/hex.ts'
import { fail } from '../../errors.ts'
import type { PlatformClaims } from '../claims.ts'
import type { Certificate } from './certificate.ts'
import { oid } from './oid.ts'

/** What Intel certifies about a platform in a PCK certificate. */
export interface SgxExtension extends Omit<PlatformClaims, 'ca'> {
  /** The 16 SVNs that TCB levels are compared with (P11: not the CPU SVN of the quote). */
  readonly tcbComponents: Uint8Array
}

const code = 'certificate_malformed'
const what = 'SGX extension'

interface Fields {
  readonly prefix: string
  /** `prefix.1` to the last one, by identifier. */
  readonly numbers: ReadonlyMap<string, number>
}

const extensionFields = fieldsOf(oid.sgxExtension, 7)
const tcbFields = fieldsOf(`${oid.sgxExtension}.2`, 18)
const configurationFields = fieldsOf(`${oid.sgxExtension}.7`, 3)

function fieldsOf(prefix: string, count: number): Fields {
  return { prefix, numbers: new Map(Array.from({ length: count }, (_, index) => [`${prefix}.${index + 1}`, index + 1])) }
}

/**
 * Parses the SGX extension of a PCK certificate (Intel SGX PCK Certificate and CRL Profile, section 1.3.5).
 *
 * Fields may stand in any order, each at most once; PPID, TCB, PCE-ID, FMSPC and SGX type are required, unknown fields are refused.
 * Throws `certificate_malformed`.
 */
export function parseSgxExtension(certificate: Certificate): SgxExtension {
  const value = certificate.extensions.find((extension) => extension.id === oid.sgxExtension)?.value
  if (value === undefined) throw fail(code, 'expected a PCK certificate with the SGX extension')
  const outer = new DerReader(value, code)
  const fields = members(outer, extensionFields)
  outer.finish(what)

  const tcb = members(required(fields, 2), tcbFields)
  const tcbComponents = new Uint8Array(16)
  for (let i = 0; i < 16; i++) tcbComponents[i] = last(required(tcb, i + 1), (reader) => reader.unsigned(what, 255))
  // SGX types: 0 standard, 1 scalable, 2 scalable with integrity. The verdict does not depend on it.
  last(required(fields, 5), (reader) => reader.unsigned(what, 2, derTag.enumerated))
  const configuration = fields.get(7)
  const flags = configuration === undefined ? null : members(configuration, configurationFields)
  const flag = (field: number): boolean | null => {
    const reader = flags?.get(field)
    return reader === undefined ? null : last(reader, (from) => from.boolean(what))
  }
  const instance = fields.get(6)
  return {
    tcbComponents,
    ppid: octets(required(fields, 1), 16),
    fmspc: octets(required(fields, 4), 6),
    pceId: octets(required(fields, 3), 2),
    cpuSvn: octets(required(tcb, 18), 16),
    pceSvn: last(required(tcb, 17), (reader) => reader.unsigned(what, 65_535)),
    platformInstanceId: instance === undefined ? null : octets(instance, 16),
    dynamicPlatform: flag(1),
    cachedKeys: flag(2),
    smtEnabled: flag(3),
  }
}

/** The members of a sequence of (identifier, value) pairs; each reader stands at the value. */
function members(reader: DerReader, { prefix, numbers }: Fields): ReadonlyMap<number, DerReader> {
  const found = new Map<number, DerReader>()
  for (const member of reader.elements(derTag.sequence, what, numbers.size)) {
    const id = member.oid(what)
    const number = numbers.get(id)
    if (number === undefined) throw fail(code, `expected a field of ${prefix}, found ${id}`)
    if (found.has(number)) throw fail(code, `expected each field once, found ${id} twice`)
    found.set(number, member)
  }
  reader.finish(what)
  return found
}

function required(fields: ReadonlyMap<number, DerReader>, number: number): DerReader {
  const reader = fields.get(number)
  if (reader === undefined) throw fail(code, `expected field ${number} of the SGX extension`)
  return reader
}

function last<T>(reader: DerReader, read: (reader: DerReader) => T): T {
  const value = read(reader)
  reader.finish(what)
  return value
}

function octets(reader: DerReader, length: number): string {
  const value = last(reader, (from) => from.read(derTag.octetString, what))
  if (value.length !== length) throw fail(code, `expected ${length} bytes in the SGX extension, found ${value.length}`)
  return toHex(value)
}
