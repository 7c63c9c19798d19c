import { expect, test } from 'vitest'
import { Floors, maxFloors } from '../../src/enclave/runtime/floors.ts'

test('a floor rises and never sinks; what was not seen has none', () => {
  const floors = new Floors()
  expect(floors.of('a')).toBe(0)
  for (const version of [2, 5, 3]) floors.raise('a', version)
  expect(floors.of('a')).toBe(5)
})

test('of so many rows, however many come and come again: those that were seen first are forgotten first', () => {
  const floors = new Floors()
  const known = (from: number, to: number): number => {
    let found = 0
    for (let i = from; i < to; i++) if (floors.of(`row ${i}`) === 1 + i) found++
    return found
  }
  let next = 0
  for (const more of [1, maxFloors - 1, 1, 999, 3 * maxFloors]) {
    for (const end = next + more; next < end; next++) {
      floors.raise(`row ${next}`, 1 + next)
      // One that is known keeps its place.
      floors.raise(`row ${Math.max(0, next - (next % 1000))}`, 1)
    }
    const first = Math.max(0, next - maxFloors)
    expect([known(0, first), known(first, next)]).toEqual([0, next - first])
  }
})
