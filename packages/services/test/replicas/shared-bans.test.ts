import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Bans } from '../../src/controller/admission/bans.ts'
import type { Party } from '../../src/controller/admission/judge.ts'
import { SharedBans } from '../../src/controller/replicas/shared-bans.ts'
import { type SharedStore, sharedStore } from '../access/store.ts'
import { type Network, startNetwork } from '../e2e/network.ts'

const keyset = (n: number): string => `sha256:${String(n).repeat(64)}`
const nobody: Party = { operator: null, operatorId: null, platform: null, shared: true }
const on = (n: number): Party => ({ ...nobody, platform: String(n).repeat(64), shared: false })
const all: SharedBans[] = []
afterEach(() => {
  for (const one of all.splice(0)) one.stop()
})

let seconds = 1_700_000_000
async function replica(shared: SharedStore): Promise<{ bans: Bans; round: () => Promise<void>; barred: (n: number) => boolean }> {
  const { authority: rows } = await shared.archive()
  const now = (): Date => new Date(seconds * 1000)
  const bans = new Bans(now)
  const registry = { bans: () => bans.list(), learnBans: (found: Parameters<Bans['learn']>[0]) => bans.learn(found) }
  const one = new SharedBans({ rows, registry, now, report: () => undefined, everyMs: 1_000_000 })
  all.push(one)
  return { bans, round: () => one.round(), barred: (n) => bans.against(on(n), keyset(1)) !== null }
}

describe('whom one controller has barred', () => {
  test('S17: is so at the others, and after a restart, with the history, until that is forgotten', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.bans.found(on(1), keyset(1))
    await a.round()
    await b.round()
    expect(b.barred(1)).toBe(true)
    seconds += 86_401
    expect(b.barred(1)).toBe(false)
    // What the first found out makes it the second time at the other.
    b.bans.found(on(1), keyset(2))
    await b.round()
    const anew = await replica(shared)
    await anew.round()
    expect(anew.bans.list()).toEqual([{ subject: `platform:${'1'.repeat(64)}`, until: seconds + 4 * 86_400, count: 2, lifts: 0 }])
    seconds += 200 * 86_400
    const late = await replica(shared)
    await late.round()
    expect([late.bans.list(), (await shared.store.authority.list('bans', '', 9)).length]).toEqual([[], 0])
  })

  test('S3: a row that no controller wrote bars nobody, and one that was deleted stays known to who knew it', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.bans.found(on(1), keyset(1))
    await a.round()
    const [row] = await shared.store.authority.list('bans', '', 9)
    if (row === undefined) throw new TypeError('no row')
    await shared.store.authority.replace({ ...row, key: `platform:${'2'.repeat(64)}` }, null)
    await b.round()
    await shared.store.authority.remove('bans', [row.key])
    await b.round()
    expect([b.barred(1), b.barred(2)]).toEqual([true, false])
  })

  test('S17: a ban that was lifted ends at the others too, whoever still remembers it cannot bring it back, and the next incident bars again', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    a.bans.found(on(1), keyset(1))
    await a.round()
    await b.round()
    const before = b.bans.list()
    expect(a.bans.lift(`platform:${'2'.repeat(64)}`)).toBe(false)
    expect(a.bans.lift(`platform:${'1'.repeat(64)}`)).toBe(true)
    expect([a.barred(1), b.barred(1), a.bans.lift(`platform:${'1'.repeat(64)}`)]).toEqual([false, true, false])
    await a.round()
    await b.round()
    expect(b.barred(1)).toBe(false)
    expect([a.bans.learn(before), a.barred(1)]).toEqual([false, false])
    const anew = await replica(shared)
    await anew.round()
    expect(anew.barred(1)).toBe(false)
    b.bans.found(on(1), keyset(2))
    await b.round()
    await a.round()
    // What was lifted does not count as a first time.
    expect(a.bans.list()).toEqual([{ subject: `platform:${'1'.repeat(64)}`, until: seconds + 86_400, count: 1, lifts: 1 }])
  })

  test('S17: no key of an operator and no identity of a machine is in the store', async () => {
    const shared = sharedStore()
    const a = await replica(shared)
    a.bans.found({ operator: 'ee'.repeat(32), operatorId: 'aa'.repeat(32), platform: 'bb'.repeat(32), shared: true }, keyset(1))
    await a.round()
    const rows = await shared.store.authority.list('bans', '', 9)
    expect(rows.map(({ key }) => key).sort()).toEqual([`operator:${'aa'.repeat(32)}`, `tenant:${'aa'.repeat(32)}:${'bb'.repeat(32)}`])
    expect(rows.map(({ content }) => Buffer.from(content).toString()).join()).not.toContain('ee')
  })
})

describe('a controller', () => {
  let network: Network
  beforeAll(async () => {
    network = await startNetwork()
  }, 60_000)
  afterAll(() => network?.close())

  test('that is told of somebody serves by it no more, and does not admit it again', async () => {
    const { registry } = network.controller.controller
    const { keysetDigest } = network.worker.worker.identity
    expect(registry.counts.serving).toBe(1)
    const until = Math.floor(Date.now() / 1000) + 3600
    // Neither manifest nor operator: the keys are all that is known.
    expect(registry.learnBans([{ subject: `keyset:${keysetDigest}`, until, count: 1, lifts: 0 }])).toBe(true)
    expect([registry.counts.serving, registry.bans().length]).toEqual([0, 1])
    await expect(registry.admit(network.worker.server.url, keysetDigest)).rejects.toMatchObject({ code: 'worker_quarantined' })
    // Lifted, it is challenged as anybody who comes.
    expect([registry.liftBan('keyset:nobody'), registry.liftBan(`keyset:${keysetDigest}`), registry.counts.serving]).toEqual([false, true, 0])
    await expect(registry.admit(network.worker.server.url, keysetDigest)).resolves.toMatchObject({ quarantine: null })
  })
})
