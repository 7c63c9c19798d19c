import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { fail } from 'veritee/errors'
import {
  type AccountRow,
  type DocumentRow,
  maxBoxBytes,
  type ReceiptRow,
  type ReceiptStore,
  type StoreBounds,
  type StoreUsage,
  type Trimmed,
} from '../receipt-store.ts'
import { sqliteFailure } from './failure.ts'
import { openDatabase, pragma } from './open.ts'
import { SqliteAuthority } from './sqlite-authority.ts'

const kinds = { answer: 0, refusal: 1 } as const

// By place, since for each name SQLite looks through all.
const insertReceipt = `INSERT INTO receipts (key, alias, kind, at, keyset, session, box) VALUES
  (?1, CASE WHEN EXISTS (SELECT 1 FROM receipts WHERE alias = ?2) THEN NULL ELSE ?2 END, ?3, ?4, ?5, ?6, ?7)
  ON CONFLICT (key) DO NOTHING`
const removal = (which: string): string => `DELETE FROM receipts WHERE number IN (${which}) RETURNING number, kind, keyset, session`
const removeDocument = `DELETE FROM documents WHERE key = :key
  AND NOT EXISTS (SELECT 1 FROM receipts WHERE keyset = :key) AND NOT EXISTS (SELECT 1 FROM receipts WHERE session = :key)`

/**
 * Opens a store in a file: write-ahead log, one process, every commit synced before it resolves (`synchronous = FULL`). The calls block while the disk works,
 * as `node:sqlite` does; callers commit in groups. Throws as {@link openDatabase}.
 */
export async function openSqliteStore(path: string, options: { readonly maxBytes: number }): Promise<ReceiptStore> {
  const database = await openDatabase(path, options.maxBytes)
  try {
    return new SqliteStore(path, database)
  } catch (cause) {
    database.close()
    throw sqliteFailure(path, cause)
  }
}

class SqliteStore implements ReceiptStore {
  readonly authority: SqliteAuthority
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #statements: Readonly<
    Record<
      | 'insert'
      | 'account'
      | 'unaccount'
      | 'accounted'
      | 'document'
      | 'there'
      | 'find'
      | 'alias'
      | 'read'
      | 'excess'
      | 'old'
      | 'aged'
      | 'forget'
      | 'pages',
      StatementSync
    >
  >
  readonly #pageSize: number
  /** Unix seconds: none of the oldest was from before that when they were looked at last. */
  #noneBefore: number | null = null
  readonly #counts = { answers: 0, refusals: 0, documents: 0 }

  constructor(path: string, database: DatabaseSync) {
    this.#path = path
    this.#database = database
    this.authority = new SqliteAuthority(database, (run) => this.#transaction(run))
    const prepare = (sql: string): StatementSync => database.prepare(sql)
    this.#statements = {
      insert: prepare(insertReceipt),
      account: prepare('INSERT OR REPLACE INTO accounts (number, account) VALUES (?, ?)'),
      unaccount: prepare('DELETE FROM accounts WHERE number = ?'),
      accounted: prepare(
        `SELECT number, key, box FROM (
           SELECT number, key, box, sum(length(box)) OVER (ORDER BY number) - length(box) AS before FROM (
             SELECT r.number AS number, key, box FROM accounts AS a JOIN receipts AS r USING (number)
             WHERE account = ? AND a.number > ? AND length(box) <= ${maxBoxBytes} ORDER BY a.number LIMIT ?))
         WHERE before < ? ORDER BY number`,
      ),
      document: prepare('INSERT INTO documents (key, box) VALUES (?, ?) ON CONFLICT (key) DO NOTHING'),
      there: prepare('SELECT 1 FROM documents WHERE key = ?'),
      find: prepare(`SELECT box FROM receipts WHERE key = ? AND length(box) <= ${maxBoxBytes}`),
      alias: prepare(`SELECT key, box FROM receipts WHERE alias = ? AND length(box) <= ${maxBoxBytes}`),
      read: prepare(`SELECT box FROM documents WHERE key = ? AND length(box) <= ${maxBoxBytes}`),
      excess: prepare(removal('SELECT number FROM receipts WHERE kind = ? ORDER BY number LIMIT ?')),
      old: prepare('SELECT EXISTS (SELECT 1 FROM (SELECT at FROM receipts ORDER BY number LIMIT :most) WHERE at < :oldest) AS found'),
      aged: prepare(removal('SELECT number FROM (SELECT number, at FROM receipts ORDER BY number LIMIT :most) WHERE at < :oldest')),
      forget: prepare(removeDocument),
      // As functions: after a commit a pragma is compiled anew each time.
      pages: prepare('SELECT page_count - freelist_count AS used FROM pragma_page_count(), pragma_freelist_count()'),
    }
    this.#pageSize = pragma(database, 'page_size')
    const count = (sql: string, ...values: number[]): number => Number(prepare(sql).get(...values)?.n ?? 0)
    this.#counts.answers = count('SELECT count(*) AS n FROM receipts WHERE kind = ?', kinds.answer)
    this.#counts.refusals = count('SELECT count(*) AS n FROM receipts WHERE kind = ?', kinds.refusal)
    this.#counts.documents = count('SELECT count(*) AS n FROM documents')
  }

  get usage(): StoreUsage {
    return { ...this.#counts, bytes: this.#attempt(() => this.#bytes()) }
  }

  async put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]> {
    const { insert, document } = this.#statements
    const added = { answers: 0, refusals: 0, documents: 0 }
    const cited = new Set<string>()
    for (const { keyset, session } of rows) for (const key of [keyset, session]) if (key !== null) cited.add(key)
    let missing: string[] = []
    this.#transaction(() => {
      for (const { key, box } of documents) added.documents += Number(document.run(key, box).changes)
      for (const { key, alias, kind, at, keyset, session, account, box } of rows) {
        const { changes, lastInsertRowid } = insert.run(key, alias, kinds[kind], at, keyset, session, box)
        if (Number(changes) === 0) continue
        added[kind === 'answer' ? 'answers' : 'refusals']++
        if (account !== null) this.#statements.account.run(lastInsertRowid, account)
      }
      missing = [...cited].filter((key) => this.#statements.there.get(key) === undefined)
    })
    for (const name of ['answers', 'refusals', 'documents'] as const) this.#counts[name] += added[name]
    return missing
  }

  async receipt(key: string): Promise<Uint8Array | null> {
    return this.#attempt(() => blob(this.#statements.find.get(key)?.box))
  }

  async receiptByAlias(alias: string): Promise<{ key: string; box: Uint8Array } | null> {
    const row = this.#attempt(() => this.#statements.alias.get(alias))
    const box = blob(row?.box)
    return box === null ? null : { key: String(row?.key), box }
  }

  async document(key: string): Promise<Uint8Array | null> {
    return this.#attempt(() => blob(this.#statements.read.get(key)?.box))
  }

  async ofAccount(account: string, after: number, most: number, mostBytes: number): Promise<readonly AccountRow[]> {
    const rows = this.#attempt(() => this.#statements.accounted.all(account, after, most, mostBytes))
    return rows.flatMap(({ number, key, box }) => (box instanceof Uint8Array ? [{ number: Number(number), key: String(key), box }] : []))
  }

  async trim(bounds: StoreBounds, now: number, most: number): Promise<Trimmed> {
    const { excess, old, aged, forget } = this.#statements
    const oldest = now - bounds.maxAgeSeconds
    const surplus = Math.min(most, this.#counts.refusals - bounds.maxRefusals)
    const beyond = this.#attempt(() => this.#bytes()) > bounds.maxBytes ? most : this.#counts.answers - bounds.maxAnswers
    // Looking takes as long as ten insertions: once for each second, since what is put in is of now.
    const expired = oldest !== this.#noneBefore && this.#attempt(() => old.get({ most, oldest }))?.found === 1
    if (!expired) this.#noneBefore = oldest
    if (surplus <= 0 && beyond <= 0 && !expired) return { receipts: 0, documents: [] }
    const counts = { ...this.#counts }
    const documents: string[] = []
    let receipts = 0
    const removed = (rows: readonly Record<string, unknown>[]): void => {
      for (const { number, kind, keyset, session } of rows) {
        receipts++
        if (typeof number === 'number') this.#statements.unaccount.run(number)
        counts[kind === kinds.refusal ? 'refusals' : 'answers']--
        for (const key of [keyset, session]) {
          if (typeof key !== 'string' || Number(forget.run({ key }).changes) === 0) continue
          counts.documents--
          documents.push(key)
        }
      }
    }
    // Lost in a crash, these rows come back and go again: no sync is worth waiting for.
    this.#database.exec('PRAGMA synchronous = NORMAL')
    try {
      this.#transaction(() => {
        if (surplus > 0) removed(excess.all(kinds.refusal, surplus))
        if (beyond > 0 && receipts < most) removed(excess.all(kinds.answer, Math.min(most - receipts, beyond)))
        if (receipts < most) removed(aged.all({ most: most - receipts, oldest }))
      })
    } finally {
      this.#database.exec('PRAGMA synchronous = FULL')
    }
    Object.assign(this.#counts, counts)
    return { receipts, documents }
  }

  async close(): Promise<void> {
    if (this.#database.isOpen) this.#database.close()
  }

  #bytes(): number {
    return Number(this.#statements.pages.get()?.used) * this.#pageSize
  }

  #transaction<T>(run: () => T): T {
    return this.#attempt(() => {
      this.#database.exec('BEGIN IMMEDIATE')
      try {
        const result = run()
        this.#database.exec('COMMIT')
        return result
      } catch (error) {
        // Some failures have rolled back by themselves.
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
        throw error
      }
    })
  }

  #attempt<T>(run: () => T): T {
    if (!this.#database.isOpen) throw fail('receipt_store_unavailable', `${this.#path} is closed`)
    try {
      return run()
    } catch (cause) {
      throw sqliteFailure(this.#path, cause)
    }
  }
}

function blob(value: unknown): Uint8Array | null {
  return value instanceof Uint8Array ? value : null
}
