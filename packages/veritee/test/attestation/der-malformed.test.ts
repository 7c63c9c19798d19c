import { describe, expect, it } from 'vitest'
import { readExtensions } from '../../src/attestation/pki/extensions.ts'
import { readName } from '../../src/attestation/pki/name.ts'
import { DerReader, derTag } from '../../src/bytes/der.ts'
import { der, derOctetString, derOid, derTime, derUtf8String } from '../../src/bytes/der-writer.ts'
import { fromHex, utf8 } from '../../src/bytes/index.ts'
import { KnownOids, oidOctets } from '../../src/bytes/oids.ts'
import { codeOf } from './vectors.ts'

const reader = (hex: string): DerReader => new DerReader(fromHex(hex.replaceAll(' ', '')), 'certificate_malformed')
const code = 'certificate_malformed'
const time = (tag: '17' | '18', text: string): string => `${tag}${text.length.toString(16).padStart(2, '0')}${Buffer.from(text).toString('hex')}`

/** The integer as two bytes. */
const unsigned2 = (hex: string): Uint8Array => {
  const out = new Uint8Array(2)
  reader(hex).unsignedInto(out, 0, 2, 'x')
  return out
}
/** The octets of the bit string. */
const bits = (hex: string): Uint8Array => {
  const from = reader(hex)
  from.openBits('x')
  const start = from.position
  from.leave(0)
  return from.since(start)
}

describe('lengths', () => {
  it.each([
    ['indefinite', '30 80 00 00'],
    ['long form below 128', '04 81 7f'],
    ['leading zero octet', `04 82 00 80 ${'00'.repeat(128)}`],
    ['four octets', '04 84 00 00 00 01 00'],
    ['reserved', '04 ff'],
    ['missing octets', '04 82 01'],
    ['past the end', '04 02 00'],
    ['missing', '04'],
    ['nothing at all', ''],
  ])('%s is refused', (_, hex) => {
    expect(codeOf(() => reader(hex).read(Number.parseInt(hex.slice(0, 2) || '04', 16), 'x'))).toBe(code)
  })

  it('minimal long forms are read', () => {
    expect(reader(`04 81 80 ${'01'.repeat(128)}`).read(derTag.octetString, 'x')).toHaveLength(128)
    expect(reader(`04 82 01 00 ${'01'.repeat(256)}`).read(derTag.octetString, 'x')).toHaveLength(256)
  })

  it('left-over bytes are refused by finish', () => {
    const two = reader('05 00 05 00')
    two.read(derTag.null, 'x')
    expect(codeOf(() => two.finish('x'))).toBe(code)
    two.read(derTag.null, 'x')
    two.finish('x')
  })

  it('another tag is refused', () => {
    expect(codeOf(() => reader('31 00').read(derTag.sequence, 'x'))).toBe(code)
    expect(codeOf(() => reader('1f 81 01 00').read(derTag.sequence, 'x'))).toBe(code)
  })
})

describe('values', () => {
  it.each(['01 01 01', '01 01 fe', '01 00', '01 02 ff ff'])('boolean %s is refused', (hex) => {
    expect(codeOf(() => reader(hex).boolean('x'))).toBe(code)
  })

  it('booleans', () => {
    expect([reader('01 01 ff').boolean('x'), reader('01 01 00').boolean('x')]).toEqual([true, false])
  })

  it.each(['02 00', '02 02 00 7f', '02 02 ff 80', '02 03 00 00 01'])('integer %s is not minimal', (hex) => {
    expect(codeOf(() => reader(hex).integer('x'))).toBe(code)
    expect(codeOf(() => reader(hex).unsigned('x', 1000))).toBe(code)
  })

  it('P25: unsigned integers are bounded and not negative', () => {
    expect(reader('02 02 00 ff').unsigned('x', 255)).toBe(255)
    expect(codeOf(() => reader('02 02 01 00').unsigned('x', 255))).toBe(code)
    expect(codeOf(() => reader('02 01 80').unsigned('x', 255))).toBe(code)
    expect(codeOf(() => reader('02 05 01 00 00 00 00').unsigned('x', 2 ** 31 - 1))).toBe(code)
    expect(unsigned2('02 02 00 ff')).toEqual(Uint8Array.of(0, 255))
    expect(codeOf(() => unsigned2('02 03 01 00 00'))).toBe(code)
    expect(codeOf(() => unsigned2('02 01 ff'))).toBe(code)
  })

  it.each(['1.2.840.113741.1.13.1.2.18', '0.39', '1.0', '2.5.29.15', '2.999.3', '1.2.2147483647'])('object identifier %s survives', (dotted) => {
    expect(new DerReader(derOid(dotted), code).oid('x')).toBe(dotted)
  })

  it.each(['06 00', '06 01 80', '06 02 80 01', '06 02 2a 86', '06 06 2a ff ff ff ff 7f', `06 21 ${'2a'.repeat(33)}`])(
    'object identifier %s is refused',
    (hex) => {
      expect(codeOf(() => reader(hex).oid('x'))).toBe(code)
    },
  )

  it('bit strings', () => {
    expect(bits('03 02 00 aa')).toEqual(Uint8Array.of(0xaa))
    for (const hex of ['03 00', '03 02 01 aa']) expect(codeOf(() => bits(hex))).toBe(code)
    expect(reader('03 02 01 06').namedBits('x')).toBe((1 << 5) | (1 << 6))
    expect(reader('03 02 06 c0').namedBits('x')).toBe(0b11)
    expect(reader('03 03 07 00 80').namedBits('x')).toBe(1 << 8)
    for (const hex of ['03 02 00 06', '03 02 01 07', '03 01 01', '03 02 08 00', '03 04 00 00 00 01', '03 02 05 c0'])
      expect(
        codeOf(() => reader(hex).namedBits('x')),
        hex,
      ).toBe(code)
  })
})

describe('times', () => {
  it.each([
    ['17', '490101000000Z', '2049-01-01T00:00:00.000Z'],
    ['17', '500101000000Z', '1950-01-01T00:00:00.000Z'],
    ['17', '240229235959Z', '2024-02-29T23:59:59.000Z'],
    ['18', '20500101000000Z', '2050-01-01T00:00:00.000Z'],
    ['18', '99991231235959Z', '9999-12-31T23:59:59.000Z'],
  ] as const)('%s %s', (tag, text, iso) => {
    expect(reader(time(tag, text)).time('x').toISOString()).toBe(iso)
  })

  it('what the writer writes', () => {
    for (const iso of ['1950-01-01T00:00:00.000Z', '2049-12-31T23:59:59.000Z', '2050-01-01T00:00:00.000Z'])
      expect(new DerReader(derTime(new Date(iso)), code).time('x').toISOString()).toBe(iso)
  })

  it.each([
    ['17', '4901010000Z'],
    ['17', '490101000000'],
    ['17', '490101000000+0100'],
    ['17', '491301000000Z'],
    ['17', '490230000000Z'],
    ['17', '230229000000Z'],
    ['17', '490101240000Z'],
    ['17', '490101000060Z'],
    ['17', '49010100000٠Z'],
    ['18', '20490101000000Z'],
    ['18', '20500101000000.5Z'],
    ['18', '205001010000Z'],
    ['18', ''],
  ] as const)('%s %s is refused', (tag, text) => {
    const bytes = utf8(text)
    const element = Uint8Array.of(Number.parseInt(tag, 16), bytes.length, ...bytes)
    expect(codeOf(() => new DerReader(element, code).time('x'))).toBe(code)
  })
})

describe('P26: strings', () => {
  it('UTF8String, PrintableString and IA5String', () => {
    expect(reader('0c 03 41 c3 a9').text('x')).toBe('Aé')
    expect(reader('13 02 41 42').text('x')).toBe('AB')
    expect(reader('16 02 41 40').text('x')).toBe('A@')
  })

  it.each(['0c 01 ff', '0c 02 c3 28', '13 02 41 40', '13 01 e9', '16 01 80', '14 01 41', '1e 02 00 41', '1c 04 00 00 00 41'])(
    '%s is refused',
    (hex) => {
      expect(codeOf(() => reader(hex).text('x'))).toBe(code)
    },
  )
})

describe('sequences', () => {
  it('what is left in an element is refused at its end, and stepped over where it is not looked at', () => {
    const whole = reader('30 06 30 04 02 01 01 00 05 00')
    const outer = whole.open(derTag.sequence, 'x')
    const inner = whole.open(derTag.sequence, 'x')
    expect([whole.unsigned('x', 255), whole.left, whole.done]).toEqual([1, 1, false])
    expect(codeOf(() => whole.close(inner, 'x'))).toBe(code)
    whole.leave(inner)
    expect(whole.done).toBe(true)
    whole.close(outer, 'x')
    whole.read(derTag.null, 'x')
    whole.finish('x')
  })

  it('an element does not reach beyond the one around it', () => {
    const whole = reader('30 03 30 03 02 01 01 05 00')
    whole.open(derTag.sequence, 'x')
    expect(codeOf(() => whole.open(derTag.sequence, 'x'))).toBe(code)
  })

  it('P25: items and extensions are bounded in number', () => {
    const attribute = der(0x30, derOid('2.5.4.10'), derUtf8String('x'))
    const names = (count: number): string =>
      codeOf(() => readName(new DerReader(der(0x30, ...Array.from({ length: count }, () => der(0x31, attribute))), code), 'x'))
    expect([names(32), names(33)]).toEqual(['accepted', code])
    const set = (count: number): string =>
      codeOf(() => {
        const attributes = Array.from({ length: count }, (_, index) => der(0x30, derOid('2.5.4.10'), derUtf8String(String(10 + index))))
        readName(new DerReader(der(0x30, der(0x31, ...attributes)), code), 'x')
      })
    expect([set(32), set(33)]).toEqual(['accepted', code])
    const extension = (index: number): Uint8Array => der(0x30, derOid(`2.5.30.${index}`), derOctetString(Uint8Array.of()))
    const extensions = (count: number): string =>
      codeOf(() => readExtensions(new DerReader(der(0x30, ...Array.from({ length: count }, (_, index) => extension(index))), code), 'x'))
    expect([extensions(0), extensions(32), extensions(33)]).toEqual([code, 'accepted', code])
  })

  it('a set is in ascending order, without repetition', () => {
    const attribute = (text: string): Uint8Array => der(0x30, derOid('2.5.4.10'), derUtf8String(text))
    const walk = (...texts: readonly string[]): string =>
      codeOf(() => readName(new DerReader(der(0x30, der(0x31, ...texts.map(attribute))), code), 'x'))
    expect(['a b', 'b a', 'a a', 'a b a'].map((texts) => walk(...texts.split(' ')))).toEqual(['accepted', code, code, code])
    expect(walk()).toBe(code)
  })
})

describe('object identifiers that are known', () => {
  it('are found by exactly their octets', () => {
    const known = new KnownOids(['2.5.4.3', '2.5.4.10', '1.2.840.10045.4.3.2'])
    for (const dotted of ['2.5.4.3', '2.5.4.4', '2.5.5.3', '2.5.4.3.3', '2.5.3', '1.2.840.10045.4.3.2', '1.2.840.10045.4.4.2']) {
      expect(new DerReader(derOid(dotted), code).oid('x', known)).toBe(dotted)
      const octets = derOid(dotted).subarray(2)
      expect(known.find(octets, 0, octets.length)).toBe(['2.5.4.3', '1.2.840.10045.4.3.2'].includes(dotted) ? dotted : undefined)
    }
  })

  it('the last arc below a prefix, and nothing read for any other', () => {
    const prefix = oidOctets('1.2.840.113741.1.13.1')
    for (const [dotted, arc] of [
      ['1.2.840.113741.1.13.1.1', 1],
      ['1.2.840.113741.1.13.1.127', 127],
      ['1.2.840.113741.1.13.1.0', 0],
      ['1.2.840.113741.1.13.1.128', 0],
      ['1.2.840.113741.1.13.1', 0],
      ['1.2.840.113741.1.13.2.1', 0],
      ['1.2.840.113741.1.13.1.2.1', 0],
    ] as const) {
      const from = new DerReader(derOid(dotted), code)
      expect(from.arcBelow(prefix, 'x'), dotted).toBe(arc)
      if (arc === 0) expect(from.oid('x')).toBe(dotted)
      from.finish('x')
    }
    expect(codeOf(() => reader('05 00').arcBelow(prefix, 'x'))).toBe(code)
  })
})
