import { beforeEach, describe, expect, test } from 'vitest'
import type { AdmittedWorker } from '../../../src/controller/registry.ts'
import { Router } from '../../../src/controller/routing/router.ts'
import { admittedWorker } from './worker.ts'

let seconds: number
let router: Router
beforeEach(() => {
  seconds = 0
  router = new Router({ now: () => new Date(seconds * 1000) })
})

const any = (model: string): { readonly model: string; readonly sessionIds: null } => ({ model, sessionIds: null })

describe('S3: nobody is chosen but workers that the registry admitted, while it holds on to them', () => {
  test('S3: a worker is chosen for its models only, and not after it was withdrawn or forgotten', () => {
    const worker = admittedWorker('a', ['m', 'n'])
    expect([router.choose(any('m'), []), router.knows('m')]).toEqual([null, false])
    router.admitted(worker)
    expect([router.choose(any('m'), []), router.choose(any('n'), []), router.choose(any('o'), [])]).toEqual([worker, worker, null])
    router.withdrawn(worker)
    expect([router.choose(any('m'), []), router.knows('m'), router.models()]).toEqual([null, true, []])
    router.forgotten(worker)
    expect([router.choose(any('m'), []), router.knows('m')]).toEqual([null, false])
  })

  test('S3: nor after its session has ended, pinned or not', () => {
    const worker = admittedWorker('a', ['m'], { expiresAt: 10 })
    router.admitted(worker)
    const pinned = { model: 'm', sessionIds: [worker.session.id] }
    seconds = 9.9
    expect([router.choose(pinned, []), router.choose(any('m'), [])]).toEqual([worker, worker])
    seconds = 10
    expect([router.choose(pinned, []), router.choose(any('m'), []), router.serving('m')]).toEqual([null, null, []])
  })

  test('S3: a pinned session is that session, not the worker: it is not chosen under another one, nor for a model that it does not have', () => {
    const before = admittedWorker('a', ['m'])
    const after = { ...before, session: { ...before.session, id: 'another' } }
    router.admitted(before)
    router.forgotten(before)
    router.admitted(after)
    expect(router.choose({ model: 'm', sessionIds: [before.session.id] }, [])).toBeNull()
    expect(router.choose({ model: 'm', sessionIds: [before.session.id, 'another'] }, [])).toBe(after)
    expect(router.choose({ model: 'n', sessionIds: ['another'] }, [])).toBeNull()
  })

  test('S3: withdrawing a session that has been followed by another leaves the other', () => {
    const before = admittedWorker('a', ['m'])
    const after = { ...before }
    router.admitted(before)
    router.forgotten(before)
    router.admitted(after)
    router.withdrawn(before)
    expect(router.choose({ model: 'm', sessionIds: [after.session.id] }, [])).toBe(after)
  })
})

test('workers that were tried are left out, however many there are, until none is left', () => {
  const workers = Array.from({ length: 20 }, (_, i) => admittedWorker(`w${i}`, ['m']))
  for (const worker of workers) router.admitted(worker)
  const tried: AdmittedWorker[] = []
  for (let worker = router.choose(any('m'), tried); worker !== null; worker = router.choose(any('m'), tried)) tried.push(worker)
  expect(new Set(tried)).toEqual(new Set(workers))
})

test('of two workers the less busy one is chosen', () => {
  const [busy, idle] = [admittedWorker('a', ['m']), admittedWorker('b', ['m'])]
  router.admitted(busy)
  router.admitted(idle)
  busy.load.outstanding = 2
  idle.load.outstanding = 1
  for (let i = 0; i < 50; i++) expect(router.choose(any('m'), [])).toBe(idle)
})
