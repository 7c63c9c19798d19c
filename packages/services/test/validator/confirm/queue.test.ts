import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { confirmationTasks, forgetRequests, keepRequest, maxAskedOfOne, pruneRequests, requestOf } from '../../../src/validator/confirm/queue.ts'
import type { EpochStore } from '../../../src/validator/store/epoch-store.ts'
import { openSqliteEpochStore } from '../../../src/validator/store/sqlite-store.ts'

let folder: string
let store: EpochStore
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'veritee-queue-'))
  store = await openSqliteEpochStore(join(folder, 'validator.sqlite'))
})
afterEach(async () => {
  await store.close()
  rmSync(folder, { recursive: true, force: true })
})

const [a, b] = ['aa'.repeat(32), 'bb'.repeat(32)]
const view = (n: number): string => `sha256:${String(n).padStart(64, '0')}`
const keep = (validator: string, n: number, text = `${validator} ${n}`, epoch = 3) => keepRequest(store, { epoch, validator, view: view(n) }, text, 3)
const names = async () => (await confirmationTasks(store, 3)).map(({ task }) => (JSON.parse(task) as { confirm: string }).confirm)

test('a request is kept once, by who asks and what about, for its epoch', async () => {
  expect([await keep(a, 1), await keep(a, 1, 'another text'), await keep(b, 1), await keep(a, 1, 'x', 4)]).toEqual(['kept', 'kept', 'kept', 'kept'])
  expect(await names()).toEqual([`${a} ${view(1)}`, `${b} ${view(1)}`])
  expect(await requestOf(store, 3, `${a} ${view(1)}`)).toBe(`${a} 1`)
  expect(await requestOf(store, 3, `${b} ${view(2)}`)).toBeNull()
})

test('one who asks for much is bounded, and comes in turn with others', async () => {
  for (let n = 0; n < maxAskedOfOne; n++) expect(await keep(a, n)).toBe('kept')
  expect(await keep(a, maxAskedOfOne)).toBe('full')
  // What is there already is no more.
  expect(await keep(a, 0)).toBe('kept')
  expect(await keep(b, 5)).toBe('kept')
  const found = await names()
  expect(found.length).toBe(maxAskedOfOne + 1)
  expect(found.indexOf(`${b} ${view(5)}`)).toBeLessThan(2)
})

test('tasks come after all records, are the same again after a crash, and end the taking', async () => {
  await store.plan([0, 1, 2].map((index) => ({ epoch: 3, index, dueMs: 0, task: '{}' })))
  for (const index of [0, 1, 2]) await store.finish(3, index, { record: '{}', evidence: '{}' }, [])
  await keep(a, 1)
  const tasks = await confirmationTasks(store, 3)
  expect(tasks.map(({ index }) => index)).toEqual([3])
  expect(await keep(b, 1)).toBe('closed')
  await store.plan(tasks)
  await store.finish(3, 3, { record: '{}', evidence: '{}' }, [])
  expect(await confirmationTasks(store, 3)).toEqual(tasks)
  // Of another epoch it goes on.
  expect(await keep(b, 1, 'x', 4)).toBe('kept')
})

test('S18: one has room for a part of the bytes, and takes none of that of others', async () => {
  const big = 'x'.repeat(1 << 23)
  const of = (validator: string, n: number, others: number) => keepRequest(store, { epoch: 3, validator, view: view(n) }, big, others)
  // Of two others each may have 32 MiB; of sixteen each a sixteenth of 256.
  expect([await of(a, 1, 2), await of(a, 2, 2), await of(a, 3, 2), await of(a, 4, 2), await of(a, 5, 2)]).toEqual([...Array(4).fill('kept'), 'full'])
  expect([await of(b, 1, 16), await of(b, 2, 16), await of(b, 3, 16)]).toEqual(['kept', 'kept', 'full'])
  expect(await requestOf(store, 3, `${a} ${view(5)}`)).toBeNull()
})

test('S18: what was handed over is kept as evidence for sixteen epochs, also of one that was left out, and then no longer', async () => {
  await store.plan([{ epoch: 3, index: 0, dueMs: 0, task: '{}' }])
  await store.finish(3, 0, { record: 'own', evidence: 'own' }, [])
  await keep(a, 1)
  await keep(a, 1, 'left out', 4)
  await store.plan(await confirmationTasks(store, 3))
  await store.finish(3, 1, { record: 'confirmation', evidence: 'handed over' }, [])
  await forgetRequests(store, 3)
  expect([await requestOf(store, 3, `${a} ${view(1)}`), await requestOf(store, 4, `${a} ${view(1)}`)]).toEqual([null, 'left out'])
  await pruneRequests(store, 18)
  expect([await store.evidence(3, 1), await requestOf(store, 4, `${a} ${view(1)}`)]).toEqual(['handed over', 'left out'])
  await pruneRequests(store, 19)
  expect([await store.evidence(3, 0), await store.evidence(3, 1), await store.records(3)]).toEqual(['own', null, ['own', 'confirmation']])
  await pruneRequests(store, 20)
  expect(await requestOf(store, 4, `${a} ${view(1)}`)).toBeNull()
  expect((await store.facts(3, 'ask')).concat(await store.facts(4, 'ask ')).map(({ name }) => name)).toEqual(['asked closed'])
})
