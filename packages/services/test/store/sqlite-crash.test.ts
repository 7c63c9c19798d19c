import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MemoryStore } from '../../src/store/memory.ts'
import type { DocumentRow, ReceiptRow, ReceiptStore, StoreBounds } from '../../src/store/receipt-store.ts'
import { openSqliteStore } from '../../src/store/sqlite/sqlite-store.ts'
import { roomy, row } from './conformance.ts'

/**
 * A process that is killed, or a machine that stops, at any point: of what was acknowledged everything is there when the file is opened again, by key, by
 * alias and by account, once; of what was not, all or nothing. A store in memory, given the same, says what there should be.
 */

let directory = ''
let count = 0
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-crash-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const maxBytes = 1 << 30
const [keys, aliases, accounts, documents] = [60, 30, 3, 4]
const names = (prefix: string, n: number): string[] => Array.from({ length: n }, (_, i) => `${prefix}${i}`)
const name = (prefix: string, n: number): fc.Arbitrary<string> => fc.constantFrom(...names(prefix, n))

type Step =
  /** With what they cite. */
  | { readonly kind: 'put'; readonly rows: readonly ReceiptRow[] }
  /** So many that those before them go where accounts are sorted, and the log into the file. */
  | { readonly kind: 'many' }
  /** Its last row cannot be written. */
  | { readonly kind: 'bad'; readonly rows: readonly ReceiptRow[] }
  | { readonly kind: 'trim'; readonly bounds: StoreBounds }
  | { readonly kind: 'reopen' }

const rows = fc.array(
  fc
    .record({
      key: name('k', keys),
      alias: fc.option(name('a', aliases)),
      kind: fc.constantFrom('answer' as const, 'refusal' as const),
      session: fc.option(name('d', documents)),
      account: fc.option(name('x', accounts)),
      size: fc.integer({ min: 1, max: 9000 }),
    })
    .map(({ key, size, ...rest }) => row(key, { ...rest, box: Buffer.alloc(size, key) })),
  { maxLength: 6 },
)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constant('put' as const), rows }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'many' as const }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('bad' as const), rows }) },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 10 }))
      .map(([maxAnswers, maxRefusals]) => ({ kind: 'trim' as const, bounds: { ...roomy, maxAnswers, maxRefusals } })),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'reopen' as const }) },
)

async function apply(store: ReceiptStore, what: Step, index: number): Promise<unknown> {
  const document = (key: string): DocumentRow => ({ key, box: Buffer.from(key) })
  if (what.kind === 'put')
    return store.put(what.rows, what.rows.flatMap(({ keyset, session }) => (session === null ? [keyset] : [keyset, session])).map(document))
  const many = (i: number): ReceiptRow => row(`m${index} ${i}`, { account: `x${i % accounts}`, box: new Uint8Array(9000).fill(i) })
  if (what.kind === 'many')
    return store.put(
      Array.from({ length: 600 }, (_, i) => many(i)),
      [document('keyset')],
    )
  if (what.kind !== 'trim') return null
  const { documents: gone, receipts } = await store.trim(what.bounds, 1000, 1e6)
  return { gone: gone.toSorted(), receipts }
}

/** Everything that can be asked of a store. */
async function answers(store: ReceiptStore): Promise<unknown> {
  const { answers: kept, refusals, documents: cited } = store.usage
  const size = async (key: string): Promise<number | null> => (await store.receipt(key))?.length ?? null
  const pages: string[][] = []
  for (const account of names('x', accounts)) {
    const found: string[] = []
    for (let after = 0; ; ) {
      const page = await store.ofAccount(account, after, 500, 1e7)
      after = page.at(-1)?.number ?? 0
      if (page.length === 0) break
      found.push(...page.map(({ key, box }) => `${key} ${box.length} ${box[0]}`))
    }
    pages.push(found)
  }
  return {
    usage: { kept, refusals, cited },
    byKey: await Promise.all(names('k', keys).map(size)),
    byAlias: await Promise.all(names('a', aliases).map(async (alias) => (await store.receiptByAlias(alias))?.key ?? null)),
    documents: await Promise.all(['keyset', ...names('d', documents)].map(async (key) => (await store.document(key)) !== null)),
    pages,
  }
}

interface Files {
  readonly file: Buffer
  readonly log: Buffer
}

async function filesOf(path: string): Promise<Files> {
  const log = `${path}-wal`
  return { file: await readFile(path), log: existsSync(log) ? await readFile(log) : Buffer.alloc(0) }
}

/** What a store says that finds these files. */
async function afterCrash({ file, log }: Files): Promise<unknown> {
  const path = join(directory, `${count++}.db`)
  await writeFile(path, file)
  await writeFile(`${path}-wal`, log)
  const store = await openSqliteStore(path, { maxBytes })
  const found = await answers(store)
  await store.close()
  await rm(path)
  return found
}

/** The log as far as it was written, and behind that what stood there before. */
function cut(before: Files, after: Files, share: number): Files {
  let same = 0
  while (same < before.log.length && before.log[same] === after.log[same]) same++
  const at = same + Math.floor((after.log.length - same) * share)
  return { file: before.file, log: Buffer.concat([after.log.subarray(0, at), before.log.subarray(at)]) }
}

const sector = 4096

/** Some sectors of the file as the log has them already, others not yet. */
function halfMoved(before: Files, after: Files, moved: readonly boolean[]): Files {
  const file = Buffer.alloc(after.file.length)
  before.file.copy(file)
  for (let at = 0; at < file.length; at += sector) if (moved[(at / sector) % moved.length] === true) after.file.copy(file, at, at, at + sector)
  return { file, log: after.log }
}

describe('killed at any point', () => {
  const chance = fc.record({
    what: step,
    crash: fc.integer({ min: 0, max: 2 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    moved: fc.array(fc.boolean(), { minLength: 7, maxLength: 13 }),
  })

  test('what was acknowledged is there once; what was not, whole or not at all', { timeout: 300_000 }, async () => {
    const seen = { cut: { before: 0, after: 0 }, moved: 0 }
    await fc.assert(
      fc.asyncProperty(fc.array(chance, { minLength: 36, maxLength: 36 }), async (steps) => {
        const path = join(directory, `${count++}.db`)
        const model = new MemoryStore()
        let store = await openSqliteStore(path, { maxBytes })
        let expected = await answers(model)
        for (const [index, { what, crash, share, moved }] of steps.entries()) {
          if (what.kind === 'reopen') {
            await store.close()
            store = await openSqliteStore(path, { maxBytes })
          } else if (what.kind === 'bad') {
            const bad = row(`bad${index}`, { box: 'text' as unknown as Uint8Array })
            await expect(store.put([...what.rows, bad], [{ key: 'bad', box: new Uint8Array(1) }])).rejects.toMatchObject({
              code: 'receipt_store_unavailable',
            })
          }
          const [before, unchanged] = [await filesOf(path), expected]
          expect(await apply(store, what, index)).toEqual(await apply(model, what, index))
          expected = await answers(model)
          expect(await answers(store)).toEqual(expected)
          const after = await filesOf(path)
          const intoFile = !before.file.equals(after.file)
          if (crash === 0) expect(await afterCrash(after)).toEqual(expected)
          if (crash === 1 && !before.log.equals(after.log)) {
            const found = await afterCrash(cut(before, after, share))
            expect([unchanged, expected]).toContainEqual(found)
            if (JSON.stringify(unchanged) !== JSON.stringify(expected))
              seen.cut[JSON.stringify(found) === JSON.stringify(expected) ? 'after' : 'before']++
          }
          if (intoFile) {
            seen.moved++
            expect(await afterCrash(halfMoved(before, after, moved))).toEqual(expected)
          }
        }
        await store.close()
        expect(await afterCrash(await filesOf(path))).toEqual(expected)
        await rm(path)
      }),
      // What fails is not made smaller: every attempt writes files for seconds.
      { numRuns: 2, endOnFailure: true },
    )
    // It was tried: transactions cut in the middle, and logs half in the file.
    expect(seen.cut.before).toBeGreaterThan(0)
    expect(seen.moved).toBeGreaterThan(0)
  })
})
