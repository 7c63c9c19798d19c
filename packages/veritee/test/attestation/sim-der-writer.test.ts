import {
  AsnBitStringConverter,
  AsnBooleanConverter,
  AsnConvert,
  AsnEnumeratedConverter,
  AsnGeneralizedTimeConverter,
  AsnIntegerArrayBufferConverter,
  AsnIntegerConverter,
  AsnObjectIdentifierConverter,
  AsnOctetStringConverter,
  AsnPrintableStringConverter,
  AsnUTCTimeConverter,
  AsnUtf8StringConverter,
} from '@peculiar/asn1-schema'
import { KeyUsage, KeyUsageFlags } from '@peculiar/asn1-x509'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  der,
  derBitString,
  derBoolean,
  derContext,
  derContextPrimitive,
  derEnumerated,
  derInteger,
  derNamedBits,
  derNull,
  derOctetString,
  derOid,
  derPrintableString,
  derSequence,
  derSetOf,
  derTime,
  derUtf8String,
} from '../../src/bytes/der-writer.ts'
import { fromHex, toHex } from '../../src/bytes/index.ts'

const hex = (bytes: Uint8Array | ArrayBuffer): string => toHex(new Uint8Array(bytes))
const copy = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer as ArrayBuffer

describe('DER writer, against @peculiar/asn1-schema', () => {
  it('integers', () => {
    for (const value of [0, 1, 127, 128, 255, 256, 32767, 32768, 65535, 2 ** 31, 2 ** 31 - 1])
      expect(hex(derInteger(value)), String(value)).toBe(hex(AsnIntegerConverter.toASN(value).toBER()))
  })

  it('unsigned integers from bytes: stripped of leading zeros, kept positive', () => {
    const property = fc.property(fc.uint8Array({ minLength: 1, maxLength: 33 }), (bytes) => {
      const written = derInteger(bytes)
      const back = new Uint8Array(AsnIntegerArrayBufferConverter.fromASN(AsnIntegerArrayBufferConverter.toASN(copy(written.slice(2)))))
      expect(written[1]).toBe(written.length - 2)
      expect(BigInt(`0x${hex(back)}`)).toBe(BigInt(`0x${hex(bytes)}`))
      const [first = 0, second = 0] = back
      expect(first < 0x80).toBe(true)
      if (back.length > 1 && first === 0) expect(second >= 0x80).toBe(true)
    })
    fc.assert(property)
    expect(hex(derInteger(fromHex('0000')))).toBe('020100')
    expect(hex(derInteger(fromHex('00ff')))).toBe('020200ff')
    expect(hex(derInteger(new Uint8Array(0)))).toBe('020100')
  })

  it('object identifiers', () => {
    for (const oid of [
      '1.2.840.113741.1.13.1.2.17',
      '2.5.29.19',
      '1.3.6.1.5.5.7.3.1',
      '0.9.2342',
      '2.999.3',
      '1.2.840.10045.4.3.2',
      '2.5.4.127.128.16383.16384',
    ])
      expect(hex(derOid(oid)), oid).toBe(hex(AsnObjectIdentifierConverter.toASN(oid).toBER()))
  })

  it('strings, booleans, enumerated, octets and bits', () => {
    expect(hex(derUtf8String('Prüfstand ✓'))).toBe(hex(AsnUtf8StringConverter.toASN('Prüfstand ✓').toBER()))
    expect(hex(derPrintableString('US'))).toBe(hex(AsnPrintableStringConverter.toASN('US').toBER()))
    expect(hex(derBoolean(true))).toBe(hex(AsnBooleanConverter.toASN(true).toBER()))
    expect(hex(derBoolean(false))).toBe('010100')
    expect(hex(derEnumerated(5))).toBe(hex(AsnEnumeratedConverter.toASN(5).toBER()))
    expect(hex(derNull())).toBe('0500')
    const bytes = fromHex('00ff10')
    expect(hex(derOctetString(bytes))).toBe(hex(AsnOctetStringConverter.toASN(copy(bytes)).toBER()))
    expect(hex(derBitString(bytes))).toBe(hex(AsnBitStringConverter.toASN(copy(bytes)).toBER()))
  })

  it('lengths at every boundary, readable and minimal', () => {
    for (const length of [0, 1, 127, 128, 255, 256, 65535, 65536, 70000]) {
      const bytes = new Uint8Array(length).fill(7)
      expect(hex(derOctetString(bytes)), String(length)).toBe(hex(AsnOctetStringConverter.toASN(copy(bytes)).toBER()))
    }
  })

  it('times: UTCTime to 2049, GeneralizedTime from 2050', () => {
    const early = new Date('2049-12-31T23:59:59Z')
    const late = new Date('2050-01-01T00:00:00Z')
    expect(hex(derTime(early))).toBe(hex(AsnUTCTimeConverter.toASN(early).toBER()))
    expect(hex(derTime(late))).toBe(hex(AsnGeneralizedTimeConverter.toASN(late).toBER()))
    expect(hex(derTime(new Date('1950-01-01T00:00:00.999Z')))).toBe(hex(derTime(new Date('1950-01-01T00:00:00Z'))))
  })

  it('named bits: as KeyUsage of @peculiar/asn1-x509 writes them', () => {
    const flags = KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign
    expect(hex(derNamedBits([5, 6]))).toBe(hex(AsnConvert.serialize(new KeyUsage(flags))))
    expect(hex(derNamedBits([0, 1]))).toBe('030206c0')
    expect(hex(derNamedBits([8]))).toBe('0303070080')
    expect(hex(derNamedBits([]))).toBe('030100')
  })

  it('nests, tags and sorts', () => {
    expect(hex(derSequence(derInteger(1), derNull()))).toBe('30050201010500')
    expect(hex(derContext(3, derInteger(1)))).toBe('a303020101')
    expect(hex(derContextPrimitive(6, fromHex('61')))).toBe('860161')
    expect(hex(derSetOf(derInteger(2), derInteger(1), derBoolean(true)))).toBe(hex(fromHex('31090101ff020101020102')))
  })

  it('refuses wrong arguments with TypeError', () => {
    const wrong: (() => unknown)[] = [
      () => der(0x1f),
      () => der(256),
      () => der(-1),
      () => derContext(31),
      () => derContextPrimitive(-1, new Uint8Array(0)),
      () => derInteger(-1),
      () => derInteger(1.5),
      () => derInteger(2 ** 53),
      () => derEnumerated(Number.NaN),
      () => derNamedBits([32]),
      () => derOid('1'),
      () => derOid('3.1'),
      () => derOid('1.40'),
      () => derOid('1.02'),
      () => derOid('1.-2'),
      () => derUtf8String('\ud800'),
      () => derPrintableString('a@b'),
      () => derTime(new Date(Number.NaN)),
      () => derTime(new Date('1949-12-31T23:59:59Z')),
    ]
    for (const call of wrong) expect(call, call.toString()).toThrow(TypeError)
  })
})
