import { createHmac } from 'node:crypto'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { utf8 } from 'veritee/bytes'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createMemoryStore, openStore } from '../../src/enclave/broker/index.ts'
import { type BrokerStore, headEntry, headOf, nextHead, type StoreHead } from '../../src/enclave/broker/store/index.ts'
import { openFileSealingKey, type SealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { SmallLog } from './small-log.ts'
import { askOf, type Clock, clockFrom, outcomeOf, policyText, type RunningBroker, startBroker } from './system.ts'

const name = 'models/demo/1'
const day = 86_400

let directory: string
let sealing: SealingKey
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-broker-heads-'))
  sealing = await openFileSealingKey(join(directory, 'key'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

describe('a head of a store in a log', () => {
  const identity = { id: '0a'.repeat(16), headKey: Uint8Array.from({ length: 32 }, (_, i) => i) }
  const head: StoreHead = { index: 3, nonce: 'bc'.repeat(16) }

  it('is JCS of five members, and opens with the key of its store only', () => {
    const entry = headEntry(identity, head)
    const told = `"nonce":"${'bc'.repeat(16)}","store":"${'0a'.repeat(16)}","version":"veritee.broker-head.v1"}`
    const mac = createHmac('sha256', identity.headKey).update(`{"index":3,${told}`).digest('hex')
    expect(new TextDecoder().decode(entry)).toBe(`{"index":3,"mac":"${mac}",${told}`)
    expect(headOf(entry, identity)).toEqual(head)
    expect(headOf(entry, { ...identity, id: '0b'.repeat(16) })).toBe(null)
    expect(headOf(entry, { ...identity, headKey: new Uint8Array(32) })).toBe(null)
  })

  it('is nothing else', () => {
    const text = new TextDecoder().decode(headEntry(identity, head))
    for (const other of [
      '',
      text.replace('"index":3', '"index":4'),
      text.replace('bcbc', 'bcbd'),
      text.replace('head.v1', 'head.v2'),
      text.replace('"mac":"', '"mac":"00'),
      text.replace('{', '{"more":1,'),
      text.replace('"index":3', '"index":"3"'),
      `[${text}]`,
      `${text}${' '.repeat(512)}`,
    ])
      expect(headOf(utf8(other), identity), other).toBe(null)
  })

  it('counts on, and no two are the same', () => {
    expect(nextHead(null).index).toBe(1)
    expect(nextHead(head).index).toBe(4)
    expect(nextHead(head).nonce).not.toBe(nextHead(head).nonce)
  })
})

interface Started extends RunningBroker {
  stop(): Promise<void>
}

/** A broker that adds heads to the log. `read` is what the host shows it of the log. */
async function start(
  log: SmallLog,
  clock: Clock,
  store: BrokerStore,
  changes: { readonly host?: SmallLog; readonly submit?: boolean } = {},
): Promise<Started> {
  const { host = log, submit = true } = changes
  const followed = { trust: log.trust, read: host.read, maxAgeSeconds: 3600, submit: submit ? log.submitAt(clock.now) : null }
  const running = await startBroker({ clock, store, log: followed })
  await running.broker.logged?.ready()
  const stop = async (): Promise<void> => {
    await running.broker.close()
    await running.close()
  }
  return { ...running, stop }
}

describe('S11: a broker whose store has heads in a log', () => {
  const path = (): string => join(directory, `store-${Math.random().toString(16).slice(2)}`)

  it('releases once the log shows a head of its own, and every change is in the log when it is answered', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const at = path()
    const running = await start(log, clock, await openStore(at, sealing))
    try {
      const heads = (): number => log.entries.filter((entry) => headOf(entry, running.store.identity) !== null).length
      expect([heads(), running.store.state.head?.index]).toEqual([1, 1])
      await running.put(name)
      expect(heads()).toBe(2)
      expect(await outcomeOf(askOf(running, name))).toBe('released')
      expect((await running.tell('POST', 'rotate', { resource: name, value: 'AAAA' })).status).toBe(200)
      expect((await running.tell('POST', 'revoke', { resource: name })).status).toBe(200)
      expect(heads()).toBe(4)
      expect((await running.tell('GET', 'resources')).json).toMatchObject({ log_head: 4 })
      // Releases and refusals are behind the next head, and nothing is added where there was none.
      expect(await outcomeOf(askOf(running, name))).toBe('kbs_resource_revoked')
      await running.broker.logged?.follow()
      await running.broker.logged?.follow()
      expect(heads()).toBe(5)
      expect(running.broker.logged?.reason).toBe(null)
    } finally {
      await running.stop()
    }
  })

  it('refuses for good where an older store is put back, with whatever clock: a revoked key, a stricter policy and the trail do not come back', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const at = path()
    const first = await start(log, clock, await openStore(at, sealing))
    await first.put(name)
    await first.put('models/demo/2')
    expect(await outcomeOf(askOf(first, name))).toBe('released')
    await copyFile(at, `${at}.old`)
    expect((await first.tell('POST', 'revoke', { resource: name })).status).toBe(200)
    const stricter = { resource: 'models/demo/2', value: 'AAAA', policy: policyText({ simulated: 'refuse' }), evidence: 'veritee' }
    expect((await first.tell('POST', 'rotate', stricter)).status).toBe(200)
    await first.stop()

    for (const shift of [0, -365 * day, 365 * day]) {
      await copyFile(`${at}.old`, at)
      clock.forward(shift)
      const rolledBack = await start(log, clock, await openStore(at, sealing))
      try {
        for (const resource of [name, 'models/demo/2']) {
          const outcome = await outcomeOf(askOf(rolledBack, resource))
          // By a wrong clock its evidence may be too old as well.
          expect(shift === 0 ? ['broker_store_rolled_back'] : ['broker_store_rolled_back', 'crl_expired']).toContain(outcome)
        }
        expect(rolledBack.broker.logged?.reason).toContain('it was put back')
        expect(
          (await rolledBack.tell('POST', 'resources', { resource: 'models/demo/3', value: 'AAAA', policy: policyText(), evidence: 'veritee' })).json,
        ).toMatchObject({
          error: { code: 'broker_store_rolled_back' },
        })
        // Nothing that it has written since makes it the newest.
        await rolledBack.broker.logged?.follow()
        expect(rolledBack.broker.logged?.reason).toContain('it was put back')
      } finally {
        await rolledBack.stop()
        clock.forward(-shift)
      }
    }
  })

  it('releases nothing where everything is of one past day: store, clock, collateral and the checkpoint that it is shown', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const at = path()
    const first = await start(log, clock, await openStore(at, sealing))
    await first.put(name)
    await first.stop()
    await copyFile(at, `${at}.old`)
    // What the host keeps of that day: all that was signed and witnessed then.
    const past = await SmallLog.make()
    past.entries.push(...log.entries)
    past.note = log.note

    clock.forward(day)
    const second = await start(log, clock, await openStore(at, sealing))
    expect((await second.tell('POST', 'revoke', { resource: name })).status).toBe(200)
    await second.stop()

    clock.forward(-day)
    await copyFile(`${at}.old`, at)
    const store = await openStore(at, sealing)
    const running = await startBroker({
      clock,
      store,
      log: { trust: log.trust, read: past.read, maxAgeSeconds: 3600, submit: () => Promise.resolve() },
    })
    try {
      // The checkpoint of that day is a genuine one, and young enough by that clock.
      await running.broker.log?.refresh()
      expect(running.broker.log?.stale).toBe(null)
      expect(running.broker.logged?.reason).toContain('does not show yet that the store is the newest')
      const outcome = outcomeOf(askOf(running, name))
      running.broker.logged?.close()
      expect(await outcome).toBe('kbs_log_stale')
    } finally {
      await running.broker.close()
      await running.close()
    }
  })

  it('is stopped where a second broker runs on a copy, or where the histories of two copies are put together', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const at = path()
    const first = await start(log, clock, await openStore(at, sealing))
    await first.put(name)
    await copyFile(at, `${at}.copy`)
    const copy = await start(log, clock, await openStore(`${at}.copy`, sealing))
    // Whose head comes first goes on.
    expect(await outcomeOf(askOf(copy, name))).toBe('released')
    await first.broker.log?.refresh()
    expect(await outcomeOf(askOf(first, name))).toBe('broker_store_rolled_back')
    expect((await copy.tell('POST', 'revoke', { resource: name })).status).toBe(200)
    // The first one, told that it is behind, still has a change on its disk. It is in no later history.
    expect((await first.tell('POST', 'rotate', { resource: name, value: 'AAAA' })).status).toBe(503)
    await first.stop()
    await copy.stop()
    const again = await start(log, clock, await openStore(at, sealing))
    expect(await outcomeOf(askOf(again, name))).toBe('broker_store_rolled_back')
    await again.stop()
  })

  it('goes on after a crash between the disk and the log, and after entries that somebody has added again', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const at = path()
    const store = await openStore(at, sealing)
    const first = await start(log, clock, store)
    await first.put(name)
    // On the disk, and not in the log.
    await store.commit((state) => ({ ...state, head: nextHead(state.head) }))
    await first.stop()
    log.entries.push(...log.entries, utf8('{"version":"veritee.broker-head.v1"}'))
    await log.publish(clock.now())
    const second = await start(log, clock, await openStore(at, sealing))
    expect(await outcomeOf(askOf(second, name))).toBe('released')
    expect(second.store.state.head?.index).toBe(4)
    await second.stop()
  })

  it('a change that the log does not show is in force, and the answer says that it may be rolled back', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    let up = true
    const submit = log.submitAt(clock.now)
    const running = await startBroker({
      clock,
      store: createMemoryStore(),
      log: {
        trust: log.trust,
        read: log.read,
        maxAgeSeconds: 3600,
        submit: (entry) => (up ? submit(entry) : Promise.reject(new Error('nobody there'))),
      },
    })
    try {
      await running.broker.logged?.ready()
      await running.put(name)
      up = false
      const reply = await running.tell('POST', 'revoke', { resource: name })
      expect([reply.status, reply.json]).toMatchObject([503, { error: { code: 'kbs_log_stale' } }])
      expect(await outcomeOf(askOf(running, name))).toBe('kbs_resource_revoked')
      up = true
      expect((await running.tell('POST', 'revoke', { resource: name })).status).toBe(200)
    } finally {
      await running.broker.close()
      await running.close()
    }
  })

  it('does not start without what adds heads, once its store has one', async () => {
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const at = path()
    const first = await start(log, clock, await openStore(at, sealing))
    await first.stop()
    const store = await openStore(at, sealing)
    await expect(start(log, clock, store, { submit: false })).rejects.toMatchObject({ code: 'config_invalid' })
    await expect(startBroker({ clock, store })).rejects.toMatchObject({ code: 'config_invalid' })
    await store.close()
  })
})
