import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { leafHash, merkleRoot, utf8 } from 'veritee/bytes'
import { describe, expect, it } from 'vitest'
import { FollowedTree } from '../../src/enclave/broker/freshness/followed-tree.ts'
import { revocationOf } from '../../src/enclave/broker/freshness/revocation.ts'
import { WitnessedLog } from '../../src/enclave/broker/freshness/witnessed-log.ts'
import { createMemoryStore, openStore, revocationEntry } from '../../src/enclave/broker/index.ts'
import { flooredClock } from '../../src/enclave/runtime/admission/clock.ts'
import { openFileSealingKey } from '../../src/enclave/runtime/sealing-key.ts'
import { SmallLog } from './small-log.ts'
import { askOf, clockFrom, outcomeOf, type RunningBroker, startBroker } from './system.ts'

const name = 'models/demo/1'
const year = 365 * 86_400

interface Followed {
  readonly log: SmallLog
  readonly watch: WitnessedLog
  readonly clock: ReturnType<typeof clockFrom>
  readonly goBy: (seconds: number) => void
}

async function followed(): Promise<Followed> {
  const log = await SmallLog.make()
  const clock = clockFrom(new Date())
  let elapsed = 0
  const watch = new WitnessedLog({ trust: log.trust, read: log.read, clock: flooredClock(clock.now), elapsedMs: () => elapsed, maxAgeSeconds: 3600 })
  return { log, watch, clock, goBy: (seconds) => (elapsed += seconds * 1000) }
}

const code = (run: () => void): string => {
  try {
    run()
    return 'released'
  } catch (error) {
    return (error as { code: string }).code
  }
}

describe('the tree of what was read', () => {
  it('has the root of RFC 6962 at every size, however it grew', async () => {
    const entries = Array.from({ length: 1300 }, (_, i) => utf8(`entry ${i}`))
    const leaves = await Promise.all(entries.map((entry) => leafHash(entry)))
    let tree = FollowedTree.empty
    expect(await tree.root()).toEqual(await merkleRoot([]))
    let step = 1
    while (tree.size < entries.length) {
      const room = 256 - (tree.size % 256)
      tree = await tree.grown(entries.slice(tree.size, tree.size + Math.min(step, room)))
      step = (step * 7) % 251
      expect(await tree.root(), String(tree.size)).toEqual(await merkleRoot(leaves.slice(0, tree.size)))
    }
    await expect(tree.grown(entries)).rejects.toThrow(TypeError)
  })
})

describe('a revocation in a log', () => {
  it('is JCS of three members, and nothing else is one', () => {
    const entry = revocationEntry({ resource: name, through: 3 })
    expect(new TextDecoder().decode(entry)).toBe(`{"resource":"${name}","through":3,"version":"veritee.key-revocation.v1"}`)
    expect(revocationOf(entry)).toEqual({ resource: name, through: 3 })
    for (const other of [
      '',
      'veritee.key-revocation.v1',
      `{"resource":"${name}","through":3,"version":"veritee.key-revocation.v2"}`,
      `{"resource":"${name}","through":-1,"version":"veritee.key-revocation.v1"}`,
      `{"resource":"${name}","through":3.5,"version":"veritee.key-revocation.v1"}`,
      `{"resource":"../x","through":3,"version":"veritee.key-revocation.v1"}`,
      `{"more":1,"resource":"${name}","through":3,"version":"veritee.key-revocation.v1"}`,
      `{"resource":"${name}","through":3,"note":"veritee.key-revocation.v1"}`,
      `[{"resource":"${name}","through":3,"version":"veritee.key-revocation.v1"}]`,
      `{"resource":"${name}","through":3,"version":"veritee.key-revocation.v1"}${' '.repeat(1024)}`,
    ])
      expect(revocationOf(utf8(other)), other).toBe(null)
    expect(() => revocationEntry({ resource: 'no name', through: 1 })).toThrow(expect.objectContaining({ code: 'kbs_request_malformed' }))
  })
})

describe('S11: the log that a broker follows', () => {
  it('lets nothing go before a checkpoint of a quorum was verified, nor after the last one is too old', async () => {
    const { log, watch, clock, goBy } = await followed()
    expect(code(() => watch.demand(name, 1))).toBe('kbs_log_stale')
    await log.publish(clock.now())
    await watch.refresh()
    expect([watch.failure, code(() => watch.demand(name, 1))]).toEqual([null, 'released'])
    clock.forward(3599)
    goBy(3599)
    expect(code(() => watch.demand(name, 1))).toBe('released')
    clock.forward(2)
    expect(code(() => watch.demand(name, 1))).toBe('kbs_log_stale')
    // Asked again, a log that shows nothing newer makes nothing younger.
    await watch.ready()
    expect(code(() => watch.demand(name, 1))).toBe('kbs_log_stale')
    await log.publish(clock.now())
    await watch.ready()
    expect(code(() => watch.demand(name, 1))).toBe('released')
  })

  it('a clock that stands still or is set back makes no checkpoint younger', async () => {
    const { log, watch, clock, goBy } = await followed()
    await log.publish(clock.now())
    await watch.refresh()
    clock.forward(-year)
    expect(code(() => watch.demand(name, 1))).toBe('released')
    goBy(3601)
    expect(code(() => watch.demand(name, 1))).toBe('kbs_log_stale')
    clock.forward(2 * year)
    expect(code(() => watch.demand(name, 1))).toBe('kbs_log_stale')
  })

  it('an old checkpoint is old by the time of its witnesses, whenever it is served', async () => {
    const { log, watch, clock } = await followed()
    await log.publish(new Date(clock.now().getTime() - 3700_000))
    await watch.refresh()
    expect([watch.failure, code(() => watch.demand(name, 1))]).toEqual([null, 'kbs_log_stale'])
  })

  it('fewer witnesses, another log, entries that are not those of the root, and a log that goes back are refused', async () => {
    const { log, watch, clock } = await followed()
    const attempt = async (): Promise<string | null> => {
      await watch.refresh()
      return watch.failure
    }
    await log.publish(clock.now(), { by: 1 })
    expect(await attempt()).toBe('log_quorum_missing')
    await (await SmallLog.make()).publish(clock.now()).then((note) => (log.note = note))
    expect(await attempt()).toBe('note_signature_missing')
    log.entries.push(utf8('one'))
    await log.publish(clock.now(), { root: new Uint8Array(32) })
    expect(await attempt()).toBe('log_consistency_invalid')
    const [first] = [await log.publish(clock.now())]
    expect(await attempt()).toBe(null)
    log.entries.push(utf8('two'))
    await log.publish(clock.now())
    expect(await attempt()).toBe(null)
    log.note = first as string
    expect(await attempt()).toBe('log_consistency_invalid')
    // Another history, signed and witnessed as it may be.
    log.entries.splice(0, 1, utf8('other'))
    log.entries.push(utf8('three'))
    await log.publish(clock.now())
    expect(await attempt()).toBe('log_consistency_invalid')
    log.note = 'no note'
    expect(await attempt()).toBe('note_malformed')
  })

  it('a revocation holds for the versions that it names, wherever it stands, and is not taken back', async () => {
    const { log, watch, clock } = await followed()
    for (let i = 0; i < 600; i++) log.entries.push(utf8(`entry ${i}`))
    log.entries[300] = revocationEntry({ resource: name, through: 2 })
    log.entries[590] = revocationEntry({ resource: name, through: 1 })
    await log.publish(clock.now())
    await watch.refresh()
    expect(watch.failure).toBe(null)
    const outcomes = [1, 2, 3].map((version) => code(() => watch.demand(name, version)))
    expect(outcomes).toEqual(['kbs_resource_revoked', 'kbs_resource_revoked', 'released'])
    expect(code(() => watch.demand('models/demo/2', 1))).toBe('released')
    log.entries.push(revocationEntry({ resource: name, through: 3 }))
    await log.publish(clock.now())
    await watch.refresh()
    expect(code(() => watch.demand(name, 3))).toBe('kbs_resource_revoked')
  })
})

describe('S11: a broker that follows a log', () => {
  const start = async (log: SmallLog, rest: Parameters<typeof startBroker>[0] = {}): Promise<RunningBroker> =>
    startBroker({ log: { trust: log.trust, read: log.read, maxAgeSeconds: 3600, submit: null }, ...rest })

  it('releases with a fresh checkpoint, and refuses with a code without one', async () => {
    const log = await SmallLog.make()
    const running = await start(log)
    try {
      await running.put(name)
      expect(await outcomeOf(askOf(running, name))).toBe('kbs_log_stale')
      await log.publish(running.clock.now())
      expect(await outcomeOf(askOf(running, name))).toBe('released')
      log.entries.push(revocationEntry({ resource: name, through: 1 }))
      await log.publish(running.clock.now())
      await running.broker.log?.refresh()
      expect(await outcomeOf(askOf(running, name))).toBe('kbs_resource_revoked')
      const trail = (await running.tell('GET', 'audit')).json as { refusals: { code: string }[] }
      expect(trail.refusals.map((line) => line.code)).toEqual(['kbs_log_stale', 'kbs_resource_revoked'])
    } finally {
      await running.close()
    }
  })

  it('a store rolled back, a clock set back and forward a year, and both: nothing is released that the log has revoked', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'veritee-broker-log-'))
    const log = await SmallLog.make()
    const clock = clockFrom(new Date())
    const truth = clock.now().getTime()
    let elapsed = 0
    const path = join(directory, 'store')
    const sealing = await openFileSealingKey(join(directory, 'key'))
    const begin = async (): Promise<RunningBroker> => {
      const running = await start(log, { clock, store: await openStore(path, sealing), elapsedMs: () => elapsed })
      await running.broker.log?.refresh()
      return running
    }
    try {
      await log.publish(clock.now())
      const first = await begin()
      await first.put(name)
      expect(await outcomeOf(askOf(first, name))).toBe('released')
      await first.broker.close()
      const before = await readFile(path)
      const second = await begin()
      expect((await second.tell('POST', 'revoke', { resource: name })).status).toBe(200)
      log.entries.push(revocationEntry({ resource: name, through: 1 }))
      await log.publish(clock.now())
      await second.broker.close()
      await second.close()
      await first.close()

      const outcomes: string[] = []
      for (const [rolledBack, shift] of [
        [true, 0],
        [false, -year],
        [true, -year],
        [false, year],
        [true, year],
      ] as const) {
        if (rolledBack) await writeFile(path, before)
        // The process starts in the true time, or already in the wrong one.
        for (const late of [true, false]) {
          clock.forward((truth - clock.now().getTime()) / 1000 + (late ? 0 : shift))
          const running = await begin()
          if (late) clock.forward(shift)
          outcomes.push(await outcomeOf(askOf(running, name)))
          elapsed += 1000
          await running.broker.close()
          await running.close()
        }
      }
      expect(new Set(outcomes)).not.toContain('released')
      // With the right time and the old store, it is the log that says so.
      expect(outcomes.slice(0, 2)).toEqual(['kbs_resource_revoked', 'kbs_resource_revoked'])
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

it('a broker without a log says so, and releases', async () => {
  const running = await startBroker({ store: createMemoryStore() })
  try {
    await running.put(name)
    expect(running.broker.log).toBe(null)
    expect(await outcomeOf(askOf(running, name))).toBe('released')
  } finally {
    await running.close()
  }
})
