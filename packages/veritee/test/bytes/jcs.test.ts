import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Json, jcs, jcsDigest } from '../../src/bytes/index.ts'

const wellFormed = fc.string({ unit: 'binary', maxLength: 20 })
/** Any document that aci/1 can hold. */
const integerJson = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, false),
    fc.maxSafeInteger(),
    wellFormed,
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(
      wellFormed.filter((name) => name !== '__proto__'),
      tie('value'),
      { maxKeys: 5 },
    ),
  ),
})).value

describe('JCS', () => {
  it('sorts members by UTF-16 units as in RFC 8785 section 3.2.3, where an astral character comes before U+FB33', () => {
    const document = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 }
    expect(jcs(document)).toBe('{"\\r":2,"1":4,"\u0080":6,"\u00f6":7,"\u20ac":1,"\ud83d\ude00":5,"\ufb33":3}')
  })
  it('sorts names that look like indices as text, and prefixes first', () => {
    expect(jcs({ b: 1, 10: 1, 9: 1, a: 1, '': 1, ab: 1, A: 1 })).toBe('{"":1,"10":1,"9":1,"A":1,"a":1,"ab":1,"b":1}')
  })
  it('sorts many members as it sorts few', () => {
    for (const many of [2, 16, 17, 40]) {
      const names = Array.from({ length: many }, (_, i) => `n${(i * 7) % many}-${'x'.repeat(i % 3)}`)
      expect(jcs(Object.fromEntries(names.map((name) => [name, 0])))).toBe(
        `{${names
          .toSorted()
          .map((name) => `"${name}":0`)
          .join()}}`,
      )
    }
  })
  it('escapes what RFC 8785 section 3.2.2.2 escapes and nothing else', () => {
    expect(jcs('\u0000\u0007\b\t\n\u000b\f\r\u001f"\\/\u007f\u2028é')).toBe('"\\u0000\\u0007\\b\\t\\n\\u000b\\f\\r\\u001f\\"\\\\/\u007f\u2028é"')
  })
  it('writes integers without fraction or exponent, and no negative zero', () => {
    expect(jcs([0, -0, -1, 9007199254740991, -9007199254740991])).toBe('[0,0,-1,9007199254740991,-9007199254740991]')
  })
  it('parses back to the same document, and is the same for every order of members', () => {
    fc.assert(
      fc.property(integerJson, (value) => {
        const text = jcs(value)
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
        expect(jcs(reversed(value))).toBe(text)
        expect(jcs(JSON.parse(text) as Json)).toBe(text)
      }),
    )
  })
  it.each([
    ['a fraction', 1.5],
    ['an unsafe integer', 2 ** 53],
    ['NaN', Number.NaN],
    ['infinity', Number.POSITIVE_INFINITY],
    ['undefined', undefined],
    ['an undefined member', { a: undefined }],
    ['an undefined item', [undefined]],
    ['a hole', new Array(2)],
    ['a big integer', 1n],
    ['a function', () => 1],
    ['a symbol', Symbol('a')],
    ['a date', new Date(0)],
    ['a map', new Map([['a', 1]])],
    ['bytes', new Uint8Array(1)],
    ['a boxed string', Object('a')],
    ['a lone surrogate', '\ud800'],
    ['a lone surrogate in a name', { '\udc00': 1 }],
  ])('refuses %s as a wrong argument', (_, value) => {
    expect(() => jcs(value as Json)).toThrow(TypeError)
  })
  it('hashes the UTF-8 form', async () => {
    // SHA-256 of the two bytes {}, as any other program gives it.
    expect(await jcsDigest({})).toBe('sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a')
  })
})

function reversed(value: Json): Json {
  if (value === null || typeof value !== 'object') return value
  if (Array.isArray(value)) return value.map((item) => reversed(item as Json))
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, item]) => [name, reversed(item as Json)]),
  )
}
