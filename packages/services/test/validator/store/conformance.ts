import { expect, test } from 'vitest'
import type { EpochStore, SeenReceipt } from '../../../src/validator/store/epoch-store.ts'

const job = (index: number, dueMs = 0, epoch = 5) => ({ epoch, index, dueMs, task: JSON.stringify({ index }) })
const seen = (digest: string, sequence: number, previous: string | null, keyset = 'k'): SeenReceipt => ({
  keyset,
  digest,
  sequence,
  previous,
  receipt: `receipt ${digest}`,
  report: 'report',
})
const done = (name: string) => ({ record: `record ${name}`, evidence: JSON.stringify({ name, odd: '\0 \ud800 ' }) })

/** What every store of a validator does. `open` gives a new one, and `again` what another process sees of the same. */
export function conformance(open: () => Promise<{ readonly store: EpochStore; readonly again: () => Promise<EpochStore> }>): void {
  test('the first fact of a name stays, whoever puts another, and names go by their bytes', async () => {
    const { store, again } = await open()
    const other = await again()
    expect(await store.fact(5, 'seed')).toBeNull()
    expect(await Promise.all([store.keep(5, 'seed', 'a'), other.keep(5, 'seed', 'a')])).toEqual(['a', 'a'])
    expect([await other.keep(5, 'seed', 'b'), await store.fact(5, 'seed'), await store.fact(6, 'seed')]).toEqual(['a', 'a', null])
    for (const name of ['fraud b', 'fraud B', 'fraud_', 'fraud a', 'fraudulent']) await store.keep(5, name, name)
    expect((await other.facts(5, 'fraud ')).map(({ name }) => name)).toEqual(['fraud B', 'fraud a', 'fraud b'])
    await store.keep(11, 'x', '1')
    await store.keep(2, 'x', '1')
    expect(await other.epochs()).toEqual([2, 5, 11])
    for (const one of [store, other]) await one.close()
  })

  test('a task is taken when it is due, by one at a time, in order, and again when its time is over or it was given back', async () => {
    const { store, again } = await open()
    const other = await again()
    await store.plan([job(0), job(1, 50), job(2)])
    await other.plan([{ ...job(0), task: 'another' }, job(3, 1000)])
    expect(await store.take(5, 10, 100)).toEqual({ ...job(0), draft: null })
    expect(await other.take(5, 10, 100)).toEqual({ ...job(2), draft: null })
    expect(await store.take(5, 10, 100)).toBeNull()
    expect(await other.take(5, 50, 200)).toEqual({ ...job(1, 50), draft: null })
    expect(await store.take(5, 99, 300)).toBeNull()
    expect((await store.take(5, 100, 300))?.index).toBe(0)
    await other.release(5, 0)
    expect((await other.take(5, 100, 300))?.index).toBe(0)
    expect([await store.take(4, 100, 300), await store.open(5), await store.open(4)]).toEqual([null, 4, 0])
    for (const one of [store, other]) await one.close()
  })

  test('what a task has come to so far goes to whoever takes it next, not before its time, and is no evidence until there is a record', async () => {
    const { store, again } = await open()
    const other = await again()
    await store.plan([job(0), job(1)])
    await store.take(5, 10, 100)
    const draft = done('so far').evidence
    await store.postpone(5, 0, draft, 500)
    expect([(await other.take(5, 499, 600))?.index, await other.take(5, 499, 600), await store.open(5)]).toEqual([1, null, 2])
    expect(await other.take(5, 500, 600)).toEqual({ ...job(0), draft: draft })
    expect(await store.evidence(5, 0)).toBeNull()
    await other.finish(5, 0, done('zero'), [])
    await store.postpone(5, 0, 'late', 0)
    expect([JSON.parse((await store.evidence(5, 0)) ?? ''), await store.records(5)]).toMatchObject([{ name: 'zero' }, ['record zero']])
    for (const one of [store, other]) await one.close()
  })

  test('the report behind a keyset of which a receipt was seen is found in any epoch', async () => {
    const { store } = await open()
    await store.plan([job(0)])
    await store.finish(5, 0, done('a'), [seen('a', 1, null), seen('b', 2, 'a', 'other')])
    expect([await store.reportOf('k'), await store.reportOf('other'), await store.reportOf('unknown')]).toEqual(['report', 'report', null])
    await store.close()
  })

  test('a task is finished once: the second record is refused, and with it its receipts', async () => {
    const { store, again } = await open()
    const other = await again()
    await store.plan([job(0), job(1)])
    const finished = await Promise.all([
      store.finish(5, 1, done('one'), [seen('d1', 1, null)]),
      other.finish(5, 1, done('other'), [seen('d2', 1, null)]),
    ])
    expect(finished.filter((first) => first)).toHaveLength(1)
    const name = finished[0] === true ? 'one' : 'other'
    expect([await other.records(5), JSON.parse((await other.evidence(5, 1)) ?? 'null')]).toEqual([[`record ${name}`], { name, odd: '\0 \ud800 ' }])
    expect((await store.rivals(seen('x', 1, 'p'))).map(({ digest }) => digest)).toEqual([finished[0] === true ? 'd1' : 'd2'])
    await store.release(5, 1)
    expect([(await store.take(5, 10, 20))?.index, await store.take(5, 10, 20), await store.open(5)]).toEqual([0, null, 1])
    expect([await store.finish(5, 7, done('unplanned'), []), await store.evidence(5, 0), await store.evidence(5, 7)]).toEqual([false, null, null])
    for (const one of [store, other]) await one.close()
  })

  test('rivals share the number or the predecessor within one keyset, a missing predecessor included', async () => {
    const { store } = await open()
    await store.plan([job(0)])
    await store.finish(5, 0, done('a'), [
      seen('a', 1, null),
      seen('b', 2, 'a'),
      seen('c', 3, 'a'),
      seen('d', 2, 'z'),
      seen('e', 9, null),
      seen('f', 2, 'a', 'other'),
      seen('a', 1, null),
    ])
    const rivals = async (receipt: SeenReceipt) => (await store.rivals(receipt)).map(({ digest }) => digest)
    expect(await rivals(seen('b', 2, 'a'))).toEqual(['c', 'd'])
    expect(await rivals(seen('a', 1, null))).toEqual(['e'])
    expect(await rivals(seen('new', 7, 'y'))).toEqual([])
    expect((await store.rivals(seen('e', 9, null)))[0]).toEqual(seen('a', 1, null))
    await store.close()
  })

  test('records come in the order of their tasks, however many there are and whichever was finished first', async () => {
    const { store } = await open()
    await store.plan(Array.from({ length: 12 }, (_, i) => job(i)))
    for (const index of [11, 2, 10, 0]) await store.finish(5, index, done(String(index)), [])
    expect(await store.records(5)).toEqual(['record 0', 'record 2', 'record 10', 'record 11'])
    expect(await store.records(6)).toEqual([])
    await store.plan([])
    await store.close()
  })

  test('facts are forgotten by the beginning of their names, and evidence from a task on; records stay', async () => {
    const { store } = await open()
    for (const name of ['request a', 'request b', 'requests', 'other']) await store.keep(5, name, name)
    await store.keep(6, 'request a', 'of another epoch')
    await store.forget(5, 'request ')
    expect((await store.facts(5, '')).map(({ name }) => name)).toEqual(['other', 'requests'])
    expect(await store.fact(6, 'request a')).toBe('of another epoch')
    await store.plan([job(0), job(1), job(2)])
    for (const index of [0, 1]) await store.finish(5, index, done(String(index)), [])
    await store.clearEvidence(5, 1)
    expect([(await store.evidence(5, 0)) === null, await store.evidence(5, 1), (await store.records(5)).length]).toEqual([false, null, 2])
    expect(await store.open(5)).toBe(1)
    await store.close()
  })

  test('what is closed says that it is not available', async () => {
    const { store } = await open()
    await store.close()
    await expect(store.fact(5, 'seed')).rejects.toMatchObject({ code: 'validator_store_unavailable' })
    await expect(store.finish(5, 0, done('a'), [])).rejects.toMatchObject({ code: 'validator_store_unavailable' })
  })

  test('many takers at once take every task once', async () => {
    const { store, again } = await open()
    const stores = [store, await again(), await again()]
    await store.plan(Array.from({ length: 60 }, (_, i) => job(i)))
    const taken: number[] = []
    const taking = async (one: EpochStore): Promise<void> => {
      for (let left = await one.take(5, 10, 100); left !== null; left = await one.take(5, 10, 100)) taken.push(left.index)
    }
    // One that finds all others locked sees none, and asks again, as the service does.
    while (taken.length < 60) await Promise.all([...stores, ...stores].map(taking))
    expect(taken.sort((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, i) => i))
    for (const one of stores) await one.close()
  })
}
