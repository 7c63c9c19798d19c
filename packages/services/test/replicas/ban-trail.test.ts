import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runBans } from '../../src/bin/commands/bans.ts'
import type { Ban } from '../../src/controller/admission/bans.ts'
import { BanTrail } from '../../src/controller/replicas/ban-trail.ts'
import { demoPolicy } from '../../src/demo/policy.ts'
import { AuthorityRows } from '../../src/enclave/runtime/authority.ts'
import { openReceiptArchive } from '../../src/enclave/runtime/receipts/open.ts'
import { openFileSealingKey, sealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import type { Renewing } from '../../src/process/run.ts'
import type { AuthorityStore } from '../../src/store/authority-store.ts'
import { openPostgresStore } from '../../src/store/postgres/postgres-store.ts'
import { openSqliteStore } from '../../src/store/sqlite/sqlite-store.ts'
import { startController } from '../process/start.ts'
import { leftOut, type PostgresServer, startPostgres } from '../store/postgres-server.ts'

interface Opened {
  readonly authority: AuthorityStore
  close(): unknown
}

const enclave = { mrenclave: '11'.repeat(32), mrsigner: '22'.repeat(32), isvProdId: 1, isvSvn: 1 }
let directory: string
let server: PostgresServer | null = null
const stores: { readonly [name: string]: (name: string) => Promise<Opened> } = {
  SQLite: async (name) => openSqliteStore(join(directory, `${name}.db`), { maxBytes: 1 << 30 }),
  PostgreSQL: async (name) => {
    if (server === null) throw new TypeError('no server')
    return openPostgresStore({ ...server.options, space: name, maxBytes: 1 << 30 })
  },
}
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-trail-'))
  if (leftOut === null) server = await startPostgres()
}, 60_000)
afterAll(async () => {
  await server?.close()
  await rm(directory, { recursive: true, force: true })
})

const ban = (n: number): Ban => ({ subject: `platform:${String(n).repeat(64)}`, until: 1_700_086_400, count: 1, lifts: 0 })
let space = 0

describe.each(['SQLite', 'PostgreSQL'])('the trail of bans in %s', (kind) => {
  const skipped = kind === 'PostgreSQL' && leftOut !== null
  const name = (text: string): string => (skipped ? `${text} (left out: ${leftOut})` : text)

  /** Controllers of one store: each with rows and a trail of its own. */
  async function replicas(...names: readonly string[]) {
    const store = await (stores[kind] as (name: string) => Promise<Opened>)(`space${space++}`)
    const sealing = sealingKey('file', new Uint8Array(randomBytes(32)))
    const clock = { seconds: 1_700_000_000 }
    const opened = names.map((by) => {
      const rows = new AuthorityRows(store.authority, sealing)
      return new BanTrail({ rows, now: () => new Date(clock.seconds * 1000), by: () => by, everyMs: 1_000_000 })
    })
    const close = async (): Promise<void> => {
      for (const one of opened) await one.close()
      await store.close()
    }
    return { store, clock, trails: opened as [BanTrail, BanTrail], close }
  }

  test.skipIf(skipped)(name('is the same at all replicas, in order, with who did it and why'), async () => {
    const { clock, trails, close } = await replicas('sha256:a', 'sha256:b')
    const [a, b] = trails
    a.made([ban(1), ban(2)], 'its receipt does not match')
    await expect.poll(async () => (await b.view()).entries.length).toBe(2)
    clock.seconds += 60
    await b.lifting(ban(2), 'a fault of our own')
    const expected = [
      {
        at: 1_700_000_000,
        action: 'barred',
        subject: ban(1).subject,
        until: 1_700_086_400,
        count: 1,
        reason: 'its receipt does not match',
        by: 'sha256:a',
      },
      {
        at: 1_700_000_000,
        action: 'barred',
        subject: ban(2).subject,
        until: 1_700_086_400,
        count: 1,
        reason: 'its receipt does not match',
        by: 'sha256:a',
      },
      { at: 1_700_000_060, action: 'lifted', subject: ban(2).subject, until: 1_700_086_400, count: 1, reason: 'a fault of our own', by: 'sha256:b' },
    ]
    for (const one of trails) expect(await one.view()).toEqual({ entries: expected, missing: 0 })
    await close()
  })

  test.skipIf(skipped)(name('S3: nobody but a controller can write one, and one that was taken out is missed'), async () => {
    const { store, trails, close } = await replicas('sha256:a', 'sha256:b')
    const [a, b] = trails
    a.made([ban(1), ban(2), ban(3)], 'found out')
    await expect.poll(async () => (await b.view()).entries.length).toBe(3)
    const rows = await store.authority.list('ban-trail', '', 9)
    const [, second] = rows
    if (second === undefined) throw new TypeError('no row')
    const forged = Buffer.from(Buffer.from(second.content).toString('utf8').replace('barred', 'lifted'))
    await store.authority.replace({ ...second, key: second.key.replace(/^\d{12}/, '001700000009'), content: forged }, null)
    expect((await b.view()).entries.map(({ action }) => action)).toEqual(['barred', 'barred', 'barred'])
    await store.authority.remove('ban-trail', [second.key])
    expect(await b.view()).toMatchObject({ entries: [{ subject: ban(1).subject }, { subject: ban(3).subject }], missing: 1 })
    await close()
  })

  test.skipIf(skipped)(name('what is older than any ban and its history is forgotten, and then not missed'), async () => {
    const { clock, trails, close } = await replicas('sha256:a', 'sha256:b')
    const [a, b] = trails
    a.made([ban(1)], 'found out')
    await expect.poll(async () => (await b.view()).entries.length).toBe(1)
    clock.seconds += 401 * 86_400
    await a.lifting(ban(2), 'late')
    expect(await b.view()).toMatchObject({ entries: [{ subject: ban(2).subject }], missing: 0 })
    await close()
  })
})

test('a lift that the store does not take is none, and leaves no gap; what was found out meanwhile is told later', async () => {
  let failing = true
  const kept: { key: string; content: string }[] = []
  const rows = {
    raise: async (_: string, told: typeof kept) => {
      if (failing) throw new Error('the store does not answer')
      kept.push(...told)
    },
    list: async () => new Map(kept.map(({ key, content }) => [key, { version: 1, content }])),
  } as unknown as AuthorityRows
  const trail = new BanTrail({ rows, now: () => new Date(0), by: () => 'sha256:a', everyMs: 1_000_000 })
  trail.made([ban(1)], `found out\n\u0007${'x'.repeat(400)}`)
  await expect(trail.lifting(ban(1), 'our own fault')).rejects.toThrow('the store does not answer')
  failing = false
  await trail.lifting(ban(2), 'our own fault')
  const { entries, missing } = await trail.view()
  expect([entries.map(({ subject }) => subject), missing]).toEqual([[ban(1).subject, ban(2).subject], 0])
  expect(entries[0]?.reason).toMatch(/^found out\?\?x+$/)
  expect(entries[0]?.reason.length).toBe(300)
  await trail.close()
})

test('a lift that is told stands in the trail once, also where old entries cannot be taken out; of too many the oldest go', async () => {
  let failing = true
  const kept = new Map<string, { version: number; content: string }>()
  const rows = {
    raise: async (_: string, told: { key: string; content: string }[]) => {
      for (const { key, content } of told) kept.set(key, { version: 1, content })
    },
    list: async (_: string, __: string, most: number) => {
      if (failing) throw new Error('the store does not answer')
      return new Map([...kept].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, most))
    },
    remove: async (_: string, keys: readonly string[]) => {
      for (const key of keys) kept.delete(key)
    },
  } as unknown as AuthorityRows
  const trail = new BanTrail({ rows, now: () => new Date(1_700_000_000_000), by: () => 'sha256:a', everyMs: 1_000_000 })
  await trail.lifting(ban(1), 'our own fault')
  await trail.lifting(ban(2), 'our own fault')
  failing = false
  expect(await trail.view()).toMatchObject({ entries: [{ subject: ban(1).subject }, { subject: ban(2).subject }], missing: 0 })
  const content = JSON.stringify({ action: 'barred', by: 'sha256:b', count: 1, reason: 'found out', subject: ban(3).subject, until: 1_700_086_400 })
  for (let i = 1; i <= 19_997; i++) kept.set(`001690000000-${'ab'.repeat(8)}-${String(i).padStart(8, '0')}`, { version: 1, content })
  await trail.lifting(ban(4), 'our own fault')
  const { entries, missing } = await trail.view()
  expect([entries.length, entries.slice(-3).map(({ subject }) => subject), missing]).toEqual([19_000, [1, 2, 4].map((n) => ban(n).subject), 0])
  await trail.close()
})

test('veriteed bans lists, lifts and tells the trail of a controller, also after it started anew', { timeout: 60_000 }, async () => {
  const state = join(directory, 'c')
  await writeFile(join(directory, 'token'), 'a-credential-that-nobody-would-guess-0123456789\n')
  await writeFile(
    join(directory, 'policy.json'),
    JSON.stringify(demoPolicy({ controller: enclave, worker: enclave }, { m: [`sha256:${'00'.repeat(32)}`] })),
  )
  const start = (): Promise<Renewing> =>
    startController([
      ...['--tee', 'simulate', '--state', state, '--port', '0', '--control-port', '0', '--policy', join(directory, 'policy.json')],
      ...['--admin-port', '0', '--admin-token-file', join(directory, 'token')],
    ])
  const bans = (running: Renewing, action: 'list' | 'lift' | 'trail', ...args: string[]): Promise<string> => {
    const to = ['--admin', String(running.ready.admin), '--policy', join(state, 'policy.json'), '--root', join(state, 'root.pem')]
    return runBans(action, [...args, ...to, '--admin-token-file', join(directory, 'token')])
  }
  await (await start()).close()
  // As if it had found this out: bans are in its store, under its key.
  const archive = await openReceiptArchive({
    path: join(state, 'receipts.db'),
    sealing: await openFileSealingKey(join(state, 'receipts.db.key')),
    bounds: { maxAgeSeconds: 86_400, maxBytes: 1 << 30 },
  })
  const until = Math.floor(Date.now() / 1000) + 3600
  const { subject } = ban(7)
  await archive.authority.raise('bans', [{ key: subject, version: until * 1000 + 1, content: JSON.stringify({ until, count: 1, lifts: 0 }) }])
  await archive.close()
  const first = await start()
  expect(await bans(first, 'list')).toContain(`${subject}\n  barred until`)
  expect(await bans(first, 'trail')).toContain('nobody was barred')
  expect(await bans(first, 'lift', subject, '--reason', 'our own fault')).toContain('no longer barred')
  await first.close()
  const second = await start()
  const told = await bans(second, 'trail')
  expect(told).toContain(`lifted ${subject}`)
  expect(told).toContain(`by ${String(first.ready.keyset_digest)}\n  our own fault`)
  expect(JSON.parse(await bans(second, 'trail', '--json'))).toMatchObject({ simulated: true, missing: 0, entries: [{ action: 'lifted', subject }] })
  await expect(bans(second, 'lift', subject, '--reason', 'again')).rejects.toThrow()
  expect(JSON.parse(await bans(second, 'trail', '--json')).entries).toHaveLength(1)
  await second.close()
})

test('veriteed bans trail wants no subject', async () => {
  await expect(runBans('trail', ['platform:1'])).rejects.toMatchObject({ code: 'usage' })
})
