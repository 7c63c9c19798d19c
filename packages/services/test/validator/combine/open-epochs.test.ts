import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keepOutcome, stateBefore } from '../../../src/validator/combine/open-epochs.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-open-epochs-'))
let store: EpochStore
beforeAll(async () => {
  store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
})
afterAll(async () => {
  await store.close()
  rmSync(folder, { recursive: true, force: true })
})

const outcome = (epoch: number): Promise<void> => keepOutcome(store, epoch, new Map([['after.json', `state after ${epoch}`]]))

describe('S17: what an epoch begins from', () => {
  it('is nothing for the first, and the state after the last that was not left out for every other', async () => {
    expect(await stateBefore(store, 4)).toBeNull()
    await outcome(4)
    expect(await stateBefore(store, 4)).toBeNull()
    expect(await stateBefore(store, 5)).toBe('state after 4')
    // One that was left out, and two of which nothing is known at all.
    await store.keep(5, 'left out', 'epoch_late')
    await store.keep(5, 'seed', '00')
    expect(await stateBefore(store, 6)).toBe('state after 4')
    expect(await stateBefore(store, 8)).toBe('state after 4')
    await outcome(8)
    expect(await stateBefore(store, 9)).toBe('state after 8')
    // An earlier one that is concluded late begins from what was before it.
    expect(await stateBefore(store, 8)).toBe('state after 4')
  })
})
