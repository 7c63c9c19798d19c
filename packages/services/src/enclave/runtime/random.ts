import { randomFillSync } from 'node:crypto'

const poolBytes = 4096
const pool = Buffer.alloc(poolBytes)
let used = poolBytes

/**
 * Random bytes of node:crypto's generator, at most 64, drawn many at a time: one call of it takes as long as hashing a request does. What was given out is
 * no longer kept here, so that nothing but its owner holds a key.
 */
export function drawBytes(length: number): Buffer {
  const at = drawn(length)
  const bytes = Buffer.alloc(length)
  pool.copy(bytes, 0, at, used)
  pool.fill(0, at, used)
  return bytes
}

/** {@link drawBytes} as lower-case hex, for names: without an array, whose memory would have to be moved for Node to read it. */
export function drawHex(length: number): string {
  const at = drawn(length)
  const text = pool.toString('hex', at, used)
  pool.fill(0, at, used)
  return text
}

/** Takes so many bytes of the pool; gives where they begin. */
function drawn(length: number): number {
  if (length > 64) throw new RangeError(`drawBytes: expected at most 64 bytes, found ${length}`)
  if (used + length > poolBytes) {
    randomFillSync(pool)
    used = 0
  }
  used += length
  return used - length
}
