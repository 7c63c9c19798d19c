import { copyFile, mkdtemp, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { partRows } from '../../src/store/authority-store.ts'
import type { ReceiptRow, ReceiptStore } from '../../src/store/receipt-store.ts'
import { applicationId, migrations } from '../../src/store/sqlite/schema.ts'
import { openSqliteStore } from '../../src/store/sqlite/sqlite-store.ts'
import { authorityRow, conformance, roomy, row } from './conformance.ts'

let directory = ''
let count = 0
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-store-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const path = (): string => join(directory, `${count++}.db`)
const open = (file: string, maxBytes = 1 << 30): Promise<ReceiptStore> => openSqliteStore(file, { maxBytes })
const codeOf = (file: string): Promise<unknown> =>
  open(file).then(
    async (store) => {
      await store.close()
      return 'opened'
    },
    (error: { code?: string }) => error.code,
  )

/** A store with one row, closed. */
async function made(): Promise<string> {
  const file = path()
  const store = await open(file)
  await store.put([row('a')], [])
  await store.close()
  return file
}

function edit(file: string, sql: string): void {
  const database = new DatabaseSync(file)
  database.exec(sql)
  database.close()
}

conformance(() => open(path()), 300_000)

describe('the file', () => {
  test('holds what was put after it was closed, and is readable by its owner only', async () => {
    const file = await made()
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    const store = await open(file)
    expect(store.usage).toMatchObject({ answers: 1, refusals: 0, documents: 0 })
    expect(await store.receipt('a')).not.toBeNull()
    await store.close()
    await expect(store.receipt('a')).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
  })

  test('belongs to one process: whoever comes second is told, and the first goes on', async () => {
    const file = await made()
    const store = await open(file)
    expect(await codeOf(file)).toBe('receipt_store_unavailable')
    await store.put([row('b')], [])
    await store.close()
    expect(await codeOf(file)).toBe('opened')
  })

  test('an empty one, as a crash leaves it, is begun; one where tables are not made yet too', async () => {
    const file = path()
    await writeFile(file, '')
    expect(await codeOf(file)).toBe('opened')
    const half = path()
    edit(half, 'PRAGMA journal_mode = WAL; CREATE TABLE t (a); DROP TABLE t')
    expect(await codeOf(half)).toBe('opened')
  })

  test('a transaction without its end is not there, and one that was committed is, when the process is gone', async () => {
    const file = path()
    const store = await open(file)
    await store.put([row('a')], [])
    await store.put([row('b')], [])
    // As after kill -9: the file and its log as they are on disk, the log cut within the last transaction.
    const [whole, cut] = [path(), path()]
    for (const copy of [whole, cut]) {
      await copyFile(file, copy)
      await copyFile(`${file}-wal`, `${copy}-wal`)
    }
    await store.close()
    await truncate(`${cut}-wal`, (await stat(`${cut}-wal`)).size - 100)
    const [first, second] = [await open(whole), await open(cut)]
    expect([await first.receipt('b'), await second.receipt('b')].map((box) => box !== null)).toEqual([true, false])
    expect(await second.receipt('a')).not.toBeNull()
    await first.close()
    await second.close()
  })

  test('of a group either all rows are there or none', async () => {
    const store = await open(path())
    const bad = row('b', { box: 'text' as unknown as Uint8Array })
    await expect(store.put([row('a'), bad], [{ key: 'd', box: new Uint8Array(1) }])).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    expect([await store.receipt('a'), await store.document('d')]).toEqual([null, null])
    expect(store.usage).toMatchObject({ answers: 0, documents: 0 })
    await store.put([row('a')], [])
    await store.close()
  })

  test('loses the accounts of rows that are gone, many at a time, also those that a killed process had left', async () => {
    const file = path()
    const store = await open(file)
    const some = (from: number, n: number, kind: 'answer' | 'refusal' = 'answer'): ReceiptRow[] =>
      Array.from({ length: n }, (_, i) => row(`r${from + i}`, { kind, account: `x${(from + i) % 7}` }))
    const standing = (of: string): unknown => {
      const database = new DatabaseSync(of)
      const found = database.prepare('SELECT number, account FROM accounts ORDER BY number').all()
      const rows = database.prepare('SELECT number, account FROM receipts ORDER BY number').all()
      database.close()
      return { accounts: found.length, orphans: found.filter(({ number }) => !rows.some((one) => one.number === number)).length }
    }
    await store.put([...some(0, 10, 'refusal'), ...some(10, 1100), ...some(1110, 400, 'refusal')], [])
    await store.put([row('last')], [])
    // Refusals go from between answers, and answers from before them.
    const kept = Array.from({ length: 1510 }, (_, i) => i).filter((i) => (i >= 511 && i < 1110) || i >= 1310)
    const ofOne = kept.filter((i) => i % 7 === 1).map((i) => `r${i}`)
    const found = async (of: ReceiptStore): Promise<string[]> => (await of.ofAccount('x1', 0, 1e4, 1e6)).map(({ key }) => key)
    expect((await store.trim({ ...roomy, maxAnswers: 600, maxRefusals: 200 }, 1000, 1e6)).receipts).toBe(711)
    const killed = path()
    await copyFile(file, killed)
    await copyFile(`${file}-wal`, `${killed}-wal`)
    expect(await found(store)).toEqual(ofOne)
    await store.close()
    expect(standing(file)).toEqual({ accounts: kept.length, orphans: 0 })

    const after = await open(killed)
    expect(await found(after)).toEqual(ofOne)
    await after.put(some(2000, 10), [])
    await after.close()
    // Of what was between rows that are there, it is not known that it is gone; it goes when it is the oldest.
    expect(standing(killed)).toEqual({ accounts: kept.length + 10 + 200, orphans: 200 })
    const last = await open(killed)
    await last.trim({ ...roomy, maxAnswers: 5, maxRefusals: 0 }, 1000, 1e6)
    await last.put(some(3000, 10), [])
    await last.close()
    expect(standing(killed)).toEqual({ accounts: 15, orphans: 0 })
  })

  test('of an earlier version is taken over as it is: every row by key, alias and account, and documents go with the last that cites them', async () => {
    for (const version of [1, 2]) {
      const file = path()
      for (const statement of migrations.slice(0, version).flat()) edit(file, statement)
      edit(file, `PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version}`)
      edit(
        file,
        `INSERT INTO receipts (number, key, alias, kind, at, keyset, session, box) VALUES (3, 'a', 'x', 0, 1, 'k', 's', 'box'), (4, 'b', NULL, 1, 1, 'k', NULL, 'box');
         INSERT INTO documents (key, box) VALUES ('k', 'box'), ('s', 'box')`.replaceAll("'box'", "x'00'"),
      )
      if (version === 2) edit(file, "INSERT INTO accounts (number, account) VALUES (3, 'c'), (4, 'c')")
      const store = await open(file)
      expect(store.usage).toMatchObject({ answers: 1, refusals: 1, documents: 2 })
      expect([await store.receipt('a'), await store.receipt('b')].map((box) => box?.length)).toEqual([1, 1])
      expect((await store.receiptByAlias('x'))?.key).toBe('a')
      const listed = async (of: ReceiptStore): Promise<unknown> => (await of.ofAccount('c', 0, 9, 1e6)).map(({ number, key }) => [number, key])
      expect(await listed(store)).toEqual(
        version === 1
          ? []
          : [
              [3, 'a'],
              [4, 'b'],
            ],
      )
      await store.put([row('a'), row('c', { alias: 'x', account: 'c' })], [])
      expect((await store.receiptByAlias('x'))?.key).toBe('a')
      expect(await store.trim({ ...roomy, maxAnswers: 1, maxAgeSeconds: 1e9 }, 1000, 9)).toEqual({ receipts: 1, documents: ['s'] })
      await store.close()
      const again = await open(file)
      expect(again.usage).toMatchObject({ answers: 1, refusals: 1, documents: 1 })
      expect(await listed(again)).toEqual(
        version === 1
          ? [[5, 'c']]
          : [
              [4, 'b'],
              [5, 'c'],
            ],
      )
      expect(await again.receiptByAlias('x')).toBeNull()
      await again.close()
    }
  })

  test('S3: rows of kinds and times that nobody wrote are answers, and go as those do', async () => {
    const file = await made()
    edit(file, 'UPDATE receipts SET kind = 9223372036854775807, at = -9223372036854775807')
    const store = await open(file)
    expect(store.usage).toMatchObject({ answers: 1, refusals: 0 })
    expect(await store.receipt('a')).not.toBeNull()
    await store.put([row('b')], [])
    expect((await store.trim({ ...roomy, maxAnswers: 1 }, 1000, 9)).receipts).toBe(1)
    expect(store.usage).toMatchObject({ answers: 1, refusals: 0 })
    await store.close()
  })

  test('does not grow beyond its bound, and takes rows again after old ones went', async () => {
    const bounds = { maxAnswers: 1e6, maxRefusals: 1e6, maxAgeSeconds: 1e6, maxBytes: 1 << 20 }
    const file = path()
    const store = await open(file, bounds.maxBytes)
    let refused: unknown = null
    let keys = 0
    while (refused === null && keys < 1000)
      await store.put([row(`k${keys++}`, { box: new Uint8Array(16_384) })], []).catch((error: unknown) => {
        refused = error
      })
    expect(refused).toMatchObject({ code: 'receipt_store_unavailable' })
    expect((await stat(file)).size).toBeLessThanOrEqual(bounds.maxBytes * 1.25 + 65 * 4096)
    while ((await store.trim(bounds, 1000, 16)).receipts > 0);
    await store.put([row('after', { box: new Uint8Array(16_384) })], [])
    expect(await store.receipt('after')).not.toBeNull()
    await store.close()
  })
})

test('a scan looks at few rows in one turn also where none of them is new, and not at those before its prefix', async () => {
  const store = await open(path())
  const writer = '1'.repeat(16)
  const rows = ['l', 'm'].flatMap((month) => Array.from({ length: 3 * partRows }, (_, i) => authorityRow(`${month}/${i}/${writer}`, 1)))
  await store.authority.raise(rows)
  const parts: number[] = []
  await store.authority.scan('t', 'm/', 1 << 20, new Map([[writer, 1]]), async (part) => {
    parts.push(part.length)
    return true
  })
  expect(parts).toEqual([0, 0, 0, 0])
  await store.close()
})

test('S3: a scan comes to an end also where keys are no text', async () => {
  const file = await made()
  const writer = '1'.repeat(16)
  edit(
    file,
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
     INSERT INTO authority (name, key, version, content, mac) SELECT 't', CAST(CAST('m/' AS BLOB) || X'FF' || i || '${writer}' AS TEXT), 1, X'', X'' FROM n`,
  )
  const store = await open(file)
  let parts = 0
  await store.authority.scan('t', 'm/', 10 * partRows, new Map([[writer, 1]]), async () => ++parts < 1_000)
  expect(parts).toBe(10)
  await store.close()
})

test('S3: a part of a scan has so many rows at most also where keys are no text, and stand before what is read of them', async () => {
  const file = await made()
  edit(
    file,
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${4 * partRows})
     INSERT INTO authority (name, key, version, content, mac) SELECT 't', CAST(CAST('m/' AS BLOB) || X'80' || i AS TEXT), 1, X'', X'' FROM n`,
  )
  const store = await open(file)
  let most = 0
  await store.authority.scan('t', 'm/', 1 << 20, new Map(), async (rows) => {
    most = Math.max(most, rows.length)
    return true
  })
  expect(most).toBe(partRows)
  await store.close()
})

describe('a file that is not what it should be is refused and left as it is', () => {
  const cases: Readonly<Record<string, () => Promise<string>>> = {
    'another program’s bytes': async () => {
      const file = path()
      await writeFile(file, 'x'.repeat(5000))
      return file
    },
    'a few bytes': async () => {
      const file = path()
      await writeFile(file, 'SQLite format 3\0')
      return file
    },
    'another database': async () => {
      const file = path()
      edit(file, 'CREATE TABLE customers (name TEXT)')
      return file
    },
    'another database with a number of its own': async () => {
      const file = path()
      edit(file, 'PRAGMA application_id = 5; CREATE TABLE customers (name TEXT)')
      return file
    },
    'a later version': async () => {
      const file = await made()
      edit(file, `PRAGMA user_version = ${migrations.length + 1}`)
      return file
    },
    'no version': async () => {
      const file = await made()
      edit(file, 'PRAGMA user_version = 0')
      return file
    },
    'S3: a trigger that somebody added': async () => {
      const file = await made()
      edit(file, "CREATE TRIGGER t AFTER INSERT ON receipts BEGIN UPDATE receipts SET alias = 'x'; END")
      return file
    },
    'S3: a trigger under a name that SQLite’s own tables have': async () => {
      const file = await made()
      edit(file, "CREATE TRIGGER sqlitexstat1 AFTER INSERT ON receipts BEGIN UPDATE receipts SET alias = 'x'; END")
      return file
    },
    'S3: a view in place of a table': async () => {
      const file = await made()
      edit(file, 'DROP TABLE documents; CREATE VIEW documents AS SELECT number, key, box FROM receipts')
      return file
    },
    'a table that lacks an index': async () => {
      const file = await made()
      edit(file, 'DROP INDEX receipts_refusals')
      return file
    },
    'S3: two rows of one key': async () => {
      const file = await made()
      edit(
        file,
        'INSERT INTO receipts (number, key, alias, kind, at, keyset, session, box) SELECT 7, key, alias, kind, at, keyset, session, box FROM receipts',
      )
      return file
    },
    'S3: two rows of one alias': async () => {
      const file = await made()
      edit(
        file,
        "INSERT INTO receipts SELECT 7, 'b', 'x', kind, at, keyset, session, box, account FROM receipts; UPDATE receipts SET alias = 'x' WHERE number = 1",
      )
      return file
    },
    'S3: a name so long that nobody gave it': async () => {
      const file = await made()
      edit(file, 'UPDATE receipts SET session = hex(zeroblob(10000000))')
      return file
    },
    'S3: a number from which nobody can count on': async () => {
      const file = await made()
      edit(file, 'UPDATE receipts SET number = 9223372036854775807')
      return file
    },
    'S3: a number below the first': async () => {
      const file = await made()
      edit(file, 'UPDATE receipts SET number = -9223372036854775807')
      return file
    },
    'damage in the middle': async () => {
      const file = await made()
      const bytes = await readFile(file)
      await writeFile(file, Buffer.concat([bytes.subarray(0, 16_384), Buffer.alloc(16_384, 0xff), bytes.subarray(32_768)]))
      return file
    },
    'cut in half': async () => {
      const file = await made()
      await truncate(file, 8192)
      return file
    },
    'a symbolic link': async () => {
      const file = path()
      await symlink(await made(), file)
      return file
    },
  }
  test.for(Object.entries(cases))('%s', async ([, make]) => {
    const file = await make()
    const before = await readFile(file)
    expect(await codeOf(file)).toBe('receipt_store_invalid')
    expect((await readFile(file)).equals(before)).toBe(true)
  })

  test('S3: whoever added a table gets none of its checks computed, which may take any time', async () => {
    const file = await made()
    edit(file, 'CREATE TABLE t (a CHECK (a > 1)); PRAGMA ignore_check_constraints = ON; INSERT INTO t VALUES (0)')
    await expect(open(file)).rejects.toMatchObject({ code: 'receipt_store_invalid', message: expect.stringContaining('found others') as string })
  })

  test('a folder that does not exist', async () => {
    expect(await codeOf(join(directory, 'none', 'x.db'))).toBe('receipt_store_unavailable')
  })
})
