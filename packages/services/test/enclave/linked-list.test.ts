import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Linked, LinkedList } from '../../src/enclave/runtime/linked-list.ts'

class Item extends Linked {
  readonly name: number

  constructor(name: number) {
    super()
    this.name = name
  }
}

function namesIn(list: LinkedList<Item>): number[] {
  const names: number[] = []
  list.find(({ name }) => {
    names.push(name)
    return false
  })
  return names
}

test('it holds what a Set would, in the same order, whatever comes and goes', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(9))), (steps) => {
      const items = Array.from({ length: 10 }, (_, name) => new Item(name))
      const list = new LinkedList<Item>()
      const set = new Set<Item>()
      for (const [adds, at] of steps) {
        const item = items[at] as Item
        if (adds && !set.has(item)) list.add(item)
        if (adds) set.add(item)
        else {
          list.remove(item)
          set.delete(item)
        }
      }
      const expected = [...set].map(({ name }) => name)
      expect(namesIn(list)).toEqual(expected)
      expect([list.length, list.first?.name, list.find(({ name }) => name > 4)?.name]).toEqual([
        set.size,
        expected[0],
        expected.find((name) => name > 4),
      ])
      // What was taken out leads to nothing that is still in.
      for (const item of items) if (!set.has(item)) expect([item.list, item.before, item.after]).toEqual([null, null, null])
    }),
    { seed: 20_261_129 },
  )
})

test('an item is in one list at a time, and only that one lets it go', () => {
  const item = new Item(1)
  const [one, other] = [new LinkedList<Item>(), new LinkedList<Item>()]
  one.add(item)
  expect(() => other.add(item)).toThrow(TypeError)
  other.remove(item)
  expect([one.length, other.length]).toEqual([1, 0])
})
