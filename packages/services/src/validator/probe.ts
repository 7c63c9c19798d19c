import { createHmac } from 'node:crypto'

/** One challenge: a prompt that only the seed foretells, and the answer a sound model gives. */
export interface Probe {
  readonly prompt: string
  readonly expected: string
}

/**
 * The probe of one index: a sum whose terms come from HMAC-SHA-256(seed, "probe" || index), so that nobody without the seed knows it
 * and anybody with it can recompute it. Sums stay below 50, which the demo model has learnt.
 */
export function sumProbe(seed: Uint8Array, index: number): Probe {
  const bits = createHmac('sha256', seed).update(`probe${index}`).digest()
  const a = 1 + (bits.readUInt32BE(0) % 24)
  const b = 1 + (bits.readUInt32BE(4) % 24)
  return { prompt: `What is ${a} + ${b}?`, expected: `${a} + ${b} = ${a + b}.` }
}
