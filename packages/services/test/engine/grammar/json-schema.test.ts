import { Ajv } from 'ajv'
import { describe, expect, test } from 'vitest'
import { GrammarError } from '../../../src/enclave/worker/engine/grammar/graph.ts'
import { SchemaError, schemaPart } from '../../../src/enclave/worker/engine/grammar/json-schema.ts'
import { grammarFor, randomText, verdict } from './follow.ts'

const person = {
  type: 'object',
  properties: {
    name: { type: 'string', maxLength: 8 },
    age: { type: 'integer', minimum: 0 },
    tags: { type: 'array', items: { enum: ['a', 'ab', 'b'] }, maxItems: 2 },
  },
  required: ['name', 'tags'],
  additionalProperties: false,
}
const tree = {
  $ref: '#/$defs/node',
  $defs: {
    node: {
      type: 'object',
      properties: { value: { type: ['integer', 'null'] }, children: { type: 'array', items: { $ref: '#/$defs/node' } } },
      required: ['value', 'children'],
    },
  },
}
const union = {
  anyOf: [
    { type: 'boolean' },
    { const: { a: [1, 'x'] } },
    { type: 'string', minLength: 2, maxLength: 3 },
    { type: 'array', minItems: 1, maxItems: 2 },
  ],
}
const list = { anyOf: [{ type: 'null' }, { type: 'object', properties: { next: { $ref: '#' } }, required: ['next'] }] }

describe('follows', () => {
  test.each<[name: string, schema: unknown, whole: string[], beginning: string[], no: string[]]>([
    [
      'an object with required and optional members in order',
      person,
      ['{"name":"Ann","tags":[]}', '{"name": "Ann", "age": 7, "tags": ["a", "ab"]}', '{\n  "name": "é\\u00e9🙂",\n  "tags": ["b"]\n}'],
      ['', '{', '{"name":"A', '{"name":"A","age":1', '{"name":"A","tags":["a"'],
      [
        '{}',
        '{"age":1',
        '{"name":"123456789',
        '{"name":"A","age":-',
        '{"name":"A","age":01',
        '{"name":"A"}',
        '{"name":"A","tags":["c',
        '{"name":"A","tags":["a","a","',
        '{"name":"A","x"',
        '{"name":  ',
      ],
    ],
    [
      'recursion',
      tree,
      ['{"value":null,"children":[{"value":1,"children":[]},{"value":-2,"children":[]}]}'],
      ['{"value":1,"children":[{'],
      ['{"value":"', '{"children"'],
    ],
    ['recursion of the top', list, ['null', '{"next":{"next":null}}'], ['{"next":{'], ['[', '{}']],
    ['a union', union, ['true', '{"a":[1,"x"]}', '"ab"', '"abc"', '[1]', '[{},[]]'], ['"a', '["'], ['"a"', '"abcd', '[]', '[1,2,', '{"b', 'null']],
    [
      'numbers',
      { type: 'number' },
      ['0', '-0.5', '12e5', '1.25E-10', '999999999999999'],
      ['-', '1.', '1e'],
      ['01', '+', '.5', '1e100', '1000000000000000'],
    ],
    ['numbers from 0', { type: 'number', minimum: 0 }, ['0.5', '0'], [], ['-']],
    ['integers above 0', { type: 'integer', exclusiveMinimum: 0 }, ['1', '10'], [], ['0', '-']],
    ['integers from 1', { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER }, ['1'], [], ['0']],
    ['any JSON', {}, ['null', '"\\"\\\\\\n"', '[[],{"a":{"b":[1.5]}}]', '{}'], ['[[['], ["'", '"\n', '"\\x', '"\\ud800', '\u00a0', 'nul1']],
    ['any object', { type: 'object' }, ['{"x":[1]}'], ['{"'], ['[', '1']],
    ['a map', { type: 'object', additionalProperties: { type: 'boolean' } }, ['{}', '{"a":true,"b":false}'], [], ['{"a":1']],
    ['no member at all', { type: 'object', properties: {}, additionalProperties: false }, ['{}', '{ }'], [], ['{"']],
    [
      'only optional members',
      { properties: { a: true, b: true } },
      ['{}', '{"a":1}', '{"b":1}', '{"a":1,"b":2}'],
      [],
      ['{"b":1,"a', '{,', '{"a":1,}'],
    ],
    ['an enum of mixed values', { enum: ['x', 1, null, [2]] }, ['"x"', '1', 'null', '[2]'], [], ['2', '"y']],
    ['an enum under its type', { type: 'string', enum: ['x', 1] }, ['"x"'], [], ['1']],
    ['allOf of one and annotations', { title: 't', allOf: [{ type: 'null', description: 'd' }] }, ['null'], [], ['1']],
    ['references with escapes', { $ref: '#/$defs/a~1b', $defs: { 'a/b': { const: 1 } } }, ['1'], [], ['2']],
    ['exact lengths', { type: 'string', minLength: 2, maxLength: 2 }, ['"ab"', '"🙂é"'], ['"a'], ['""', '"abc']],
  ])('%s', (_, schema, whole, beginning, no) => {
    const grammar = grammarFor((graph) => schemaPart(graph, schema))
    for (const text of whole) expect([text, verdict(grammar, text)]).toEqual([text, 'whole'])
    for (const text of beginning) expect([text, verdict(grammar, text)]).toEqual([text, 'beginning'])
    for (const text of no) expect([text, verdict(grammar, text)]).toEqual([text, 'no'])
  })

  test.each([
    [0, 0],
    [1, 5],
    [-3, 3],
    [7, 123],
    [-250, -9],
    [98, 1002],
    [-1000, 10],
  ])('integers from %i to %i, and no others', (minimum, maximum) => {
    const grammar = grammarFor((graph) => schemaPart(graph, { type: 'integer', minimum, maximum }))
    for (let value = -1100; value <= 1100; value++)
      expect([value, verdict(grammar, String(value)) === 'whole']).toEqual([value, value >= minimum && value <= maximum])
    for (const text of ['-0', '00', '01', '+1', '']) expect(verdict(grammar, text)).not.toBe('whole')
  })

  test('bounds of integers may be exclusive, fractions, or wider than what is written', () => {
    const grammar = grammarFor((graph) =>
      schemaPart(graph, { type: 'integer', exclusiveMinimum: 1.5, exclusiveMaximum: 10, maximum: Number.MAX_SAFE_INTEGER }),
    )
    expect(['1', '2', '9', '10'].map((text) => verdict(grammar, text))).toEqual(['no', 'whole', 'whole', 'no'])
    const wide = grammarFor((graph) => schemaPart(graph, { type: 'integer', minimum: -1e30, maximum: 1e30 }))
    expect([`-${'9'.repeat(15)}`, '0', '9'.repeat(15), '9'.repeat(16)].map((text) => verdict(wide, text))).toEqual(['whole', 'whole', 'whole', 'no'])
  })

  test('well-formed UTF-8 only', () => {
    const grammar = grammarFor((graph) => schemaPart(graph, { type: 'string' }))
    const quoted = (...bytes: number[]): Uint8Array => Uint8Array.of(0x22, ...bytes)
    for (const bytes of [[0xc3], [0xe0, 0xa0], [0xed, 0x9f, 0xbf], [0xf4, 0x8f, 0xbf, 0xbf]])
      expect(verdict(grammar, quoted(...bytes))).toBe('beginning')
    for (const bytes of [[0x80], [0xc0], [0xc3, 0x22], [0xe0, 0x80], [0xed, 0xa0], [0xf4, 0x90], [0xf8]])
      expect(verdict(grammar, quoted(...bytes))).toBe('no')
  })

  test.each([
    ['person', person],
    ['tree', tree],
    ['union', union],
    ['list', list],
    ['any JSON', {}],
    ['nested', { type: 'array', items: { type: 'object', properties: { x: union, y: { type: 'number' } }, required: ['y'] }, minItems: 1 }],
  ])('what it lets through is JSON that another validator accepts, and there is no dead end: %s', (_, schema) => {
    const validate = new Ajv({ strict: false }).compile(schema)
    const grammar = grammarFor((graph) => schemaPart(graph, schema))
    let state = 1
    const random = (): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return (state >>> 8) / 2 ** 24
    }
    let whole = 0
    for (let i = 0; i < 60; i++) {
      const text = randomText(grammar, random, 300)
      if (text === null) continue
      whole++
      expect([text, validate(JSON.parse(text))]).toEqual([text, true])
    }
    expect(whole).toBeGreaterThan(10)
  })

  test('nesting has no bound of its own', () => {
    const grammar = grammarFor((graph) => schemaPart(graph, {}))
    expect(verdict(grammar, `${'[{"a":'.repeat(2000)}1${'}]'.repeat(2000)}`)).toBe('whole')
  })
})

describe('refused, with the place', () => {
  const deep = (levels: number): unknown => (levels === 0 ? true : { type: 'array', items: deep(levels - 1) })
  test.each<[name: string, schema: unknown, place: string]>([
    ['no schema', 7, 'the top'],
    ['false', false, 'the top'],
    ['an unknown type', { type: 'date' }, '/type'],
    ['a type twice', { type: ['null', 'null'] }, '/type'],
    ['pattern', { type: 'object', properties: { a: { type: 'string', pattern: 'x' } } }, '/properties/a/pattern'],
    ['format', { type: 'string', format: 'date' }, '/format'],
    ['oneOf', { oneOf: [{}] }, '/oneOf'],
    ['not', { items: { not: {} } }, '/items/not'],
    ['multipleOf', { type: 'integer', multipleOf: 2 }, '/multipleOf'],
    ['a bound of numbers', { type: 'number', minimum: 5 }, '/minimum'],
    ['a bound as text', { type: 'integer', minimum: '5' }, '/minimum'],
    ['an exclusive bound as in old drafts', { type: 'integer', exclusiveMaximum: true }, '/exclusiveMaximum'],
    ['bounds that leave nothing', { type: 'integer', minimum: 5, exclusiveMaximum: 5 }, 'the top'],
    ['a bound beyond 15 digits', { type: 'integer', minimum: 1e15 }, 'the top'],
    ['an upper bound', { type: 'number', maximum: 5 }, '/maximum'],
    ['an exclusive bound of a number', { type: 'number', exclusiveMinimum: 0 }, '/exclusiveMinimum'],
    ['a large maxItems', { type: 'array', maxItems: 1025 }, '/maxItems'],
    ['a negative minLength', { type: 'string', minLength: -1 }, '/minLength'],
    ['maxItems below minItems', { type: 'array', minItems: 2, maxItems: 1 }, '/maxItems'],
    ['two in allOf', { allOf: [{}, {}] }, '/allOf'],
    ['an empty anyOf', { anyOf: [] }, '/anyOf'],
    ['anyOf beside type', { type: 'null', anyOf: [{}] }, 'the top'],
    ['$ref beside properties', { $ref: '#', properties: {} }, 'the top'],
    ['a reference elsewhere', { $ref: 'https://example.org/x' }, '/$ref'],
    ['a reference to nothing', { $ref: '#/$defs/x' }, '/$ref'],
    ['a reference to a prototype', { $ref: '#/constructor' }, '/$ref'],
    ['a required name without property', { type: 'object', properties: { a: {} }, required: ['b'] }, '/required'],
    ['required as text', { type: 'object', required: 'a' }, '/required'],
    ['properties as list', { type: 'object', properties: [] }, '/properties'],
    ['an empty enum', { enum: [] }, '/enum'],
    ['an enum of other types', { type: 'string', enum: [1] }, 'the top'],
    ['a long enum', { enum: Array.from({ length: 1025 }, (_, i) => i) }, '/enum'],
    ['a long value', { const: 'x'.repeat(3000) }, 'the top'],
    ['a long name', { properties: { ['x'.repeat(1025)]: true } }, '/properties'],
    ['many names', { properties: Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`x${i}`, true])) }, '/properties'],
    ['33 levels', deep(33), '/items'],
  ])('%s', (_, schema, place) => {
    const make = (): unknown => grammarFor((graph) => schemaPart(graph, schema))
    expect(make).toThrow(SchemaError)
    expect(make).toThrow(place)
  })

  test('a schema that can never end, or comes to itself without anything between', () => {
    for (const schema of [
      { $ref: '#' },
      { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] },
      { type: 'array', items: { $ref: '#' }, minItems: 1 },
      { anyOf: [{ $ref: '#' }, { type: 'null' }] },
    ])
      expect(() => grammarFor((graph) => schemaPart(graph, schema))).toThrow(GrammarError)
  })

  test('a small schema that would make a huge grammar', () => {
    const wide = {
      type: 'object',
      properties: Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x${i}`, { type: 'string', maxLength: 1024 }])),
    }
    expect(() => grammarFor((graph) => schemaPart(graph, wide))).toThrow('nodes')
  })
})
