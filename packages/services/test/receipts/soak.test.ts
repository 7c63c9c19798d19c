import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { runCrashes } from '../../../../bench/soak/worker/crash.ts'
import { judge, readReceipts } from '../../../../bench/soak/worker/judge.ts'
import { runSteady } from '../../../../bench/soak/worker/steady.ts'

const directories: string[] = []
const directory = async (): Promise<string> => {
  const made = await mkdtemp(join(tmpdir(), 'veritee-soak-'))
  directories.push(made)
  return made
}
afterAll(() => Promise.all(directories.map((made) => rm(made, { recursive: true, force: true }))))

describe('the soak of a worker in a reduced form', () => {
  test('16 at once, some of whom leave: every request has exactly one receipt with the right outcome, and the chain has no gap', {
    timeout: 120_000,
  }, async () => {
    const state = await directory()
    const result = await runSteady({ directory: state, concurrency: 16, rounds: 1, secondsPerRound: 4, seed: 1 })
    expect(result.findings).toEqual([])
    expect(result.requests.whole).toBeGreaterThan(10)
    expect(result.requests.left).toBeGreaterThan(3)
    expect(result.requests.broken).toBe(0)
    expect(result.outcomes.aborted).toBeGreaterThan(0)

    // The judge notices what it is there for.
    const records = (await readReceipts(state)).slice(0, 6)
    const [first] = records
    const judged = async (kept: typeof records): Promise<string> => (await judge(kept, [], new Map(), false)).findings.join('\n')
    expect(await judged(records)).not.toMatch(/expected number|two receipts/)
    expect(await judged(records.toSpliced(3, 1))).toContain('expected number 3 after')
    expect(await judged(first === undefined ? [] : [...records, first])).toMatch(/expected number 6 after.*\n(.*\n)*two receipts/)
    expect(await judged(records)).toContain('a receipt for a request that nobody sent')
  })

  test('S21, S25: killed with SIGKILL under load 3 times: no corrupt store, and what was acknowledged is served under its old keyset', {
    timeout: 180_000,
  }, async () => {
    const result = await runCrashes({ directory: await directory(), concurrency: 16, kills: 3, maxAnswers: 12, seed: 7 })
    expect(result.findings).toEqual([])
    expect(result.acknowledged).toBeGreaterThan(5)
    expect(result.fetched).toBeGreaterThanOrEqual(result.acknowledged)
    expect(result.receipts).toBeGreaterThanOrEqual(result.acknowledged)
  })
})
