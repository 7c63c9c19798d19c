import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail } from 'veritee/errors'
import { verifyAuditRecord } from 'veritee/scoring'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { command } from '../../../src/bin/commands/validator.ts'
import { NamedReports } from '../../../src/validator/named-reports.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openPostgresEpochStore } from '../../../src/validator/store/postgres-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'
import { leftOut, type PostgresServer, startPostgres } from '../../store/postgres-server.ts'
import { imitateEpoch, probes } from '../epoch/imitation.ts'
import { startProcess } from '../epoch/killed.ts'
import { logForEpoch, obliged, runLogged } from '../epoch/logged-imitation.ts'
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

  test('S16: organic audits share the queue: exactly the leaves that were chosen, each by one of several processes, and what one had begun that ended is done by the others', async () => {
    const closing: (() => Promise<unknown>)[] = []
    const half = 5n * 10n ** 17n
    const world = await logForEpoch(closing, 40)
    const where = await server.database()
    const stores = await Promise.all([0, 1, 2].map(() => openPostgresEpochStore(where)))
    const folder = mkdtempSync(join(tmpdir(), 'veritee-organic-'))
    const alone = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
    try {
      const [first, ...others] = stores as [EpochStore, EpochStore, EpochStore]
      let left = 3
      const ended = runLogged(world, {
        store: first,
        probability: half,
        onAudit: () => {
          if (left-- <= 0) throw fail('validator_store_unavailable', 'ended here')
        },
      })
      await expect(ended).rejects.toThrow('ended here')
      const begun: number[] = []
      const runs = await Promise.all(
        others.map((store) => runLogged(world, { store, probability: half, onAudit: ({ index }) => void begun.push(index) })),
      )
      const undisturbed = await runLogged(world, { store: alone, probability: half })
      const chosen = (await obliged(world, half)).length
      expect(chosen).toBeGreaterThan(3)
      for (const { records } of runs) expect(records).toEqual(undisturbed.records)
      expect(undisturbed.records).toHaveLength(probes + chosen)
      // One salt, one range, one round: all of them publish the same.
      expect(new Set(runs.map(({ salt, log }) => JSON.stringify([salt, log?.closes, log?.closed]))).size).toBe(1)
      expect(new Set(begun).size).toBe(begun.length)
      expect(begun.length).toBeGreaterThanOrEqual(chosen - 3)
      expect(begun.length).toBeLessThanOrEqual(chosen)
    } finally {
      await Promise.all([...stores, alone].map((store) => store.close()))
      for (const stop of closing.reverse()) await stop()
      rmSync(folder, { recursive: true })
    }
  }, 240_000)

  test('S17: a report that names an operator is known to every process', async () => {
    const where = await server.database()
    const [one, other] = await Promise.all([0, 1].map(() => openPostgresEpochStore(where)))
    const keyset = `sha256:${'ab'.repeat(32)}`
    await new NamedReports(one as EpochStore, 3).note({ keysetDigest: keyset, operator: 'aa' }, 'whole')
    await new NamedReports(one as EpochStore, 3).note({ keysetDigest: `sha256:${'cd'.repeat(32)}`, operator: null }, 'stripped')
    expect(await new NamedReports(other as EpochStore, 4).of(keyset)).toBe('whole')
    expect(await new NamedReports(other as EpochStore, 4).of(`sha256:${'cd'.repeat(32)}`)).toBeNull()
    for (const store of [one, other]) await store?.close()
  })

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
