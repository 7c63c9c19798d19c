import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseJson, parseJsonSpans } from '../../src/bytes/index.ts'
import { refusal } from './refusal.ts'

const limits = { maxLength: 1 << 25, maxDepth: 64 }
const parse = (text: string): unknown => parseJson(text, limits)

describe('strict JSON', () => {
  it.each([
    ['nothing', ''],
    ['white space only', ' \n'],
    ['a byte order mark', '\ufeff{}'],
    ['a trailing value', '{} {}'],
    ['a trailing comma in an object', '{"a":1,}'],
    ['a trailing comma in an array', '[1,]'],
    ['a leading comma', '[,1]'],
    ['no comma', '[1 2]'],
    ['no colon', '{"a" 1}'],
    ['no value', '{"a":}'],
    ['an open object', '{"a":1'],
    ['an open array', '[1'],
    ['an open string', '"a'],
    ['a wrong bracket', '[1}'],
    ['a name without quotes', '{a:1}'],
    ['single quotes', "'a'"],
    ['a comment', '{} // a'],
    ['a no-break space', '\u00a01'],
    ['a vertical tab', '\u000b1'],
    ['a trailing NUL', '1\u0000'],
    ['a duplicate name', '{"a":1,"b":2,"a":1}'],
    ['a duplicate name written with an escape', '{"a":1,"\\u0061":1}'],
    ['a duplicate name in a nested object', '[{"x":{"a":1,"a":2}}]'],
    ['__proto__', '{"__proto__":{"admin":true}}'],
    ['__proto__ written with an escape', '{"\\u005f_proto__":1}'],
    ['a lone high surrogate', '"\\ud800"'],
    ['a lone low surrogate', '"\\udc00"'],
    ['surrogates in the wrong order', '"\\udc00\\ud800"'],
    ['a raw lone surrogate', '"\ud800"'],
    ['a lone surrogate in a name', '{"\\ud800":1}'],
    ['a raw line feed in a string', '"a\nb"'],
    ['a raw NUL in a string', '"\u0000"'],
    ['an unknown escape', '"\\x41"'],
    ['a short \\u', '"\\u12"'],
    ['a backslash at the end', '"\\'],
    ['a number out of range', '1e400'],
    ['a negative number out of range', '-1e400'],
    ['a leading zero', '01'],
    ['a leading plus', '+1'],
    ['a bare minus', '-'],
    ['a bare fraction', '.5'],
    ['an open fraction', '1.'],
    ['an open exponent', '1e'],
    ['hex', '0x10'],
    ['NaN', 'NaN'],
    ['Infinity', '-Infinity'],
    ['True', 'True'],
    ['half a literal', 'tru'],
    ['a literal with a tail', 'nullx'],
    ['undefined', 'undefined'],
  ])('refuses %s', async (_, text) => {
    expect(await refusal(() => parse(text))).toBe('malformed_json')
  })

  it('bounds depth exactly, for arrays and objects alike', async () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
    expect(parseJson(nested(3), { maxLength: 100, maxDepth: 3 })).toEqual([[[]]])
    expect(await refusal(() => parseJson(nested(4), { maxLength: 100, maxDepth: 3 }))).toBe('malformed_json')
    expect(await refusal(() => parseJson('{"a":{"a":{"a":{}}}}', { maxLength: 100, maxDepth: 3 }))).toBe('malformed_json')
    expect(parseJson('1', { maxLength: 1, maxDepth: 0 })).toBe(1)
    expect(await refusal(() => parseJson('[]', { maxLength: 2, maxDepth: 0 }))).toBe('malformed_json')
    expect(await refusal(() => parse('['.repeat(1_000_000)))).toBe('malformed_json')
    expect(await refusal(() => parse('{"a":'.repeat(1_000_000)))).toBe('malformed_json')
  })
  it('bounds the length exactly', async () => {
    expect(parseJson('"abc"', { maxLength: 5, maxDepth: 0 })).toBe('abc')
    expect(await refusal(() => parseJson('"abc"', { maxLength: 4, maxDepth: 0 }))).toBe('malformed_json')
  })
  it('reads strings of a million escapes, and of ten million plain characters, without overflowing the stack', () => {
    expect(parse(`"${'\\u0041'.repeat(1_000_000)}"`)).toBe('A'.repeat(1_000_000))
    expect(parse(`"${'\\n'.repeat(1_000_000)}"`)).toBe('\n'.repeat(1_000_000))
    expect((parse(`"${'é'.repeat(10_000_000)}"`) as string).length).toBe(10_000_000)
  })
  it('reads a hundred thousand members and items in a moment', () => {
    const text = `{${Array.from({ length: 100_000 }, (_, i) => `"m${i}":${i}`).join()}}`
    expect(Object.keys(parse(text) as object).length).toBe(100_000)
    expect((parse(`[${'0,'.repeat(500_000)}0]`) as unknown[]).length).toBe(500_001)
  })
  it('gives names of the object prototype no meaning', () => {
    const value = parse('{"constructor":1,"toString":2,"hasOwnProperty":3,"prototype":4}') as object
    expect(Object.keys(value)).toEqual(['constructor', 'toString', 'hasOwnProperty', 'prototype'])
  })

  // Duplicates aside, which JSON.stringify cannot write, this is what the rest of the world reads.
  const value = fc.jsonValue({ depthSize: 'medium', stringUnit: 'binary' }).filter((v) => !JSON.stringify(v).includes('"__proto__":'))
  it('reads whatever JSON.stringify writes, with or without white space', () => {
    fc.assert(
      fc.property(value, fc.constantFrom(0, 1, '\t', 3), (v, space) => {
        expect(parse(JSON.stringify(v, null, space))).toEqual(JSON.parse(JSON.stringify(v)))
      }),
    )
  })
  it('accepts nothing that JSON.parse refuses, and reads the rest alike', async () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '"\\u0041"',
      '\\',
      ' ',
      '\n',
      '1',
      '-',
      '0',
      '.5',
      'e3',
      'true',
      'null',
      'é',
      '\u0001',
    )
    await fc.assert(
      fc.asyncProperty(fc.array(pieces, { maxLength: 12 }), async (parts) => {
        const text = parts.join('')
        if ((await refusal(() => parse(text))) === 'accepted') expect(parse(text)).toEqual(JSON.parse(text))
      }),
      { numRuns: 3000 },
    )
  })
  it('survives every mutation of a real document: the same value as JSON.parse, or a coded refusal', async () => {
    const text = '{"a":[1,-2.5e3,"x\\n\\u00e9\\ud83d\\ude00",{"b":null,"c":true}],"d":"\\\\"}'
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.string({ unit: 'binary', maxLength: 2 }), async (at, insert) => {
        const mutated = text.slice(0, at) + insert + text.slice(at + 1)
        const result = await refusal(() => parse(mutated))
        if (result === 'accepted') expect(parse(mutated)).toEqual(JSON.parse(mutated))
        else expect(result).toBe('malformed_json')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('member spans', () => {
  it('names each member where it stands, quotes to end of value', () => {
    const text = ' { "a" : [1 , {"\\u0062":2}] ,\n"c":"}" } '
    const { value, spans } = parseJsonSpans(text, limits)
    const texts = (spans.get(value as object) ?? []).map(({ name, start, valueStart, end }) => [
      name,
      text.slice(start, end),
      text.slice(valueStart, end),
    ])
    expect(texts).toEqual([
      ['a', '"a" : [1 , {"\\u0062":2}]', '[1 , {"\\u0062":2}]'],
      ['c', '"c":"}"', '"}"'],
    ])
    const inner = (value as { a: [number, object] }).a[1]
    expect(spans.get(inner)?.map(({ name, start, end }) => [name, text.slice(start, end)])).toEqual([['b', '"\\u0062":2']])
  })
  it('covers every object, and each span parses to its member', () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string().filter((name) => name !== '__proto__'),
          fc.jsonValue({ maxDepth: 2 }).filter((v) => !JSON.stringify(v).includes('"__proto__":')),
        ),
        fc.constantFrom(0, 2),
        (object, space) => {
          const text = JSON.stringify(object, null, space)
          const { value, spans } = parseJsonSpans(text, limits)
          const members = spans.get(value as object) ?? []
          expect(members.map(({ name }) => name).sort()).toEqual(Object.keys(object).sort())
          for (const { start, end, name, valueStart } of members) {
            expect(JSON.parse(`{${text.slice(start, end)}}`)).toEqual({ [name]: JSON.parse(text.slice(valueStart, end)) })
            expect(JSON.parse(text.slice(valueStart, end))).toEqual(JSON.parse(JSON.stringify(object[name])))
          }
        },
      ),
    )
  })
  it('are those of all objects, or of those that stand so deep at most', () => {
    const text = '{"a":{"b":{"c":1},"d":[{"e":2}]},"f":[{"g":3}]}'
    const named = (spansTo?: number): unknown => {
      const { value, spans } = parseJsonSpans(text, limits, spansTo)
      expect(value).toEqual(JSON.parse(text))
      return [...spans.values()].map((members) => members.map(({ name }) => name).join(''))
    }
    expect([named(), named(3), named(2), named(1)]).toEqual([['af', 'bd', 'c', 'e', 'g'], ['af', 'bd', 'c', 'g'], ['af', 'bd'], ['af']])
  })
})

describe('a bound on values', () => {
  const bounded = { ...limits, maxValues: 5 }
  const readers: readonly (readonly [string, (text: string) => unknown])[] = [
    ['parseJson', (text) => parseJson(text, bounded)],
    ['parseJsonSpans', (text) => parseJsonSpans(text, bounded).value],
  ]
  it.each(readers)('%s takes as many as it allows, names and what strings hold apart, and no more', (_, read) => {
    for (const text of ['[1,2,3,4]', '{"a":{},"b":[],"c":null,"d":true}', '[[[[""]]]]', '"[,,,,{,,,"', '{"a,b,c,d,e,f":["[[[[[[",",,,,,,"]}', '1'])
      expect(read(text)).toEqual(JSON.parse(text))
    for (const text of ['[1,2,3,4,5]', '{"a":{},"b":[],"c":null,"d":true,"e":1}', '[[[[[[]]]]]]', '[{},{},{},{},{}]', '["","","","",""]'])
      expect(() => read(text)).toThrow(expect.objectContaining({ code: 'malformed_json' }))
  })
})
