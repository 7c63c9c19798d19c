import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { verifyAuditRecord } from 'veritee/scoring'
import { afterAll, expect, test } from 'vitest'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { imitateEpoch, probes } from './imitation.ts'
import { killEpoch } from './kill-epoch.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-validator-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('killed in the middle of an epoch and started again: no audit is lost or doubled, and every record is that of an undisturbed epoch', async () => {
  const path = join(folder, 'killed.sqlite')
  expect(await killEpoch({ where: path, kills: 3, audits: probes, seed: 1, processes: 1 })).toMatchObject({ killed: 3 })
  const killed = await openSqliteEpochStore(path)
  const records = await killed.records(5)
  await killed.close()
  const undisturbed = await imitateEpoch({ store: await openSqliteEpochStore(join(folder, 'undisturbed.sqlite')) })
  expect(records).toEqual(undisturbed.records)
  const indices = await Promise.all(records.map(async (record) => (await verifyAuditRecord(record)).index))
  expect(indices).toEqual(Array.from({ length: probes }, (_, i) => i))
}, 240_000)

test('two processes over one store share its work, and no audit has two records', async () => {
  const path = join(folder, 'shared.sqlite')
  const stores = [await openSqliteEpochStore(path), await openSqliteEpochStore(path)]
  const made: number[][] = [[], []]
  const [one, other] = await Promise.all(stores.map((store, i) => imitateEpoch({ store, auditMs: 5, onAudit: ({ index }) => made[i]?.push(index) })))
  expect(one).toEqual(other)
  expect(one?.records).toHaveLength(probes)
  expect([...(made[0] ?? []), ...(made[1] ?? [])].sort((a, b) => a - b)).toEqual(Array.from({ length: probes }, (_, i) => i))
  expect(made.every((own) => own.length > 0)).toBe(true)
  for (const store of stores) await store.close()
}, 240_000)
