import { expect, test } from 'vitest'
import { keepRenewed } from '../../src/process/renewal.ts'

test('S4: keys that have opened nearly as many bodies as they may are renewed, long before they end', async () => {
  let worn = false
  let renewals = 0
  const renewal = keepRenewed({
    notAfter: () => Date.now() / 1000 + 86_000,
    worn: () => worn,
    now: () => new Date(),
    renew: async () => {
      renewals++
      worn = false
    },
    refresh: () => Promise.resolve(),
    report: () => undefined,
  })
  await renewal.check()
  expect(renewals).toBe(0)
  worn = true
  await renewal.check()
  await renewal.check()
  expect(renewals).toBe(1)
  renewal.stop()
})
