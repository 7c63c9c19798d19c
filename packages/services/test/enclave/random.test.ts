import { expect, test } from 'vitest'
import { drawBytes, drawHex } from '../../src/enclave/runtime/random.ts'

test('what is drawn is never drawn twice, also where the pool is filled anew', () => {
  const seen = new Set<string>()
  // Lengths that do not divide the pool, so that each filling ends elsewhere.
  for (let i = 0; i < 20_000; i++)
    seen.add(
      drawBytes(12 + (i % 21))
        .toString('hex')
        .slice(0, 24),
    )
  for (let i = 0; i < 20_000; i++) seen.add(drawHex(12 + (i % 21)).slice(0, 24))
  expect(seen.size).toBe(40_000)
})

test('as hex there are two digits for each byte', () => {
  for (const length of [0, 1, 16, 64]) expect(drawHex(length)).toMatch(new RegExp(`^[0-9a-f]{${2 * length}}$`))
  expect(() => drawHex(65)).toThrow(RangeError)
})

test('every bit of it is set half of the time', () => {
  const count = 4096
  const set = Array<number>(256).fill(0)
  for (let i = 0; i < count; i++)
    drawBytes(32).forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit++) set[8 * at + bit] = (set[8 * at + bit] ?? 0) + ((byte >> bit) & 1)
    })
  // Seven standard deviations: one run in more than 10^9 ends beyond for any of the 256.
  const within = 7 * Math.sqrt(count / 4)
  expect(set.filter((ones) => Math.abs(ones - count / 2) > within)).toEqual([])
})

test('what was given out belongs to its owner, and what is too long is refused', () => {
  const one = drawBytes(32)
  const copy = Buffer.from(one)
  drawBytes(32).fill(0xff)
  expect(one).toEqual(copy)
  expect(drawBytes(0)).toHaveLength(0)
  expect(() => drawBytes(65)).toThrow(RangeError)
})
