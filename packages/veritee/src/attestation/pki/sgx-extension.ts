import { DerReader, derTag } from '../../bytes/der.ts'
import { toHex } from '../../bytes/hex.ts'
import { oidOctets } from '../../bytes/oids.ts'
import { fail } from '../../errors.ts'
import type { PlatformClaims } from '../claims.ts'
import type { Certificate } from './certificate.ts'
import { findExtension } from './extensions.ts'
import { oid } from './oid.ts'

/** What Intel certifies about a platform in a PCK certificate. */
export interface SgxExtension extends Omit<PlatformClaims, 'ca'> {
  /** The 16 SVNs that TCB levels are compared with (P11: not the CPU SVN of the quote). */
  readonly tcbComponents: Uint8Array
}

type Fields = { -readonly [Name in keyof SgxExtension]: SgxExtension[Name] }

const code = 'certificate_malformed'
const what = 'SGX extension'
const extensionId = oidOctets(oid.sgxExtension)
const tcbId = oidOctets(`${oid.sgxExtension}.2`)
const configurationId = oidOctets(`${oid.sgxExtension}.7`)
// Bit n stands for field n.
const requiredOfExtension = 0b11_1110
const requiredOfTcb = 0x7_fffe

/**
 * Parses the SGX extension of a PCK certificate (Intel SGX PCK Certificate and CRL Profile, section 1.3.5).
 *
 * Fields may stand in any order, each at most once; PPID, TCB, PCE-ID, FMSPC and SGX type are required, unknown fields are refused.
 * Throws `certificate_malformed`.
 */
export function parseSgxExtension(certificate: Certificate): SgxExtension {
  const value = findExtension(certificate.extensions, oid.sgxExtension)?.value
  if (value === undefined) throw fail(code, 'expected a PCK certificate with the SGX extension')
  const fields: Fields = {
    tcbComponents: new Uint8Array(16),
    ppid: '',
    fmspc: '',
    pceId: '',
    cpuSvn: '',
    pceSvn: 0,
    platformInstanceId: null,
    dynamicPlatform: null,
    cachedKeys: null,
    smtEnabled: null,
  }
  const reader = new DerReader(value, code)
  readMembers(reader, extensionId, 7, requiredOfExtension, { fields, hex: toHex(value) }, readField)
  reader.finish(what)
  return fields
}

/** What is read, and all of the extension in hex: pieces of one text take no time. */
interface Reading {
  readonly fields: Fields
  readonly hex: string
}

type ReadMember = (reader: DerReader, number: number, into: Reading) => void

/** Reads a sequence of (identifier, value) pairs, the identifiers being `prefix.1` to `prefix.count`. */
function readMembers(reader: DerReader, prefix: Uint8Array, count: number, required: number, into: Reading, read: ReadMember): void {
  let found = 0
  const outer = reader.open(derTag.sequence, what)
  while (!reader.done) {
    const member = reader.open(derTag.sequence, what)
    const number = reader.arcBelow(prefix, what)
    if (number === 0 || number > count) throw fail(code, `expected a field of ${what}, found ${number === 0 ? reader.oid(what) : `number ${number}`}`)
    if ((found & (1 << number)) !== 0) throw fail(code, `expected each field of ${what} once, found number ${number} twice`)
    found |= 1 << number
    read(reader, number, into)
    reader.close(member, what)
  }
  reader.close(outer, what)
  if ((found & required) !== required) throw fail(code, `expected more fields of ${what}: 0x${(required & ~found).toString(16)}`)
}

function readField(reader: DerReader, number: number, into: Reading): void {
  const { fields } = into
  switch (number) {
    case 1:
      fields.ppid = readOctets(reader, 16, into)
      break
    case 2:
      readMembers(reader, tcbId, 18, requiredOfTcb, into, readTcb)
      break
    case 3:
      fields.pceId = readOctets(reader, 2, into)
      break
    case 4:
      fields.fmspc = readOctets(reader, 6, into)
      break
    case 5:
      // SGX types: 0 standard, 1 scalable, 2 scalable with integrity. The verdict does not depend on it.
      reader.unsigned(what, 2, derTag.enumerated)
      break
    case 6:
      fields.platformInstanceId = readOctets(reader, 16, into)
      break
    default:
      readMembers(reader, configurationId, 3, 0, into, readConfiguration)
  }
}

function readTcb(reader: DerReader, number: number, into: Reading): void {
  const { fields } = into
  if (number <= 16) fields.tcbComponents[number - 1] = reader.unsigned(what, 255)
  else if (number === 17) fields.pceSvn = reader.unsigned(what, 65_535)
  else fields.cpuSvn = readOctets(reader, 16, into)
}

function readConfiguration(reader: DerReader, number: number, { fields }: Reading): void {
  const flag = reader.boolean(what)
  if (number === 1) fields.dynamicPlatform = flag
  else if (number === 2) fields.cachedKeys = flag
  else fields.smtEnabled = flag
}

function readOctets(reader: DerReader, length: number, { hex }: Reading): string {
  const from = reader.pass(derTag.octetString, what)
  const end = reader.position
  if (end - from !== length) throw fail(code, `expected ${length} bytes in the SGX extension, found ${end - from}`)
  return hex.slice(2 * from, 2 * end)
}
