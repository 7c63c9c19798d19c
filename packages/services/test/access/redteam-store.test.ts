import type { IncomingMessage } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type AccessControl, openAccessControl } from '../../src/controller/access/index.ts'
import type { Registry } from '../../src/controller/registry.ts'
import { WorkerHints } from '../../src/controller/replicas/worker-hints.ts'
import type { Identity } from '../../src/enclave/runtime/identity.ts'
import { Ledger } from '../../src/enclave/runtime/ledger.ts'
import type { ReceiptArchive } from '../../src/enclave/runtime/receipts/archive.ts'
import { HttpError } from '../../src/http/errors.ts'
import { facts, hash, identities, now } from '../receipts/enclave.ts'
import { leftOut } from '../store/postgres-server.ts'
import { type AttackedStore, attackedPostgres, attackedSqlite } from './attacked-store.ts'
import { noLimits, wanted } from './store.ts'

/**
 * Somebody with the store in his hands: he reads it, writes any SQL, and puts back what it was, between two runs and (in PostgreSQL) while controllers run. He
 * has a key of his own, and one that was revoked. Whatever he does, he gets no usable key, no wider one, nobody else's receipt, and no worker that was not
 * verified; the worst he brings about is that nobody is served, or that accounts of the month are lost.
 */

let identity: Identity
beforeAll(async () => {
  identity = await (await identities()).make()
})

const forged = `vk-${'F'.repeat(43)}`
const worker = 'https://10.0.0.7:21841'

interface Scene {
  readonly victim: { readonly key: string; readonly id: string; readonly receipt: string }
  readonly attacker: { readonly key: string; readonly receipt: string }
  readonly revoked: string
  readonly revokedAt: number
  /** Of the list of keys, as the operator has seen it. */
  readonly version: number
}

function open(archive: ReceiptArchive, minimumVersion = 0): Promise<AccessControl> {
  return openAccessControl({ archive, now, minimumVersion, report: () => undefined })
}

/** What happens before the attack. */
async function scene(
  archive: ReceiptArchive,
  dump: () => Promise<void> = () => Promise.resolve(),
): Promise<Scene & { readonly control: AccessControl; readonly ledger: Ledger }> {
  const control = await open(archive)
  const ledger = new Ledger({ identity, now, archive, report: await identity.report(null), waitMs: 20 })
  const victim = await control.ring.create({ ...wanted, name: 'victim' })
  const attacker = await control.ring.create({ ...wanted, name: 'attacker', models: ['cheap'], limits: { ...noLimits, requests_per_minute: 1 } })
  const revoked = await control.ring.create({ ...wanted, name: 'revoked' })
  const signed = async (key: string): Promise<string> => {
    const receipt = ledger.open(key)
    await receipt.finish(facts({ events: [{ type: 'response.returned', body_hash: hash }] }))
    return receipt.id
  }
  const receipts = [await signed(victim.key), await signed(attacker.key)] as const
  await dump()
  const { revoked: revokedAt } = await control.ring.revoke(revoked.record.id)
  control.spending.add(victim.record.id, { requests: 1, tokens: 1000 })
  await archive.authority.raise('workers', [
    { key: worker, version: Math.floor(Date.now() / 1000), content: JSON.stringify({ keyset_digest: hash, operator_signature: null }) },
  ])
  await control.spending.sync()
  return {
    control,
    ledger,
    victim: { key: victim.key, id: victim.record.id, receipt: receipts[0] },
    attacker: { key: attacker.key, receipt: receipts[1] },
    revoked: revoked.key,
    revokedAt: revokedAt ?? 0,
    version: control.ring.version,
  }
}

const request = (key: string): IncomingMessage => ({ headers: { authorization: `Bearer ${key}` } }) as IncomingMessage

function ask({ access }: AccessControl, key: string, model: string): string {
  const incoming = request(key)
  const answer = access.authenticate?.(incoming) ?? access.admit(incoming, model, 4)
  if (answer instanceof HttpError) return String(answer.status)
  ;(answer as { settle(facts: object): void }).settle({ usage: null })
  return 'served'
}

/** What holds whatever was done; gives what the victim gets. */
async function judge(
  control: AccessControl,
  archive: ReceiptArchive,
  { victim, attacker, revoked }: Scene,
): Promise<{ victim: string; attacker: string; receipt: string }> {
  await control.ring.refresh().catch(() => undefined)
  const ledger = new Ledger({ identity, now, archive, waitMs: 20 })
  const find = async (id: string, key: string): Promise<string> => (await ledger.find(id, key)).kind
  expect(ask(control, forged, 'cheap'), 'a key of his making').toBe('401')
  expect(ask(control, revoked, 'cheap'), 'a revoked key').toBe('401')
  expect(ask(control, attacker.key, 'dear'), 'a model that he may not use').toMatch(/^40[13]$/)
  const first = ask(control, attacker.key, 'cheap')
  expect(ask(control, attacker.key, 'cheap'), 'beyond his limit').toMatch(/^(?:401|429)$/)
  expect(await find(victim.receipt, attacker.key), 'the receipt of another').toBe('not_found')
  const { records } = await archive.ofCredential(archive.credentialTag(attacker.key), 0, 100)
  expect(
    records.map(({ id }) => id).filter((id) => id !== attacker.receipt),
    'in his account',
  ).toEqual([])
  const told: string[] = []
  const registry = { all: () => [], withKeyset: () => undefined, admit: async (origin: string) => void told.push(origin) }
  const hints = new WorkerHints({
    rows: archive.authority,
    registry: registry as unknown as Registry,
    now,
    report: () => undefined,
    everyMs: 1_000_000,
  })
  await hints.round()
  hints.stop()
  expect(
    told.filter((origin) => origin !== worker),
    'where a controller looks for workers',
  ).toEqual([])
  const result = { victim: ask(control, victim.key, 'dear'), attacker: first, receipt: await find(victim.receipt, victim.key) }
  await ledger.retire()
  return result
}

const key = "name = 'keys'"
const edits: Readonly<Record<string, { readonly sql: (scene: Scene) => string; readonly victim: 'served' | '401' }>> = {
  nothing: { sql: () => `UPDATE AUTHORITY SET name = name`, victim: 'served' },
  'a revoked key made valid': {
    sql: ({ revokedAt }) =>
      `UPDATE AUTHORITY SET content = BYTES(replace(TEXT(content), '"revoked":${revokedAt}', '"revoked":null')) END WHERE ${key}`,
    victim: '401',
  },
  'the models of a key widened': {
    sql: () => `UPDATE AUTHORITY SET content = BYTES(replace(TEXT(content), '["cheap"]', 'null')) END WHERE ${key}`,
    victim: '401',
  },
  'the limit of a key lifted': {
    sql: () =>
      `UPDATE AUTHORITY SET content = BYTES(replace(TEXT(content), '"requests_per_minute":1', '"requests_per_minute":null')) END WHERE ${key}`,
    victim: '401',
  },
  'a list of his own': {
    sql: () => `UPDATE AUTHORITY SET content = BYTES('{"keys":[],"version":"veritee.keys.v1"}') END WHERE ${key}`,
    victim: '401',
  },
  'the list called newer': { sql: () => `UPDATE AUTHORITY SET version = version + 100 WHERE ${key}`, victim: '401' },
  'the list called older': { sql: () => `UPDATE AUTHORITY SET version = version - 1 WHERE ${key}`, victim: '401' },
  'the MAC of another row': {
    sql: () => `UPDATE AUTHORITY SET mac = (SELECT a.mac FROM AUTHORITY AS a WHERE a.name = 'spending' ORDER BY a.key LIMIT 1) WHERE ${key}`,
    victim: '401',
  },
  'another row in the place of the list': {
    sql: () => `DELETE FROM AUTHORITY WHERE ${key}; UPDATE AUTHORITY SET name = 'keys', key = 'all' WHERE name = 'spending'`,
    victim: '401',
  },
  'the list under another name': { sql: () => `UPDATE AUTHORITY SET name = 'spending', key = '2000-01/x/y' WHERE ${key}`, victim: '401' },
  'every row of authority deleted': { sql: () => 'DELETE FROM AUTHORITY', victim: '401' },
  'a worker of his own among the hints': {
    sql: () => "UPDATE AUTHORITY SET key = 'https://10.6.6.6:21841' WHERE name = 'workers'",
    victim: 'served',
  },
  'accounts of receipts exchanged': { sql: () => 'SWAP_ACCOUNTS', victim: 'served' },
  'the box of the victim in the row of the attacker': {
    sql: () => 'UPDATE RECEIPTS SET box = (SELECT r.box FROM RECEIPTS AS r WHERE r.number = (SELECT min(number) FROM RECEIPTS))',
    victim: 'served',
  },
  'the name of the victim`s receipt for the attacker`s': {
    sql: () =>
      "UPDATE RECEIPTS SET key = 'x' WHERE number = (SELECT min(number) FROM RECEIPTS); UPDATE RECEIPTS SET key = 'y' WHERE number = (SELECT max(number) FROM RECEIPTS)",
    victim: 'served',
  },
  'every receipt deleted': { sql: () => 'DELETE FROM RECEIPTS', victim: 'served' },
}

function attacks(next: () => Promise<AttackedStore>, live: boolean): void {
  const stores: AttackedStore[] = []
  const closing: (() => Promise<unknown>)[] = []
  const begin = async (): Promise<AttackedStore> => {
    const store = await next()
    stores.push(store)
    return store
  }
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close()
  })
  afterAll(() => Promise.all(stores.map((store) => store.close())))

  /** Plays the scene, and stops the controller. */
  const played = async (store: AttackedStore, dump?: () => Promise<void>): Promise<Scene> => {
    const archive = await store.open()
    const { control, ledger, ...rest } = await scene(archive, dump)
    await control.close()
    await ledger.close()
    return rest
  }
  const restarted = async (store: AttackedStore, minimumVersion = 0): Promise<{ control: AccessControl; archive: ReceiptArchive }> => {
    const archive = await store.open()
    closing.push(() => archive.close())
    const control = await open(archive, minimumVersion)
    closing.push(() => control.close())
    return { control, archive }
  }

  test.each(Object.entries(edits))('between two runs: %s', async (_, { sql, victim }) => {
    const store = await begin()
    const before = await played(store)
    await store.sql(sql(before))
    const { control, archive } = await restarted(store)
    expect((await judge(control, archive, before)).victim).toBe(victim)
  })

  test('S11: an old dump put back between two runs: where the operator demands the list that he has seen, nobody is served', async () => {
    const store = await begin()
    let restore = (): Promise<void> => Promise.resolve()
    const archive = await store.open()
    const before = await scene(archive)
    await before.control.close()
    await before.ledger.close()
    restore = await store.dump()
    const again = await restarted(store)
    // Something is revoked since, and the dump does not know.
    await again.control.ring.revoke(before.victim.id)
    const { version } = again.control.ring
    for (const close of closing.splice(0).reverse()) await close()
    await restore()
    const { control, archive: after } = await restarted(store, version)
    expect(await judge(control, after, before)).toMatchObject({ victim: '401', receipt: 'found' })
  })

  test('what is lost: the account of the month where its rows are deleted', async () => {
    const store = await begin()
    const before = await played(store)
    const kept = await restarted(store)
    expect(kept.control.spending.of(before.victim.id)).toEqual({ requests: 1, tokens: 1000 })
    for (const close of closing.splice(0).reverse()) await close()
    await store.sql("DELETE FROM AUTHORITY WHERE name = 'spending'")
    const { control } = await restarted(store)
    expect(control.spending.of(before.victim.id)).toEqual({ requests: 0, tokens: 0 })
  })

  if (!live) return
  test.each(Object.entries(edits))('while controllers run: %s: who knows the keys goes on with those', async (_, { sql }) => {
    const store = await begin()
    const archive = await store.open()
    closing.push(() => archive.close())
    const { control, ledger, ...before } = await scene(archive)
    closing.push(() => control.close())
    await store.sql(sql(before))
    expect(await judge(control, archive, before)).toMatchObject({ victim: 'served', attacker: 'served' })
    await ledger.retire()
  })

  test('while controllers run: an old dump put back does not bring back a revoked key', async () => {
    const store = await begin()
    const archive = await store.open()
    closing.push(() => archive.close())
    let restore = (): Promise<void> => Promise.resolve()
    const { control, ledger, ...before } = await scene(archive, async () => {
      restore = await store.dump()
    })
    closing.push(() => control.close())
    await restore()
    expect(await judge(control, archive, before)).toEqual({ victim: 'served', attacker: 'served', receipt: 'found' })
    // A replica that starts on the dump and that the operator tells what he has seen serves nobody.
    const late = await restarted(store, before.version)
    expect((await judge(late.control, late.archive, before)).victim).toBe('401')
    await ledger.retire()
  })
}

describe('S3: with full access to a SQLite file', () => attacks(attackedSqlite, false))

describe.skipIf(leftOut !== null)(`S3: with full access to PostgreSQL${leftOut === null ? '' : ` (left out: ${leftOut})`}`, () => {
  let server: Awaited<ReturnType<typeof attackedPostgres>>
  beforeAll(async () => {
    server = await attackedPostgres()
  }, 60_000)
  afterAll(() => server?.close())
  attacks(() => server.next(), true)
})
