import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { verifyAuditRecord } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { command } from '../../../src/bin/commands/validator.ts'
import { openPostgresEpochStore } from '../../../src/validator/store/postgres-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { leftOut, type PostgresServer, startPostgres } from '../../store/postgres-server.ts'
import { imitateEpoch, probes } from '../epoch/imitation.ts'
import { startProcess } from '../epoch/killed.ts'
import { conformance } from './conformance.ts'

let server: PostgresServer

describe.skipIf(leftOut !== null)(`the memory of a validator in PostgreSQL${leftOut === null ? '' : ` (left out: ${leftOut})`}`, () => {
  beforeAll(async () => {
    server = await startPostgres()
  }, 60_000)
  afterAll(async () => {
    vi.unstubAllEnvs()
    await server?.close()
  })

  conformance(async () => {
    const again = openPostgresEpochStore.bind(null, await server.database())
    return { store: await again(), again }
  })

  test('two processes share an epoch and one is killed in the middle: the other does the rest, and no audit is lost or doubled', async () => {
    const where = await server.database()
    const store = await openPostgresEpochStore(where)
    const [victim, survivor] = [startProcess(where.url, where.password ?? ''), startProcess(where.url, where.password ?? '')]
    await victim.begun(4)
    expect(await store.open(5)).toBeGreaterThan(0)
    expect(await victim.kill()).toBe(true)
    expect(await survivor.ended).toBe(true)
    const records = await store.records(5)
    await store.close()

    const folder = mkdtempSync(join(tmpdir(), 'veritee-undisturbed-'))
    const alone = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
    const told = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    vi.stubEnv('VERITEE_STORE_PASSWORD', where.password ?? '')
    expect(await command.run(['status', '--store', where.url, '--json'])).toBe(0)
    expect(JSON.parse(String(told.mock.calls[0]?.[0]))).toMatchObject([{ epoch: 5, records: probes, left: 0 }])
    vi.restoreAllMocks()

    expect(records).toEqual((await imitateEpoch({ store: alone })).records)
    await alone.close()
    rmSync(folder, { recursive: true })
    const indices = await Promise.all(records.map(async (record) => (await verifyAuditRecord(record)).index))
    expect(indices).toEqual(Array.from({ length: probes }, (_, i) => i))
    // Each did a part; what both began is at most what the victim had in its hands.
    expect(survivor.indices.length).toBeLessThan(probes)
    expect(victim.indices.length + survivor.indices.length - probes).toBeLessThanOrEqual(1)
  }, 240_000)

  test('processes that open it at once make the tables once; tables of another version and a server that loses commits are refused', async () => {
    const where = await server.database()
    for (const store of await Promise.all([where, where, where].map(openPostgresEpochStore))) await store.close()
    await server.sql(where.address.database, 'UPDATE veritee_validator.version SET version = 2')
    await expect(openPostgresEpochStore(where)).rejects.toMatchObject({ code: 'validator_store_unavailable' })
    await expect(openPostgresEpochStore({ ...where, password: 'not that one' })).rejects.toMatchObject({ code: 'validator_store_unavailable' })
  })

  test('connections that break between two calls are replaced', async () => {
    const where = await server.database()
    const store = await openPostgresEpochStore(where)
    await store.keep(5, 'seed', 'a')
    await server.sql('postgres', `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${where.address.database}'`)
    expect(await store.fact(5, 'seed')).toBe('a')
    await store.close()
  })
})
