import { afterEach, describe, expect, test } from 'vitest'
import { keyPattern } from '../../src/controller/access/api-key.ts'
import { KeyRing, type KeyRingOptions } from '../../src/controller/access/key-ring.ts'
import { type SharedStore, sharedStore, wanted } from './store.ts'

const rings: KeyRing[] = []
afterEach(() => {
  for (const ring of rings.splice(0)) ring.close()
})

async function replica(shared: SharedStore, changes: Partial<KeyRingOptions> = {}): Promise<KeyRing> {
  const archive = await shared.archive()
  const ring = await KeyRing.open({
    rows: archive.authority,
    tagOf: (credential) => archive.credentialTag(credential),
    now: () => new Date(),
    minimumVersion: 0,
    // Tests refresh by themselves.
    everyMs: 1_000_000,
    ...changes,
  })
  rings.push(ring)
  return ring
}

describe('API keys', () => {
  test('have 256 random bits, are found by what they are, and are not kept', async () => {
    const shared = sharedStore()
    const ring = await replica(shared)
    const made = await Promise.all(Array.from({ length: 8 }, () => ring.create(wanted)))
    expect(new Set(made.map(({ key }) => key)).size).toBe(8)
    for (const { key, record } of made) {
      expect(key).toMatch(keyPattern)
      expect(ring.find(key)).toEqual(record)
      expect(JSON.stringify(ring.keys)).not.toContain(key.slice(3, 20))
    }
    const row = await shared.store.authority.read('keys', 'all')
    expect(Buffer.from(row?.content ?? []).toString()).not.toContain(made[0]?.key.slice(3))
    expect(ring.find(`vk-${'A'.repeat(43)}`)).toBeUndefined()
    // Eight changes, none lost to another that came at the same time.
    expect([ring.keys.length, ring.version]).toEqual([8, 8])
  })

  test('made or revoked at one replica are so at another once it has looked, and at a process that starts anew', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    const { key, record } = await a.create(wanted)
    expect(b.find(key)).toBeUndefined()
    await b.refresh()
    expect(b.find(key)?.id).toBe(record.id)
    await b.revoke(record.id)
    expect(b.find(key)?.revoked).not.toBeNull()
    expect(a.find(key)?.revoked).toBeNull()
    await a.refresh()
    expect(a.find(key)?.revoked).not.toBeNull()
    expect((await replica(shared)).find(key)?.revoked).not.toBeNull()
    await expect(a.revoke('key_0000000000000000')).rejects.toMatchObject({ code: 'api_key_unknown' })
  })

  test('S3: a list older than one that another replica knows counts for a moment, and then not at all', async () => {
    const shared = sharedStore()
    const a = await replica(shared)
    const { key, record } = await a.create(wanted)
    const old = await shared.store.authority.read('keys', 'all')
    if (old === null) throw new TypeError('no list')
    await a.revoke(record.id)
    // What the store shows to one that starts: the list before the revocation.
    await shared.store.authority.replace(old, 2)
    const b = await replica(shared, { graceMs: 0 })
    expect(b.find(key)?.revoked).toBeNull()
    b.demand(a.newest)
    await new Promise((resolve) => setTimeout(resolve, 2))
    expect(() => b.find(key)).toThrow(expect.objectContaining({ code: 'api_keys_stale' }))
    await b.refresh()
    expect(b.problem).toContain('rolled back')
    const patient = await replica(shared, { graceMs: 60_000 })
    patient.demand(2)
    expect(patient.find(key)?.id).toBe(record.id)
    // The next change is above what is known, and heals both.
    await a.create(wanted)
    await b.refresh()
    expect([b.newest, b.find(key)?.revoked === null]).toEqual([3, false])
  })

  test('limits of a key change at every replica, and it stays the same key', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared)]
    const { key, record } = await a.create(wanted)
    const limits = { requests_per_minute: 3, tokens_per_minute: null, tokens_per_month: 1000 }
    await a.limit(record.id, limits)
    await b.refresh()
    expect(b.find(key)).toEqual({ ...record, limits })
    await expect(a.limit('key_0000000000000000', limits)).rejects.toMatchObject({ code: 'api_key_unknown' })
  })

  test('changed at several replicas at once: no change is lost', async () => {
    const shared = sharedStore()
    const replicas = await Promise.all([replica(shared), replica(shared), replica(shared)])
    await Promise.all(replicas.flatMap((ring) => [ring.create(wanted), ring.create(wanted)]))
    for (const ring of replicas) await ring.refresh()
    expect(replicas.map((ring) => ring.keys.length)).toEqual([6, 6, 6])
  })

  test('look again by themselves', async () => {
    const shared = sharedStore()
    const [a, b] = [await replica(shared), await replica(shared, { everyMs: 10 })]
    const { key } = await a.create(wanted)
    while (b.find(key) === undefined) await new Promise((resolve) => setTimeout(resolve, 5))
  })

  test('that could not be read for too long are not served by: a code says so', async () => {
    const shared = sharedStore()
    const ring = await replica(shared, { staleMs: 0 })
    const { key } = await ring.create(wanted)
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(() => ring.find(key)).toThrow(expect.objectContaining({ code: 'api_keys_stale' }))
  })

  test('revoked or expired long ago make room', async () => {
    const shared = sharedStore()
    let now = new Date('2026-01-01T00:00:00Z')
    const ring = await replica(shared, { now: () => now })
    const { record } = await ring.create(wanted)
    await ring.create({ ...wanted, expires: now.getTime() / 1000 + 60 })
    await ring.revoke(record.id)
    now = new Date('2026-03-01T00:00:00Z')
    await ring.create(wanted)
    expect(ring.keys.length).toBe(1)
  })
})

describe('S3: with full access to the rows', () => {
  const rowOf = async (shared: SharedStore) => {
    const row = await shared.store.authority.read('keys', 'all')
    if (row === null) throw new TypeError('no row')
    return row
  }
  /** Somebody who writes what he likes, past every check. */
  const put = async ({ store }: SharedStore, row: Awaited<ReturnType<typeof rowOf>>): Promise<void> => {
    await store.authority.remove('keys', ['all'])
    await store.authority.replace(row, null)
  }

  test('a list that he made, or changed in one character, is none', async () => {
    const shared = sharedStore()
    const { key } = await (await replica(shared)).create(wanted)
    const row = await rowOf(shared)
    const text = Buffer.from(row.content).toString()
    for (const changed of [
      { ...row, content: Buffer.from(text.replace('"revoked":null', '"revoked":1')) },
      { ...row, content: Buffer.from(text.replace('"name":"test"', '"name":"evil"')) },
      { ...row, version: row.version + 1 },
      { ...row, mac: Buffer.alloc(32) },
      { ...row, mac: Buffer.alloc(0) },
    ]) {
      await put(shared, changed)
      const ring = await replica(shared)
      expect(ring.find(key)).toBeUndefined()
      expect(ring.keys).toEqual([])
    }
    await put(shared, row)
    expect((await replica(shared)).find(key)).toBeDefined()
  })

  test('an old list put back does not bring back a revoked key, and the next change heals it', async () => {
    const shared = sharedStore()
    const problems: (string | null)[] = []
    const ring = await replica(shared, { report: (problem) => problems.push(problem) })
    const { key, record } = await ring.create(wanted)
    const old = await rowOf(shared)
    await ring.revoke(record.id)
    await put(shared, old)
    await ring.refresh()
    expect(ring.find(key)?.revoked).not.toBeNull()
    expect(ring.problem).toContain('rolled back')
    const other = await ring.create(wanted)
    expect([ring.problem, problems.length]).toEqual([null, 2])
    // A process that starts now finds the healed list.
    const next = await replica(shared)
    expect([next.find(key)?.revoked === null, next.find(other.key)?.revoked]).toEqual([false, null])
  })

  test('S11: an old list put back before a start is none where the operator demands a later one', async () => {
    const shared = sharedStore()
    const ring = await replica(shared)
    const { key, record } = await ring.create(wanted)
    const old = await rowOf(shared)
    await ring.revoke(record.id)
    await put(shared, old)
    const demanding = await replica(shared, { minimumVersion: ring.version })
    expect([demanding.find(key), demanding.keys.length]).toEqual([undefined, 0])
    expect(demanding.problem).toContain('rolled back')
  })

  test('deleted, the list stays in force where it is known, and admits nobody elsewhere', async () => {
    const shared = sharedStore()
    const ring = await replica(shared)
    const { key } = await ring.create(wanted)
    await shared.store.authority.remove('keys', ['all'])
    await ring.refresh()
    expect((await replica(shared)).find(key)).toBeUndefined()
    expect(ring.find(key)).toBeDefined()
    expect(ring.problem).toContain('rolled back')
  })
})
