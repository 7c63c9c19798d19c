import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { shapeOf } from '../../src/validator/organic/glimpses.ts'
import type { Earlier } from '../../src/validator/probes/conversation.ts'
import type { Probe } from '../../src/validator/probes/probe.ts'
import type { Traffic } from '../../src/validator/probes/traffic.ts'
import { openSqliteEpochStore } from '../../src/validator/store/sqlite-store.ts'
import { personsOf, personsSecret, type Warming, warmUp } from '../../src/validator/warming.ts'
import { fixedKey } from './keys.ts'

const folder = mkdtempSync(join(tmpdir(), 'veritee-warming-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const begins = 1_800_000_000
const asked = { options: { stream: false }, order: null, before: [] }
const traffic: Traffic = {
  habits: ['openai' as const, 'script' as const].map((program) => ({
    program,
    sittings: [
      [
        { ...asked, after: 0, kept: 0, said: 90 },
        { ...asked, after: 20, kept: 2, said: 'why?' },
      ],
    ],
    cut: null,
  })),
  phrases: null,
  digest: null,
}
const plan = { count: 12, seconds: 3000, maxTokens: 64, maxPrompt: 2000, encrypted: { controller: 0, worker: 0 }, traffic }

interface Sent {
  readonly generation: number
  readonly probe: Probe
  readonly earlier: Earlier | null
}

/** A clock that is a little later whenever it is looked at. */
function laterClock(): () => Date {
  let seconds = begins - 401
  return () => {
    seconds += 400
    return new Date(seconds * 1000)
  }
}

async function warmed(changes: Partial<Warming>): Promise<{ readonly sent: readonly Sent[]; readonly run: () => Promise<void> }> {
  const sent: Sent[] = []
  const store = changes.store ?? (await openSqliteEpochStore(join(folder, 'one.sqlite')))
  const secret = await personsSecret(fixedKey(3))
  const send: Warming['send'] = async (generation, probe, earlier) => {
    sent.push({ generation, probe, earlier })
    return { request: `of ${probe.index}`, response: '', contentType: '' }
  }
  const run = (): Promise<void> =>
    warmUp({
      store,
      epoch: 8,
      begins,
      plan,
      epochDays: 1,
      generations: [personsOf(['a', 'b'], 2, 8), personsOf(['c', 'd'], 2, 8)],
      parts: 3,
      secret,
      send,
      now: laterClock(),
      signal: new AbortController().signal,
      ...changes,
    })
  return { sent, run }
}

test('S20: accounts of epochs to come ask in time order, with conversations, and each request is made once by however many processes', async () => {
  const store = await openSqliteEpochStore(join(folder, 'both.sqlite'))
  const [one, other] = [await warmed({ store }), await warmed({ store })]
  await Promise.all([one.run(), other.run()])
  const all = [...one.sent, ...other.sent]
  expect(new Set(all.map(({ generation, probe }) => `${generation} ${probe.index}`)).size).toBe(24)
  expect(all).toHaveLength(24)
  for (const { sent } of [one, other]) {
    const times = sent.map(({ probe }) => probe.after)
    expect(times).toEqual(times.toSorted((a, b) => a - b))
  }
  await one.run()
  expect(one.sent.length + other.sent.length).toBe(24)
  const alone = await warmed({ store: await openSqliteEpochStore(join(folder, 'alone.sqlite')) })
  await alone.run()
  const followers = alone.sent.filter(({ probe }) => probe.follows !== null)
  expect(followers.length).toBeGreaterThan(0)
  for (const { probe, earlier } of followers) expect(earlier?.request).toBe(`of ${probe.follows?.index}`)
})

test('S20: an account has one habit in all epochs, and which one takes the validator`s key to know', async () => {
  const habits = async (epoch: number, key: number): Promise<ReadonlyMap<string, string>> => {
    const store = await openSqliteEpochStore(join(folder, `${epoch} ${key}.sqlite`))
    const { sent, run } = await warmed({ store, epoch, secret: await personsSecret(fixedKey(key)), plan: { ...plan, count: 60 } })
    await run()
    return new Map(sent.map(({ generation, probe }) => [`${generation} ${probe.account}`, `${probe.program} ${probe.model}`]))
  }
  const [first, next, other] = [await habits(8, 3), await habits(9, 3), await habits(8, 4)]
  const both = [...first.keys()].filter((client) => next.has(client))
  expect(both.length).toBeGreaterThan(4)
  for (const client of both) expect(next.get(client)).toBe(first.get(client))
  expect([...first].some(([client, habit]) => other.get(client) === habit)).toBe(false)
})

test('S20: an account begins to ask as long before its epoch as that of its habit was old, and others make up for none of it', async () => {
  const habit = traffic.habits[0]
  if (habit === undefined) throw new Error('expected a habit')
  const of = async (ages: readonly (number | null)[], epochDays: number) => {
    const store = await openSqliteEpochStore(join(folder, `ages ${ages} ${epochDays}.sqlite`))
    const aged = { ...traffic, habits: ages.map((age) => ({ ...habit, age })) }
    const names = Array.from({ length: 40 }, (_, i) => `${i}`)
    const generations = Array.from({ length: 4 }, () => ({ names }))
    const { sent, run } = await warmed({ store, epochDays, generations, plan: { ...plan, count: 80, traffic: aged } })
    await run()
    return [0, 1, 2, 3].map((generation) => sent.filter((one) => one.generation === generation))
  }
  expect((await of([2], 1)).map(({ length }) => length)).toEqual([80, 80, 0, 0])
  expect((await of([2], 0.5)).map(({ length }) => length)).toEqual([80, 80, 80, 80])
  expect((await of([null], 9)).map(({ length }) => length)).toEqual([80, 80, 80, 80])
  // Some are older: those go on as they would, and no more often.
  const [, , third = [], fourth = []] = await of([2, 9], 1)
  expect(third.length).toBeGreaterThan(10)
  expect(third.length).toBeLessThan(70)
  const accounts = (sent: readonly Sent[]): Set<number> => new Set(sent.map(({ probe }) => probe.account))
  expect(fourth.length).toBe(third.length)
  expect(accounts([...third, ...fourth]).size).toBeLessThan(accounts((await of([9], 1)).flat()).size)
})

test('what was missed is left out, and the signal ends it', async () => {
  const store = await openSqliteEpochStore(join(folder, 'late.sqlite'))
  const late = await warmed({ store, now: () => new Date((begins + 4000) * 1000) })
  await late.run()
  expect(late.sent).toEqual([])
  const ended = await warmed({ store, now: () => new Date((begins - 1000) * 1000), signal: AbortSignal.abort(new Error('over')) })
  await expect(ended.run()).rejects.toThrow()
  expect(ended.sent).toEqual([])
})

test('S20: an epoch that goes on is shaped as it was begun: after the same views, and after no other recording', async () => {
  const store = await openSqliteEpochStore(join(folder, 'shape.sqlite'))
  const glimpse = (prompt: number): string => JSON.stringify([{ parameters: {}, prompt }])
  await store.keep(6, 'glimpses', glimpse(64))
  expect(await shapeOf(store, 8, null)).toEqual({ glimpses: JSON.parse(glimpse(64)) })
  expect(await shapeOf(store, 9, null)).toEqual({ glimpses: [] })
  await store.keep(7, 'glimpses', glimpse(32))
  expect(await shapeOf(store, 9, null)).toEqual({ glimpses: [] })
  const recorded = { ...traffic, digest: 'aa' }
  expect(await shapeOf(store, 10, recorded)).toEqual({ traffic: recorded })
  expect(await shapeOf(store, 10, { ...recorded, digest: 'bb' })).toBeNull()
  expect(await shapeOf(store, 10, null)).toBeNull()
})
