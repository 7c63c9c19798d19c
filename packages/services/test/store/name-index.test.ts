import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { NameIndex, type NameKind } from '../../src/store/sqlite/name-index.ts'

const kinds: readonly NameKind[] = ['key', 'alias']

describe('the index of names', () => {
  test('finds what is there and nothing else, whatever was added and removed before', () => {
    const step = fc.record({ remove: fc.boolean(), kind: fc.constantFrom(...kinds), name: fc.integer({ min: 0, max: 1999 }) })
    fc.assert(
      fc.property(fc.array(step, { minLength: 3000, maxLength: 4000 }), fc.integer({ min: 1, max: 2 ** 40 }), (steps, first) => {
        const index = new NameIndex()
        const held = new Map<string, number>()
        const rows = new Map<number, string>()
        let number = first
        const find = (kind: NameKind, name: string): number | null => index.find(kind, name, (row) => rows.get(row) === `${kind} ${name}`)
        for (const { remove, kind, name } of steps) {
          const [text, id] = [`n${name}`, `${kind} n${name}`]
          const before = held.get(id)
          expect(find(kind, text)).toBe(before ?? null)
          if (before === undefined) {
            index.add(kind, text, ++number)
            held.set(id, number)
            rows.set(number, id)
          } else if (remove) {
            index.remove(kind, text, before)
            held.delete(id)
            rows.delete(before)
          }
        }
        for (const kind of kinds) for (let name = 0; name < 2000; name++) expect(find(kind, `n${name}`)).toBe(held.get(`${kind} n${name}`) ?? null)
      }),
      { numRuns: 5 },
    )
  })

  test('asks the row: names of one hash are told apart, and a row that is not there any more is none', () => {
    const index = new NameIndex()
    index.add('key', 'a', 1)
    index.add('key', 'a', 2)
    const asked: number[] = []
    expect(index.find('key', 'a', (number) => asked.push(number) === 2)).toBe(2)
    expect(asked).toEqual([1, 2])
    expect(index.find('key', 'a', () => false)).toBeNull()
    expect(index.find('alias', 'a', () => true)).toBeNull()
    // Of a row that never had it.
    index.remove('key', 'a', 3)
    index.remove('key', 'a', 1)
    expect(index.find('key', 'a', () => true)).toBe(2)
  })

  test('numbers far beyond 32 bits come back whole', () => {
    const index = new NameIndex()
    const numbers = [2 ** 40 - 2 ** 31, 2 ** 40 - 1, 2 ** 40, 2 ** 40 + 5]
    for (const number of numbers) index.add('key', `n${number}`, number)
    for (const number of numbers) expect(index.find('key', `n${number}`, () => true)).toBe(number)
  })
})
