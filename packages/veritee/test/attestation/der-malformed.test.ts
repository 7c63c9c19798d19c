import { describe, expect, it } from 'vitest'
import { DerReader, derTag } from '../../src/bytes/der.ts'
import { derOid, derTime } from '../../src/bytes/der-writer.ts'
import { fromHex, utf8 } from '../../src/bytes/index.ts'
import { codeOf } from './vectors.ts'

const reader = (hex: string): DerReader => new DerReader(fromHex(hex.replaceAll(' ', '')), 'certificate_malformed')
const code = 'certificate_malformed'
const time = (tag: '17' | '18', text: string): string => `${tag}${text.length.toString(16).padStart(2, '0')}${Buffer.from(text).toString('hex')}`

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
    expect(reader('02 02 00 ff').unsignedBytes('x', 2)).toEqual(Uint8Array.of(0, 255))
    expect(codeOf(() => reader('02 03 01 00 00').unsignedBytes('x', 2))).toBe(code)
    expect(codeOf(() => reader('02 01 ff').unsignedBytes('x', 2))).toBe(code)
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
    expect(reader('03 02 00 aa').bitString('x')).toEqual(Uint8Array.of(0xaa))
    for (const hex of ['03 00', '03 02 01 aa']) expect(codeOf(() => reader(hex).bitString('x'))).toBe(code)
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

describe('sequences and sets', () => {
  const walk = (hex: string, tag: number, max = 8): string =>
    codeOf(() => {
      for (const item of reader(hex).elements(tag, 'x', max)) item.unsigned('x', 255)
    })

  it('a set is in ascending order, without repetition', () => {
    expect(walk('31 0a 30 03 02 01 01 30 03 02 01 02', derTag.set)).toBe('accepted')
    expect(walk('31 0a 30 03 02 01 02 30 03 02 01 01', derTag.set)).toBe(code)
    expect(walk('31 0a 30 03 02 01 01 30 03 02 01 01', derTag.set)).toBe(code)
    expect(walk('30 0a 30 03 02 01 02 30 03 02 01 01', derTag.sequence)).toBe('accepted')
  })

  it('P25: the number of items is bounded', () => {
    expect(walk('30 0a 30 03 02 01 01 30 03 02 01 01', derTag.sequence, 1)).toBe(code)
  })
})
