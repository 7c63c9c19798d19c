import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concatAll, fromBase64, fromHex, fromUtf8, isHex, toBase64, toHex, utf8 } from '../../src/bytes/index.ts'
import { refusal } from './refusal.ts'

const anyBytes = fc.uint8Array({ maxLength: 200 })

describe('hex', () => {
  it('agrees with Node both ways, in either case', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const text = Buffer.from(bytes).toString('hex')
        expect(toHex(bytes)).toBe(text)
        expect(fromHex(text)).toEqual(bytes)
        expect(fromHex(text.toUpperCase(), bytes.length)).toEqual(bytes)
        expect(isHex(text, bytes.length)).toBe(true)
      }),
    )
  })
  it.each(['0', 'abc', 'zz', '0x00', ' 00', '00\n', '0g', '００', 'a\u0300'])('refuses %j', async (text) => {
    expect(await refusal(() => fromHex(text))).toBe('malformed_encoding')
  })
  it.each([
    ['00', 2],
    ['0000', 1],
    ['', 1],
  ] as const)('refuses %j for %i bytes', async (text, length) => {
    expect(await refusal(() => fromHex(text, length))).toBe('malformed_encoding')
  })
  it('knows the form of digests: lower case and the exact length only', () => {
    expect([isHex('ab', 1), isHex('AB', 1), isHex('abcd', 1), isHex('', 0), isHex(null, 0), isHex(['ab'], 1), isHex('ab\n', 1)]).toEqual([
      true,
      false,
      false,
      true,
      false,
      false,
      false,
    ])
  })
})

describe('base64', () => {
  it('agrees with Node both ways', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const text = Buffer.from(bytes).toString('base64')
        expect(toBase64(bytes)).toBe(text)
        expect(fromBase64(text)).toEqual(bytes)
      }),
    )
  })
  it('encodes and decodes a megabyte', () => {
    const bytes = new Uint8Array(1 << 20).map((_, i) => i * 7)
    expect(fromBase64(toBase64(bytes))).toEqual(bytes)
  })
  it('accepts one text for each byte string: any change of an accepted text that is accepted gives other bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 12 }),
        fc.nat(),
        fc.string({ minLength: 1, maxLength: 1 }),
        async (bytes, at, other) => {
          const text = toBase64(bytes)
          const changed = text.slice(0, at % text.length) + other + text.slice((at % text.length) + 1)
          fc.pre(changed !== text)
          if ((await refusal(() => fromBase64(changed))) === 'accepted') expect(fromBase64(changed)).not.toEqual(bytes)
        },
      ),
    )
  })
  it.each([
    'A',
    'AA',
    'AAA',
    'AA=',
    'A===',
    '====',
    '=AAA',
    'AA=A',
    'AB==',
    'AAB=',
    'AA==\n',
    ' AAA',
    'AA A',
    'AA-_',
    'AAAA=',
    'AAAAA===',
    'AA==AAAA',
    'ＡＡＡＡ',
  ])('refuses %j', async (text) => {
    expect(await refusal(() => fromBase64(text))).toBe('malformed_encoding')
  })
})

describe('UTF-8 and concatenation', () => {
  it.each([
    ['a lone continuation byte', [0x80]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
    ['a sequence cut short', [0xe2, 0x82]],
    ['a code point past the end', [0xf4, 0x90, 0x80, 0x80]],
  ])('refuses %s', async (_, bytes) => {
    expect(await refusal(() => fromUtf8(Uint8Array.from(bytes)))).toBe('malformed_encoding')
  })
  it('keeps a byte order mark, so that what is hashed is what is read', () => {
    expect(fromUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe('\ufeffa')
  })
  it('joins more parts than a call takes arguments', () => {
    const parts = Array.from({ length: 300_000 }, (_, i) => Uint8Array.of(i & 0xff))
    const joined = concatAll(parts)
    expect([joined.length, joined[299_999]]).toEqual([300_000, 299_999 & 0xff])
    expect(concatAll([])).toEqual(utf8(''))
  })
})
