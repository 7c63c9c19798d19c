import { describe, expect, test } from 'vitest'
import type { ApiKey, Limits } from '../../src/controller/access/api-key.ts'
import { Meters } from '../../src/controller/access/meters.ts'
import { Spending } from '../../src/controller/access/spending.ts'
import { MemoryStore } from '../../src/store/memory.ts'
import { noLimits, sharedStore } from './store.ts'

function key(limits: Partial<Limits>): ApiKey {
  return {
    id: 'key_0123456789abcdef',
    name: 'n',
    tag: '00'.repeat(32),
    models: null,
    limits: { ...noLimits, ...limits },
    created: 0,
    expires: null,
    revoked: null,
  }
}
const nothing = { requests: 0, tokens: 0 }

describe('limits', () => {
  test('of requests: so many at once, then as they come back; the headers say so', () => {
    let at = 0
    const meters = new Meters(() => at)
    const limited = key({ requests_per_minute: 3 })
    expect([1, 2, 3].map(() => meters.take(limited, 0, nothing))).toEqual([null, null, null])
    expect(meters.headers(limited)).toEqual({
      'x-ratelimit-limit-requests': '3',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': '60s',
    })
    expect(meters.take(limited, 0, nothing)).toMatchObject({
      status: 429,
      type: 'requests',
      code: 'rate_limit_exceeded',
      headers: { 'retry-after': '20' },
    })
    at = 20
    expect(meters.take(limited, 0, nothing)).toBeNull()
    expect(meters.take(limited, 0, nothing)?.status).toBe(429)
  })

  test('of tokens: what was taken before is corrected by what it was, down to a debt that has an end', () => {
    let at = 0
    const meters = new Meters(() => at)
    const limited = key({ tokens_per_minute: 60 })
    expect(meters.take(limited, 10, nothing)).toBeNull()
    meters.settle(limited, 10, 20)
    expect(meters.headers(limited)['x-ratelimit-remaining-tokens']).toBe('40')
    expect(meters.take(limited, 1_000_000, nothing)).toMatchObject({ status: 429, type: 'tokens', headers: { 'retry-after': '20' } })
    meters.settle(limited, 0, 1_000_000)
    expect(meters.take(limited, 1, nothing)?.headers['retry-after']).toBe('61')
    at = 61
    expect(meters.take(limited, 1, nothing)).toBeNull()
    // It came to nothing: given back.
    meters.settle(limited, 1, 0)
    expect(meters.headers(limited)['x-ratelimit-remaining-tokens']).toBe('1')
  })

  test('of a month: what is under way counts, and waiting does not help', () => {
    const meters = new Meters(() => 0)
    const limited = key({ tokens_per_month: 100 })
    expect(meters.take(limited, 60, { requests: 1, tokens: 30 })).toBeNull()
    expect(meters.take(limited, 60, { requests: 1, tokens: 30 })).toBeNull()
    expect(meters.take(limited, 1, { requests: 1, tokens: 30 })).toMatchObject({
      status: 429,
      code: 'insufficient_quota',
      headers: { 'x-should-retry': 'false' },
    })
    meters.settle(limited, 60, 10)
    meters.settle(limited, 60, 10)
    expect(meters.take(limited, 1, { requests: 1, tokens: 50 })).toBeNull()
  })

  test('that a key does not have are no limits, and there are no headers', () => {
    const meters = new Meters(() => 0)
    for (let i = 0; i < 1000; i++) expect(meters.take(key({}), 1e9, { requests: 1e9, tokens: 1e9 })).toBeNull()
    expect(meters.headers(key({}))).toEqual({})
  })

  test('hold for a key in debt, or with answers under way, however many others ask; those that are as good as new need not be kept', () => {
    let at = 0
    const meters = new Meters(() => at)
    const [inDebt, under] = [key({ tokens_per_minute: 60 }), { ...key({ tokens_per_month: 100 }), id: 'key_under' }]
    expect(meters.take(inDebt, 60, nothing)).toBeNull()
    meters.settle(inDebt, 60, 120)
    expect(meters.take(under, 100, nothing)).toBeNull()
    for (let i = 0; i < 40_000; i++) {
      at = i / 1_000
      expect(meters.take({ ...key({ requests_per_minute: 1_000 }), id: `key_${i}` }, 0, nothing)).toBeNull()
    }
    expect(meters.take(inDebt, 1, nothing)).toMatchObject({ status: 429, type: 'tokens' })
    expect(meters.take(under, 1, nothing)).toMatchObject({ code: 'insufficient_quota' })
  })

  test('changed for a key begin anew, and those that are only read again do not', () => {
    const kept = new Meters(() => 0)
    expect(kept.take(key({ requests_per_minute: 2, tokens_per_minute: 10 }), 10, nothing)).toBeNull()
    expect(kept.take(key({ requests_per_minute: 2, tokens_per_minute: 20 }), 10, nothing)).toBeNull()
    expect(kept.take(key({ requests_per_minute: 2, tokens_per_minute: 20 }), 1, nothing)).toMatchObject({ type: 'requests' })
    const meters = new Meters(() => 0)
    expect(meters.take(key({ requests_per_minute: 1 }), 0, nothing)).toBeNull()
    expect(meters.take(key({ requests_per_minute: 1 }), 0, nothing)?.status).toBe(429)
    expect(meters.take(key({ requests_per_minute: 2 }), 0, nothing)).toBeNull()
  })

  test('changed while answers are under way stay changed when those end, and give nothing back that was taken under others', () => {
    const meters = new Meters(() => 0)
    const [before, after] = [key({ tokens_per_minute: 1_000, requests_per_minute: 100 }), key({ tokens_per_minute: 10, requests_per_minute: 1 })]
    for (let i = 0; i < 3; i++) expect(meters.take(before, 200, nothing)).toBeNull()
    expect(meters.take(after, 10, nothing)).toBeNull()
    meters.settle(before, 200, 0)
    expect(meters.take(after, 1, nothing)).toMatchObject({ status: 429, type: 'requests' })
    expect(meters.headers(after)['x-ratelimit-remaining-tokens']).toBe('0')
    // What it used it has used now.
    meters.settle(before, 200, 200)
    expect(meters.headers(after)['x-ratelimit-reset-tokens']).toBe('120s')
  })
})

describe('what was spent', () => {
  const open = async (shared: ReturnType<typeof sharedStore>, now: () => Date, onOthers?: (key: string, used: object) => void): Promise<Spending> =>
    Spending.open({ rows: (await shared.archive()).authority, now, everyMs: 1_000_000, ...(onOthers !== undefined && { onOthers }) })

  test('is of all replicas together, survives a restart, and ends with the month', async () => {
    let now = new Date('2026-05-31T23:00:00Z')
    const shared = sharedStore()
    const told: unknown[] = []
    const [a, b] = [
      await open(shared, () => now),
      await open(
        shared,
        () => now,
        (...args) => told.push(args),
      ),
    ]
    a.add('k', { requests: 1, tokens: 10 })
    b.add('k', { requests: 1, tokens: 5 })
    await a.sync()
    await b.sync()
    expect([a.of('k'), b.of('k')]).toEqual([
      { requests: 1, tokens: 10 },
      { requests: 2, tokens: 15 },
    ])
    a.add('k', { requests: 0, tokens: 1 })
    await a.sync()
    expect(a.of('k')).toEqual({ requests: 2, tokens: 16 })
    expect(told).toEqual([['k', { requests: 1, tokens: 10 }]])
    a.stop()
    const again = await open(shared, () => now)
    expect(again.of('k')).toEqual({ requests: 2, tokens: 16 })
    now = new Date('2026-06-01T00:00:01Z')
    expect([again.of('k'), b.of('k')]).toEqual([nothing, nothing])
    again.stop()
    b.stop()
  })

  test.for([
    ['2026-05-31T23:59:59.999Z', '2026-06-01T00:00:00.000Z'],
    ['2026-12-31T23:59:59.999Z', '2027-01-01T00:00:00.000Z'],
    ['2028-02-29T23:59:59.999Z', '2028-03-01T00:00:00.000Z'],
  ])('of the month that ends after %s begins anew at %s, and no clock that goes back brings it again', async ([last = '', first = '']) => {
    let now = new Date(last)
    const spending = await open(sharedStore(), () => now)
    spending.add('k', { requests: 1, tokens: 10 })
    expect(spending.of('k')).toEqual({ requests: 1, tokens: 10 })
    now = new Date(first)
    expect(spending.of('k')).toEqual(nothing)
    spending.add('k', { requests: 1, tokens: 1 })
    now = new Date(last)
    expect(spending.of('k')).toEqual({ requests: 1, tokens: 1 })
    spending.stop()
  })

  test('is asked for by what is new: each change of each replica is told once, and what did not change is not read again', async () => {
    const now = (): Date => new Date('2026-05-15T00:00:00Z')
    const shared = sharedStore()
    const told: unknown[] = []
    const a = await open(shared, now)
    for (let i = 0; i < 100; i++) a.add(`k${i}`, { requests: 1, tokens: 1 })
    await a.sync()
    const archive = await shared.archive()
    let read = 0
    const scan = archive.authority.scan.bind(archive.authority)
    archive.authority.scan = (table, prefix, most, known, take) =>
      scan(table, prefix, most, known, (rows) => {
        read += rows.size
        return take(rows)
      })
    const b = await Spending.open({ rows: archive.authority, now, everyMs: 1_000_000, onOthers: (...args) => told.push(args) })
    expect(read).toBe(100)
    const c = await open(shared, now)
    const steps = [1, 2, 3, 4, 5, 1000, 6, 7, 8, 9]
    for (const tokens of steps) {
      const one = tokens === 1000 ? c : a
      one.add('k7', { requests: 1, tokens })
      await one.sync()
      b.add('own', { requests: 1, tokens: 0 })
      await b.sync()
    }
    expect(read).toBe(100 + steps.length)
    expect(told).toEqual(steps.map((tokens) => ['k7', { requests: 1, tokens }]))
    expect([b.of('k7'), b.of('k8'), b.of('own')]).toEqual([
      { requests: 11, tokens: 1046 },
      { requests: 1, tokens: 1 },
      { requests: 10, tokens: 0 },
    ])
    for (const one of [a, b, c]) one.stop()
  })

  test('is told whole by whoever ends, also what was counted while a round was under way', async () => {
    const now = (): Date => new Date('2026-05-15T00:00:00Z')
    const shared = sharedStore()
    const archive = await shared.archive()
    const a = await Spending.open({ rows: archive.authority, now, everyMs: 1_000_000 })
    const written = Promise.withResolvers<void>()
    const raise = archive.authority.raise.bind(archive.authority)
    archive.authority.raise = async (...rows) => {
      await written.promise
      await raise(...rows)
    }
    a.add('k', { requests: 1, tokens: 1 })
    const round = a.sync()
    a.add('k', { requests: 1, tokens: 9 })
    const last = a.sync()
    written.resolve()
    await Promise.all([round, last])
    a.stop()
    const b = await open(shared, now)
    expect(b.of('k')).toEqual({ requests: 2, tokens: 10 })
    b.stop()
  })

  test('is read and told a few rows in one turn of the event loop, however many there are, and of every key', async () => {
    const now = (): Date => new Date('2026-05-15T00:00:00Z')
    const keys = Array.from({ length: 1_500 }, (_, i) => `key_${i}`)
    const store = new MemoryStore()
    const rows = { opened: new Set<string>(), written: 0 }
    const most = { opened: 0, written: 0 }
    const raise = store.authority.raise.bind(store.authority)
    store.authority.raise = (told) => {
      rows.written += told.length
      return raise(
        told.map(({ mac, ...row }) => ({
          ...row,
          get mac() {
            rows.opened.add(row.key)
            return mac
          },
        })),
      )
    }
    let watched = true
    const turn = (): void => {
      most.opened = Math.max(most.opened, rows.opened.size)
      most.written = Math.max(most.written, rows.written)
      rows.opened.clear()
      rows.written = 0
      if (watched) setImmediate(turn)
    }
    setImmediate(turn)
    const shared = sharedStore(store)
    const a = await open(shared, now)
    const early = await open(shared, now)
    for (const key of keys) a.add(key, { requests: 1, tokens: 3 })
    await a.sync()
    early.add('own', { requests: 1, tokens: 0 })
    // What is new, all of it again, and all of it at a start.
    for (let i = 0; i < 15; i++) await early.sync()
    const late = await open(shared, now)
    turn()
    watched = false
    for (const one of [early, late]) expect(keys.filter((key) => one.of(key).tokens !== 3)).toEqual([])
    expect(most).toEqual({ opened: 64, written: 128 })
    for (const one of [a, early, late]) one.stop()
  })

  test('is seen by others as far as it was told, and the rest with the next look', async () => {
    const now = (): Date => new Date('2026-05-15T00:00:00Z')
    const keys = Array.from({ length: 300 }, (_, i) => `key_${i}`)
    const shared = sharedStore()
    const archive = await shared.archive()
    const a = await Spending.open({ rows: archive.authority, now, everyMs: 1_000_000 })
    const b = await open(shared, now)
    const seen = (): number => keys.filter((key) => b.of(key).tokens === 1).length
    const look = async (): Promise<number> => {
      b.add('own', { requests: 1, tokens: 0 })
      await b.sync()
      return seen()
    }
    const raise = archive.authority.raise.bind(archive.authority)
    const between: number[] = []
    archive.authority.raise = async (table, rows) => {
      between.push(await look())
      if (between.length === 3) throw new TypeError('the store does not answer')
      await raise(table, rows)
    }
    for (const key of keys) a.add(key, { requests: 1, tokens: 1 })
    await expect(a.sync()).rejects.toThrow('the store does not answer')
    await a.sync()
    expect([...between, await look()]).toEqual([0, 128, 256, 256, 300])
    for (const one of [a, b]) one.stop()
  })

  test('is told when it is stopped, also where it is looking at what others have used; it looks no further then', async () => {
    const now = (): Date => new Date('2026-05-15T00:00:00Z')
    const keys = Array.from({ length: 300 }, (_, i) => `key_${i}`)
    const shared = sharedStore()
    const archive = await shared.archive()
    const [a, b] = [await open(shared, now), await Spending.open({ rows: archive.authority, now, everyMs: 1_000_000 })]
    for (const key of keys) a.add(key, { requests: 1, tokens: 1 })
    await a.sync()
    let parts = 0
    const scan = archive.authority.scan.bind(archive.authority)
    archive.authority.scan = (table, prefix, most, known, take) =>
      scan(table, prefix, most, known, (rows) => {
        parts++
        b.stop()
        b.add('late', { requests: 1, tokens: 1 })
        return take(rows)
      })
    b.add('own', { requests: 1, tokens: 1 })
    await Promise.all([b.sync(), b.sync()])
    expect([parts, keys.filter((key) => b.of(key).tokens > 0)]).toEqual([1, []])
    a.add('own', { requests: 1, tokens: 0 })
    await a.sync()
    expect(['own', 'late'].map((key) => a.of(key).tokens)).toEqual([1, 1])
    a.stop()
  })

  test('of a month that ends during a look is not counted in the next one', async () => {
    let now = new Date('2026-05-31T23:59:59Z')
    const keys = Array.from({ length: 300 }, (_, i) => `key_${i}`)
    const shared = sharedStore()
    const archive = await shared.archive()
    const [a, b] = [await open(shared, () => now), await Spending.open({ rows: archive.authority, now: () => now, everyMs: 1_000_000 })]
    for (const key of keys) a.add(key, { requests: 1, tokens: 1 })
    await a.sync()
    let parts = 0
    const scan = archive.authority.scan.bind(archive.authority)
    archive.authority.scan = (table, prefix, most, known, take) =>
      scan(table, prefix, most, known, (rows) => {
        if (++parts === 2) now = new Date('2026-06-01T00:00:00Z')
        // As any request asks.
        b.of('any')
        return take(rows)
      })
    b.add('own', { requests: 1, tokens: 1 })
    await b.sync()
    expect([parts, keys.filter((key) => b.of(key).tokens > 0)]).toEqual([2, []])
    for (const one of [a, b]) one.stop()
  })

  test('S3: rows put back or changed that were seen are noticed within fifteen rounds, and rows that were hidden are found', async () => {
    const now = (): Date => new Date('2026-05-15T00:00:00Z')
    const shared = sharedStore()
    const a = await open(shared, now)
    a.add('k', { requests: 1, tokens: 1 })
    a.add('l', { requests: 1, tokens: 1 })
    await a.sync()
    const old = await shared.store.authority.list('spending', '', 9)
    a.add('k', { requests: 1, tokens: 1 })
    a.add('l', { requests: 1, tokens: 1 })
    await a.sync()
    const [, hidden] = await shared.store.authority.list('spending', '', 9)
    if (hidden === undefined || old[0] === undefined) throw new TypeError('no row')
    await shared.store.authority.remove('spending', [hidden.key])
    const archive = await shared.archive()
    const b = await Spending.open({ rows: archive.authority, now, everyMs: 1_000_000 })
    expect([b.of('k').tokens, b.of('l').tokens]).toEqual([2, 0])
    await shared.store.authority.replace(hidden, null)
    await shared.store.authority.replace(old[0], 2)
    for (let i = 0; i < 15; i++) {
      b.add('own', { requests: 1, tokens: 0 })
      await b.sync()
    }
    expect([b.of('k').tokens, b.of('l').tokens, archive.authority.rejected]).toEqual([2, 2, 1])
    for (const one of [a, b]) one.stop()
  })

  test('S3: rows deleted or changed lose account of others, and nothing that was seen', async () => {
    const now = new Date('2026-05-31T23:00:00Z')
    const shared = sharedStore()
    const [a, b] = [await open(shared, () => now), await open(shared, () => now)]
    a.add('k', { requests: 1, tokens: 10 })
    await a.sync()
    const [row] = await shared.store.authority.list('spending', '', 9)
    if (row === undefined) throw new TypeError('no row')
    b.add('k', { requests: 1, tokens: 1 })
    await b.sync()
    await shared.store.authority.remove('spending', [row.key])
    // A row that says less, and one under the name of another key.
    await shared.store.authority.replace({ ...row, content: Buffer.from('{"requests":0,"tokens":0}') }, null)
    await shared.store.authority.replace({ ...row, key: row.key.replace('/k/', '/l/') }, null)
    b.add('k', { requests: 0, tokens: 1 })
    await b.sync()
    expect([b.of('k'), b.of('l')]).toEqual([{ requests: 2, tokens: 12 }, nothing])
    const anew = await open(shared, () => now)
    expect(anew.of('k').tokens).toBe(2)
    for (const one of [a, b, anew]) one.stop()
  })
})
