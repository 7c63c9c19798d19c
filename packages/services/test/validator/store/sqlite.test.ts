import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe } from 'vitest'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { conformance } from './conformance.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-epoch-store-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0

describe('the memory of a validator in SQLite', () => {
  conformance(async () => {
    const again = openSqliteEpochStore.bind(null, join(folder, `${files++}.sqlite`))
    return { store: await again(), again }
  })
})
