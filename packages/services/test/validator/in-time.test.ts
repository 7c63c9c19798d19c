import { describe, expect, it } from 'vitest'
import type { Audited } from '../../src/validator/audit/audit.ts'
import { inTime } from '../../src/validator/audit/in-time.ts'
import type { Probe } from '../../src/validator/probes/probe.ts'
import { imitationRecord } from './epoch/imitation.ts'

const closes = 2000

/** Asked at one time and judged at another, Unix seconds. */
async function timeOf(asked: number, judged: number): Promise<number> {
  let seconds = asked
  const { record } = await inTime(
    closes,
    () => new Date(seconds * 1000),
    async () => {
      seconds = judged
      return { record: { ...imitationRecord({ index: 0, after: 0 } as Probe), at: judged } } as Audited
    },
  )
  return record.at
}

describe('S5, S19: an answer that is held back over the end of an epoch', () => {
  it.each([
    [1000, 1100, 1100],
    [1999, 1999, 1999],
    [1999, 2000, 1999],
    [1000, 9000, 1999],
    [2000, 2001, 2001],
  ])('asked for at %i and judged at %i is of %i', async (asked, judged, at) => {
    expect(await timeOf(asked, judged)).toBe(at)
  })
})
