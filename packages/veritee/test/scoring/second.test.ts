import { expect, it } from 'vitest'
import { compareEpochs } from './compare-epochs.ts'

// 10,000 epochs take minutes: `npm run soak -- scoring`.
it('scores of random epochs are those of a second implementation, to the last digit', async () => {
  const { epochs, difference, seen } = await compareEpochs({ from: 0, epochs: 500 })
  expect(difference).toBeNull()
  expect(epochs).toBe(500)
  // Random input that never reaches a rule shows nothing about it.
  for (const [what, times] of Object.entries(seen)) expect(times, what).toBeGreaterThan(3)
}, 300_000)
