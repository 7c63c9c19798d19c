import { describe, expect, it } from 'vitest'
import { parseCrl } from '../../src/attestation/index.ts'
import {
  der,
  derBitString,
  derBoolean,
  derContext,
  derEnumerated,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  derSetOf,
  derUtf8String,
} from '../../src/bytes/der-writer.ts'
import { concat, utf8 } from '../../src/bytes/index.ts'
import { codeOf, flipped } from './vectors.ts'

const code = 'crl_malformed'
const ecdsa = derSequence(derOid('1.2.840.10045.4.3.2'))
const at = der(0x17, utf8('250101000000Z'))
const extension = (id: string, value: Uint8Array, ...critical: readonly Uint8Array[]): Uint8Array =>
  derSequence(derOid(id), ...critical, derOctetString(value))
const number = extension('2.5.29.20', derInteger(1))
const keyId = extension('2.5.29.35', derSequence())
const reason = extension('2.5.29.21', derEnumerated(1))
const entry = (serial: number, ...more: readonly Uint8Array[]): Uint8Array => derSequence(derInteger(serial), at, ...more)
const good = {
  version: derInteger(1),
  inner: ecdsa,
  issuer: derSequence(derSetOf(derSequence(derOid('2.5.4.3'), derUtf8String('Issuer')))),
  thisUpdate: at,
  nextUpdate: der(0x17, utf8('260101000000Z')),
  entries: derSequence(entry(5, derSequence(reason)), entry(300)),
  extensions: derContext(0, derSequence(number, keyId)),
  outer: ecdsa,
  signature: derBitString(derSequence(derInteger(7), derInteger(8))),
  tail: new Uint8Array(),
}
function crl(change: Partial<typeof good> = {}): Uint8Array {
  const parts = { ...good, ...change }
  const tbs = derSequence(parts.version, parts.inner, parts.issuer, parts.thisUpdate, parts.nextUpdate, parts.entries, parts.extensions)
  return concat(derSequence(tbs, parts.outer, parts.signature), parts.tail)
}
const sha384 = derSequence(derOid('1.2.840.10045.4.3.3'))
const none = new Uint8Array()

describe('parseCrl', () => {
  it('reads the pattern the cases below change', () => {
    const parsed = parseCrl(crl())
    expect(parsed.issuer.commonName).toBe('Issuer')
    expect(parsed.nextUpdate).toEqual(new Date('2026-01-01T00:00:00Z'))
    expect(parsed.revoked.all()).toEqual([Uint8Array.of(5), Uint8Array.of(1, 44)])
    expect(parsed.revoked.has(Uint8Array.of(1, 44))).toBe(true)
    expect(parsed.revoked.has(Uint8Array.of(44))).toBe(false)
    expect(parseCrl(crl({ entries: none })).revoked.all()).toEqual([])
  })

  it.each([
    ['version 1', { version: none }],
    ['version 3', { version: derInteger(2) }],
    ['another algorithm', { inner: sha384, outer: sha384 }],
    ['two algorithms', { inner: sha384 }],
    ['no nextUpdate', { nextUpdate: none }],
    ['an empty list of entries', { entries: derSequence() }],
    ['an entry without a date', { entries: derSequence(derSequence(derInteger(5))) }],
    ['an entry with more members', { entries: derSequence(entry(5, derSequence(reason), derSequence(reason))) }],
    ['an entry with an empty extension list', { entries: derSequence(entry(5, derSequence())) }],
    ['a critical entry extension', { entries: derSequence(entry(5, derSequence(extension('2.5.29.29', none, derBoolean(true))))) }],
    ['a serial that is not minimal', { entries: derSequence(derSequence(der(2, Uint8Array.of(0, 5)), at)) }],
    ['no extensions', { extensions: none }],
    ['no CRL number', { extensions: derContext(0, derSequence(keyId)) }],
    ['no authority key identifier', { extensions: derContext(0, derSequence(number)) }],
    ['a delta list', { extensions: derContext(0, derSequence(number, keyId, extension('2.5.29.27', derInteger(1), derBoolean(true)))) }],
    ['a partial list', { extensions: derContext(0, derSequence(number, keyId, extension('2.5.29.28', derSequence(), derBoolean(true)))) }],
    ['an extension twice', { extensions: derContext(0, derSequence(number, keyId, number)) }],
    ['a damaged signature value', { signature: derBitString(Uint8Array.of(1, 2, 3)) }],
    ['P2: bytes after the list', { tail: Uint8Array.of(0) }],
    ['a date that does not exist', { nextUpdate: der(0x17, utf8('260230000000Z')) }],
  ] as readonly (readonly [string, Partial<typeof good>])[])('refuses %s', (_, change) => {
    expect(codeOf(() => parseCrl(crl(change)))).toBe(code)
  })

  it('P17: refuses hex and PEM text', () => {
    const hex = Buffer.from(crl()).toString('hex')
    expect(codeOf(() => parseCrl(utf8(hex)))).toBe(code)
    expect(codeOf(() => parseCrl(utf8(`-----BEGIN X509 CRL-----\n${Buffer.from(crl()).toString('base64')}\n`)))).toBe(code)
  })

  it('refuses every truncation, and reads or refuses every change of one byte', () => {
    const whole = crl()
    for (let length = 0; length < whole.length; length++) expect(codeOf(() => parseCrl(whole.subarray(0, length)))).toBe(code)
    const found = new Set<string>()
    for (let position = 0; position < whole.length; position++)
      for (const mask of [1, 0x20, 0x80, 0xff]) found.add(codeOf(() => parseCrl(flipped(whole, position, mask))))
    expect([...found].sort()).toEqual(['accepted', code])
  })

  it('P25: size and number of entries are bounded', () => {
    expect(codeOf(() => parseCrl(new Uint8Array(524_289)))).toBe(code)
    const many = derSequence(...Array.from({ length: 16_385 }, (_, i) => entry(i + 1)))
    expect(codeOf(() => parseCrl(crl({ entries: many })))).toBe(code)
  })
})
