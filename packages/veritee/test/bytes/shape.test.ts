import { describe, expect, it } from 'vitest'
import { Shape } from '../../src/bytes/index.ts'
import { refusal } from './refusal.ts'

const shape = new Shape('malformed_document')
const hex32 = 'ab'.repeat(32)

describe('Shape', () => {
  it.each<[string, () => unknown]>([
    ['no object for an object', () => shape.object([], 'x', [])],
    ['null for an object', () => shape.object(null, 'x', [])],
    ['a missing member', () => shape.object({ a: 1 }, 'x', ['a', 'b'])],
    ['a member that is only inherited', () => shape.object(Object.create({ a: 1 }), 'x', ['a'])],
    ['an unknown member', () => shape.object({ a: 1, z: 1 }, 'x', ['a'], ['b'])],
    ['an array as a record', () => shape.record([], 'x')],
    ['an object as an array', () => shape.array({ length: 0 }, 'x', 1)],
    ['one item too many', () => shape.array([1, 2], 'x', 1)],
    ['a boxed string', () => shape.string(Object('a'), 'x')],
    ['a string too long', () => shape.string('abc', 'x', 2)],
    ['an empty value for a nullable string', () => shape.nullableString(undefined, 'x')],
    ['1 for true', () => shape.boolean(1, 'x')],
    ['a negative integer', () => shape.integer(-1, 'x')],
    ['a fraction', () => shape.integer(0.5, 'x')],
    ['an integer above its bound', () => shape.integer(11, 'x', 10)],
    ['an unsafe integer', () => shape.integer(2 ** 53, 'x')],
    ['a number as text', () => shape.integer('1', 'x')],
    ['an unsafe number of either sign', () => shape.safeInteger(-(2 ** 53), 'x')],
    ['a word of another set', () => shape.oneOf('c', 'x', ['a', 'b'])],
    ['an array holding the word', () => shape.oneOf(['a'], 'x', ['a'])],
    ['upper-case hex', () => shape.hex(hex32.toUpperCase(), 'x', 32)],
    ['hex of another length', () => shape.hex(hex32, 'x', 31)],
    ['hex and a line feed', () => shape.hex(`${hex32}\n`.slice(1), 'x', 32)],
    ['a digest without its prefix', () => shape.digest(hex32, 'x')],
    ['a digest of another kind', () => shape.digest(`sha512:${hex32}`, 'x')],
    ['a digest and a line feed', () => shape.digest(`sha256:${hex32}\n`, 'x')],
  ])('refuses %s with its own code', async (_, read) => {
    expect(await refusal(read)).toBe('malformed_document')
  })
  it('names the place, and shortens foreign names', () => {
    expect(() => shape.object({ ['z'.repeat(5000)]: 1 }, 'roles.worker', [])).toThrow(/^roles\.worker: expected no member "z{40}"$/)
  })
  it('passes what fits', () => {
    expect(shape.object({ a: 1, b: 2 }, 'x', ['a'], ['b', 'c'])).toEqual({ a: 1, b: 2 })
    expect([shape.nullableString(null, 'x'), shape.integer(10, 'x', 10), shape.hex('', 'x', 0), shape.digest(`sha256:${hex32}`, 'x')]).toEqual([
      null,
      10,
      '',
      `sha256:${hex32}`,
    ])
    expect(shape.safeInteger(-5, 'x')).toBe(-5)
  })
})
