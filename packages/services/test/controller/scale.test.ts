import { expect, test } from 'vitest'
import { soakScale } from '../../../../bench/soak/scale/main.ts'

test('the soak of many workers, in small: everybody is found, nothing is left behind, and idle connections keep nobody out', async () => {
  const { scales, idle, registrations, database, findings } = await soakScale({
    sizes: [20, 500],
    operations: 1000,
    connections: 300,
    registrations: 20,
    rows: 500,
  })
  expect(findings).toEqual([])
  expect(scales.map(({ workers, models }) => [workers, models])).toEqual([
    [20, 2],
    [500, 50],
  ])
  expect(idle).toMatchObject({ opened: 300, closed: 0, answered: 20 })
  expect(registrations).toMatchObject({ workers: 20, admitted: 20, repeated: 0 })
  expect(database.workers).toBe(500)
}, 120_000)
