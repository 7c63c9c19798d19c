import { randomFillSync } from 'node:crypto'

const poolBytes = 4096
const pool = Buffer.alloc(poolBytes)
let used = poolBytes

/**
 * Random bytes of node:crypto's generator, at most 64, drawn many at a time: one call of it takes as long as hashing a request does. What was given out is
 * no longer kept here, so that nothing but its owner holds a key.
 */
export function drawBytes(length: number): Buffer {
  if (length > 64) throw new RangeError(`drawBytes: expected at most 64 bytes, found ${length}`)
  if (used + length > poolBytes) {
    randomFillSync(pool)
    used = 0
  }
  const drawn = Buffer.alloc(length)
  pool.copy(drawn, 0, used, used + length)
  pool.fill(0, used, used + length)
  used += length
  return drawn
}
