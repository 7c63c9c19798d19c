import fc from 'fast-check'
import { expect, it } from 'vitest'
import { isoTime } from '../../src/bytes/iso-time.ts'

it('a time in words is that of toISOString', () => {
  const edges = [
    '0000-01-01',
    '0000-02-29',
    '1600-02-29',
    '1899-12-31',
    '1900-02-28',
    '1900-03-01',
    '1969-12-31',
    '1970-01-01',
    '2000-02-29',
    '2100-03-01',
    '9999-12-31',
  ]
  for (const day of edges)
    for (const clock of ['00:00:00.000', '09:08:07.006', '23:59:59.999']) expect(isoTime(new Date(`${day}T${clock}Z`))).toBe(`${day}T${clock}Z`)
  const days = Array.from({ length: 1500 }, (_, day) => new Date(Date.UTC(1999, 0, 1 + day, 12)))
  for (const day of days) expect(isoTime(day)).toBe(day.toISOString())
  fc.assert(
    fc.property(fc.date({ noInvalidDate: true }), (date) => {
      expect(isoTime(date)).toBe(date.toISOString())
    }),
    { numRuns: 5000 },
  )
})

it('a time that is none is a RangeError', () => {
  expect(() => isoTime(new Date(Number.NaN))).toThrow(RangeError)
})
