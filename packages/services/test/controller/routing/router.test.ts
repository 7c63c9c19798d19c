import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { AdmittedWorker } from '../../../src/controller/registry.ts'
import type { Lease } from '../../../src/controller/routing/lease.ts'
import { Router, type Wanted } from '../../../src/controller/routing/router.ts'
import { admittedWorker, renewed, wanted } from './worker.ts'

let seconds: number
let router: Router
beforeEach(() => {
  vi.useFakeTimers()
  seconds = 0
  router = new Router({ now: () => new Date(seconds * 1000), limits: { workerRequests: 4, queueRequests: 4, queueMs: 1000 } })
})
afterEach(() => {
  vi.useRealTimers()
})

/** The worker that would be chosen now; it is not held. */
function choose(asked: Wanted, tried: readonly AdmittedWorker[] = []): AdmittedWorker | string {
  const taken = router.take(asked, tried)
  if (typeof taken === 'string') return taken
  taken.end()
  return taken.worker
}

function take(asked: Wanted, tried: readonly AdmittedWorker[] = []): Lease {
  const taken = router.take(asked, tried)
  if (typeof taken === 'string') throw new Error(`expected a worker, found ${taken}`)
  return taken
}

const soon = new AbortController().signal

describe('limits that change while it runs', () => {
  test('hold for workers and queues that are there, and what is under way keeps its place', async () => {
    router.admitted(admittedWorker('a', ['m']))
    const held = Array.from({ length: 4 }, () => take(wanted('m')))
    expect(router.take(wanted('m'), [])).toBe('busy')
    router.adjust({ workerRequests: 6, queueRequests: 1 })
    held.push(take(wanted('m')), take(wanted('m')))
    const waiting = router.wait(wanted('m'), [], soon)
    await expect(router.wait(wanted('m', { tenant: 'b' }), [], soon)).rejects.toMatchObject({ code: 'queue_full' })
    router.adjust({ workerRequests: 1 })
    for (const lease of held.slice(1)) lease.end()
    expect(router.take(wanted('m'), [])).toBe('busy')
    held[0]?.end()
    ;(await waiting).end()
    expect(typeof router.take(wanted('m'), [])).not.toBe('string')
  })
})

describe('S3: nobody is chosen but workers that the registry admitted, while it holds on to them', () => {
  test('S3: a worker is chosen for its models only, and not after it was withdrawn or forgotten', () => {
    const worker = admittedWorker('a', ['m', 'n'])
    expect(choose(wanted('m'))).toBe('unknown')
    router.admitted(worker)
    expect(['m', 'n', 'o'].map((model) => choose(wanted(model)))).toEqual([worker, worker, 'unknown'])
    router.withdrawn(worker)
    expect([choose(wanted('m')), router.models()]).toEqual(['unverified', []])
    router.forgotten(worker)
    expect(choose(wanted('m'))).toBe('unknown')
  })

  test('S22: an attested worker is never asked for a name that says that nothing is verified', () => {
    router.admitted(admittedWorker('a', ['m', 'm:unverified']))
    expect([router.models(), choose(wanted('m:unverified'))]).toEqual([['m'], 'unknown'])
  })

  test('S3: nor after its session has ended, pinned or not', () => {
    const worker = admittedWorker('a', ['m'], { expiresAt: 10 })
    router.admitted(worker)
    const pinned = wanted('m', { sessionIds: [worker.session.id] })
    seconds = 9.9
    expect([choose(pinned), choose(wanted('m'))]).toEqual([worker, worker])
    seconds = 10
    expect([choose(pinned), choose(wanted('m')), router.serving('m')]).toEqual(['unpinned', 'unverified', []])
  })

  test('S3: a request that waits gets no worker whose session ends meanwhile', async () => {
    const worker = admittedWorker('a', ['m'], { expiresAt: 10 })
    router.admitted(worker)
    const leases = [1, 2, 3, 4].map(() => take(wanted('m')))
    const waiting = expect(router.wait(wanted('m'), [], soon)).rejects.toMatchObject({ status: 503, code: 'queue_timeout' })
    seconds = 10
    for (const lease of leases) lease.end()
    await vi.advanceTimersByTimeAsync(1000)
    await waiting
  })

  test('S3: a pinned session is that session, not the worker: it is not chosen under another one, nor for a model that it does not have', () => {
    const before = admittedWorker('a', ['m'])
    const after = renewed(before, 'another')
    router.admitted(before)
    router.forgotten(before)
    router.admitted(after)
    expect(choose(wanted('m', { sessionIds: [before.session.id] }))).toBe('unpinned')
    expect(choose(wanted('m', { sessionIds: [before.session.id, 'another'] }))).toBe(after)
    expect(choose(wanted('n', { sessionIds: ['another'] }))).toBe('unpinned')
  })

  test('S3: withdrawing a session that has been followed by another leaves the other', () => {
    const before = admittedWorker('a', ['m'])
    const after = renewed(before, before.session.id)
    router.admitted(before)
    router.forgotten(before)
    router.admitted(after)
    router.withdrawn(before)
    expect(choose(wanted('m', { sessionIds: [after.session.id] }))).toBe(after)
  })
})

test('S3: a worker leaves its pools also where another has the name of its session', () => {
  const [one, other] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
  router.admitted(one)
  router.admitted(renewed(other, one.session.id))
  router.withdrawn(one)
  for (let i = 0; i < 20; i++) expect((choose(wanted('m')) as AdmittedWorker).origin).toBe('https://b')
  expect((choose(wanted('m', { sessionIds: [one.session.id] })) as AdmittedWorker).origin).toBe('https://b')
})

describe('choosing', () => {
  test('workers that were tried are left out, however many there are, until none is left', () => {
    const workers = Array.from({ length: 20 }, (_, i) => admittedWorker(`w${i}`, ['m']))
    for (const worker of workers) router.admitted(worker)
    for (const asked of [wanted('m'), wanted('m', { body: { prompt: 'a' } })]) {
      const tried: AdmittedWorker[] = []
      for (let chosen = choose(asked, tried); typeof chosen !== 'string'; chosen = choose(asked, tried)) tried.push(chosen)
      expect(new Set(tried)).toEqual(new Set(workers))
      expect(choose(asked, tried)).toBe('unreachable')
    }
  })

  test('of two workers the one with less to do is chosen', () => {
    const [busy, idle] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
    router.admitted(busy)
    router.admitted(idle)
    take(wanted('m'), [idle])
    for (let i = 0; i < 50; i++) expect(choose(wanted('m'))).toBe(idle)
  })

  test('a short request weighs less than a long one', () => {
    const [long, short] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
    router.admitted(long)
    router.admitted(short)
    take(wanted('m', { maxTokens: 200 }), [short])
    take(wanted('m', { maxTokens: 1 }), [long])
    take(wanted('m', { maxTokens: 1 }), [long])
    for (let i = 0; i < 50; i++) expect(choose(wanted('m'))).toBe(short)
  })

  test('a worker that was measured to be faster gets work until it would take as long', () => {
    const [slow, fast] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
    router.admitted(slow)
    router.admitted(fast)
    for (let i = 0; i < 40; i++)
      for (const [worker, took] of [
        [slow, 3],
        [fast, 1],
      ] as const) {
        const lease = take(wanted('m'), [worker === slow ? fast : slow])
        lease.measured({ promptTokens: 8, completionTokens: 100 }, { sent: 1000, received: 1000 }, took)
        lease.end()
      }
    const taken = Array.from({ length: 4 }, () => take(wanted('m', { maxTokens: 100 })).worker)
    expect(taken).toEqual([fast, fast, expect.anything(), expect.anything()])
    expect(taken.filter((worker) => worker === fast)).toHaveLength(3)
  })

  test('S19: counts that a worker signed beyond the bytes that went over the wire do not make it faster', () => {
    const [liar, honest] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
    router.admitted(liar)
    router.admitted(honest)
    for (const worker of [liar, honest]) {
      const lease = take(wanted('m'), [worker === liar ? honest : liar])
      const completionTokens = worker === liar ? 1_000_000 : 100
      lease.measured({ promptTokens: worker === liar ? 1_000_000 : 80, completionTokens }, { sent: 80, received: 100 }, 1)
      lease.end()
    }
    const chosen = new Set(Array.from({ length: 100 }, () => choose(wanted('m'))))
    expect(chosen.size).toBe(2)
  })

  test('a worker whose session is renewed goes on with what it has under way, and ends it there', () => {
    const [before, other] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
    const after = renewed(before, 'another')
    router.admitted(before)
    router.admitted(other)
    const lease = take(wanted('m'), [other])
    router.forgotten(before)
    router.admitted(after)
    for (let i = 0; i < 20; i++) expect(choose(wanted('m'))).toBe(other)
    lease.end()
    expect(after.load.outstanding).toBe(0)
    expect(new Set(Array.from({ length: 100 }, () => choose(wanted('m'))))).toEqual(new Set([after, other]))
  })
})

describe('waiting', () => {
  const fill = (worker: AdmittedWorker): Lease[] => {
    router.admitted(worker)
    return [1, 2, 3, 4].map(() => take(wanted('m', { sessionIds: [worker.session.id] })))
  }

  test('a worker has no more than its number of requests; who waits longest gets the next place, tenants in turn', async () => {
    const leases = fill(admittedWorker('a', ['m']))
    expect(choose(wanted('m'))).toBe('busy')
    const order: string[] = []
    const waits = [
      ['loud', 1],
      ['loud', 2],
      ['quiet', 1],
    ].map(([tenant, i]) => router.wait(wanted('m', { tenant: String(tenant) }), [], soon).then(() => order.push(`${tenant} ${i}`)))
    for (const lease of leases) lease.end()
    await Promise.all(waits)
    expect(order).toEqual(['loud 1', 'quiet 1', 'loud 2'])
    expect([...router.load()]).toEqual([{ model: 'm', running: 3, waiting: 0, members: 1 }])
  })

  test('one tenant has half of the places; beyond that, and beyond all, it is told when to come back', async () => {
    fill(admittedWorker('a', ['m']))
    const waits = ['a', 'a', 'b', 'b'].map((tenant) => router.wait(wanted('m', { tenant }), [], soon).catch(() => undefined))
    const full = { status: 429, code: 'queue_full', headers: { 'retry-after': expect.stringMatching(/^[1-9][0-9]?$/) } }
    await expect(router.wait(wanted('m', { tenant: 'c' }), [], soon)).rejects.toMatchObject(full)
    await vi.advanceTimersByTimeAsync(1000)
    await Promise.all(waits)
    const two = ['a', 'a'].map((tenant) => router.wait(wanted('m', { tenant }), [], soon).catch(() => undefined))
    await expect(router.wait(wanted('m', { tenant: 'a' }), [], soon)).rejects.toMatchObject(full)
    await vi.advanceTimersByTimeAsync(1000)
    await Promise.all(two)
    expect(router.figures.counts.left).toEqual({ full: 2, timeout: 6, requester_left: 0 })
  })

  test('it ends after its time, when the requester leaves, and when no verified worker is left', async () => {
    const worker = admittedWorker('a', ['m'])
    fill(worker)
    const late = expect(router.wait(wanted('m'), [], soon)).rejects.toMatchObject({ status: 503, code: 'queue_timeout' })
    await vi.advanceTimersByTimeAsync(1000)
    await late
    const leaving = new AbortController()
    const left = expect(router.wait(wanted('m'), [], leaving.signal)).rejects.toThrow('gone')
    leaving.abort(new Error('gone'))
    await left
    await expect(router.wait(wanted('m'), [], leaving.signal)).rejects.toThrow('gone')
    const orphaned = expect(router.wait(wanted('m'), [], soon)).rejects.toMatchObject({ status: 503, type: 'upstream_verification_failed' })
    router.withdrawn(worker)
    await orphaned
    expect(vi.getTimerCount()).toBe(0)
  })

  test('a worker that is admitted meanwhile serves those who wait, but not who was with it already, nor who pins another session', async () => {
    const leases = fill(admittedWorker('a', ['m']))
    const next = admittedWorker('b', ['m'])
    const pinned = router.wait(wanted('m', { tenant: 'a', sessionIds: ['session of a'] }), [], soon)
    const tried = router.wait(wanted('m', { tenant: 'b' }), [next], soon)
    const anybody = router.wait(wanted('m', { tenant: 'c' }), [], soon)
    router.admitted(next)
    expect((await anybody).worker).toBe(next)
    leases[0]?.end()
    leases[1]?.end()
    expect([(await pinned).worker.origin, (await tried).worker.origin]).toEqual(['https://a', 'https://a'])
  })
})

describe('a worker that fails', () => {
  const fail = (worker: AdmittedWorker, times: number): void => {
    for (let i = 0; i < times; i++) {
      const lease = take(wanted('m', { sessionIds: [worker.session.id] }))
      lease.failed()
      lease.end()
    }
  }

  test('gets nothing after three failures in a row, then one request at a time, and all again after that one ended well', async () => {
    const worker = admittedWorker('a', ['m'])
    router.admitted(worker)
    fail(worker, 2)
    const good = take(wanted('m'))
    good.succeeded()
    good.end()
    fail(worker, 2)
    expect(choose(wanted('m'))).toBe(worker)
    fail(worker, 1)
    expect([choose(wanted('m')), router.breakers()]).toEqual(['unreachable', { closed: 0, open: 1, half_open: 0 }])
    await vi.advanceTimersByTimeAsync(1000)
    const probe = take(wanted('m'))
    expect(choose(wanted('m'))).toBe('unreachable')
    probe.began()
    expect([choose(wanted('m')), router.breakers().closed]).toEqual([worker, 1])
    probe.succeeded()
    probe.end()
    fail(worker, 2)
    expect(router.breakers().closed).toBe(1)
  })

  test('gets nothing for twice as long where the probe fails, or its answer breaks off', async () => {
    const worker = admittedWorker('a', ['m'])
    router.admitted(worker)
    fail(worker, 3)
    await vi.advanceTimersByTimeAsync(1000)
    fail(worker, 1)
    await vi.advanceTimersByTimeAsync(1999)
    expect(choose(wanted('m'))).toBe('unreachable')
    await vi.advanceTimersByTimeAsync(1)
    const probe = take(wanted('m'))
    probe.began()
    probe.failed()
    probe.end()
    await vi.advanceTimersByTimeAsync(3999)
    expect(choose(wanted('m'))).toBe('unreachable')
    await vi.advanceTimersByTimeAsync(1)
    expect(choose(wanted('m'))).toBe(worker)
  })

  test('a probe whose requester left tells nothing: the next request is the probe', async () => {
    const worker = admittedWorker('a', ['m'])
    router.admitted(worker)
    fail(worker, 3)
    await vi.advanceTimersByTimeAsync(1000)
    take(wanted('m')).end()
    const probe = take(wanted('m'))
    expect([probe.worker, choose(wanted('m'))]).toEqual([worker, 'unreachable'])
  })

  test('does not get out of it by registering again', () => {
    const worker = admittedWorker('a', ['m'])
    router.admitted(worker)
    fail(worker, 3)
    router.forgotten(worker)
    router.admitted(renewed(worker, 'another'))
    expect(choose(wanted('m'))).toBe('unreachable')
  })

  test('is half open for who waits, too', async () => {
    const worker = admittedWorker('a', ['m'])
    router.admitted(worker)
    fail(worker, 3)
    const waiting = router.wait(wanted('m'), [], soon)
    const second = router.wait(wanted('m', { tenant: 'b' }), [], soon).catch(({ code }: { code: string }) => code)
    await vi.advanceTimersByTimeAsync(1000)
    expect((await waiting).worker).toBe(worker)
    expect(await second).toBe('queue_timeout')
  })
})
