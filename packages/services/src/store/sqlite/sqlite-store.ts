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
import { AccountRows } from './account-rows.ts'
import { sqliteFailure } from './failure.ts'
import { NameIndex, type NameKind } from './name-index.ts'
import { openDatabase, pragma } from './open.ts'
import { SqliteAuthority } from './sqlite-authority.ts'

const kinds = { answer: 0, refusal: 1 } as const
/** No number that counting reaches, and one that JavaScript can tell from the next. */
const maxNumber = 2 ** 48
/** The newest number, of rows that are there or were: what an account has kept of one that is gone is never said of another. */
const numbers = `SELECT ifnull((SELECT min(number) FROM receipts), 1) > 0 AS counted,
  min(?, max(ifnull((SELECT max(number) FROM receipts), 0), ifnull((SELECT max(number) FROM accounts), 0))) AS newest`

/** Names are of 32 bytes; longer ones, of any length, somebody else wrote. */
const maxNameBytes = 128
const name = (column: string): string => `iif(octet_length(${column}) <= ${maxNameBytes}, ${column}, NULL) AS ${column}`
const ours = `max(octet_length(key), octet_length(keyset), ifnull(octet_length(alias), 0), ifnull(octet_length(session), 0)) <= ${maxNameBytes} AS ours`
/** What is no refusal is an answer, also a number that JavaScript cannot have. */
const refusal = `kind = ${kinds.refusal} AS refused`

const removal = (which: string): string => `DELETE FROM receipts WHERE number IN (${which}) RETURNING number, key, alias, ${refusal}, keyset, session`

/**
 * Opens a store in a file: write-ahead log, one process, every commit synced before it resolves (`synchronous = FULL`). The calls block while the disk works,
 * as `node:sqlite` does; callers commit in groups. Throws as {@link openDatabase}.
 *
 * Rows go to the end of one table and into no index that is sorted by their names: which row has a name is kept in memory, as are the citations of documents,
 * and both are read back here. So a commit writes little more than the rows themselves.
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

interface Added {
  readonly number: number
  readonly alias: string | null
  readonly row: ReceiptRow
}

class SqliteStore implements ReceiptStore {
  readonly authority: SqliteAuthority
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #statements: Readonly<
    Record<'insert' | 'document' | 'there' | 'names' | 'row' | 'read' | 'refusals' | 'answers' | 'old' | 'aged' | 'forget' | 'pages', StatementSync>
  >
  readonly #pageSize: number
  readonly #names = new NameIndex()
  readonly #accounts: AccountRows
  /** How many rows cite a document: few documents, each cited by many. */
  readonly #cited = new Map<string, number>()
  #newest: number
  /** No answer has a lower number. */
  #oldestAnswer = 0
  /** Unix seconds: none of the oldest was from before that when they were looked at last. */
  #noneBefore: number | null = null
  readonly #counts = { answers: 0, refusals: 0, documents: 0 }

  constructor(path: string, database: DatabaseSync) {
    this.#path = path
    this.#database = database
    this.authority = new SqliteAuthority(database, (run) => this.#transaction(run))
    const prepare = (sql: string): StatementSync => database.prepare(sql)
    this.#statements = {
      // By place, since for each name SQLite looks through all.
      insert: prepare('INSERT INTO receipts (number, key, alias, kind, at, keyset, session, box, account) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)'),
      document: prepare('INSERT INTO documents (key, box) VALUES (?, ?) ON CONFLICT (key) DO NOTHING'),
      there: prepare('SELECT 1 FROM documents WHERE key = ?'),
      names: prepare('SELECT key, alias FROM receipts WHERE number = ?'),
      row: prepare(`SELECT key, box FROM receipts WHERE number = ? AND length(box) <= ${maxBoxBytes}`),
      read: prepare(`SELECT box FROM documents WHERE key = ? AND length(box) <= ${maxBoxBytes}`),
      refusals: prepare(removal(`SELECT number FROM receipts WHERE kind = ${kinds.refusal} ORDER BY number LIMIT ?`)),
      answers: prepare(removal(`SELECT number FROM receipts WHERE number >= ? AND kind <> ${kinds.refusal} ORDER BY number LIMIT ?`)),
      old: prepare('SELECT EXISTS (SELECT 1 FROM (SELECT at FROM receipts ORDER BY number LIMIT :most) WHERE at < :oldest) AS found'),
      aged: prepare(removal('SELECT number FROM (SELECT number, at FROM receipts ORDER BY number LIMIT :most) WHERE at < :oldest')),
      forget: prepare('DELETE FROM documents WHERE key = ?'),
      // As functions: after a commit a pragma is compiled anew each time.
      pages: prepare('SELECT page_count - freelist_count AS used FROM pragma_page_count(), pragma_freelist_count()'),
    }
    this.#pageSize = pragma(database, 'page_size')
    this.#counts.documents = Number(prepare('SELECT count(*) AS n FROM documents').get()?.n)
    const { newest, counted } = prepare(numbers).get(maxNumber) ?? {}
    this.#newest = Number(newest)
    if (this.#newest >= maxNumber || counted !== 1) throw this.#invalid()
    // Columns that come before the box: what does not fit into a row's page is not read.
    const columns = ['key', 'alias', 'keyset', 'session'].map(name)
    const all = prepare(`SELECT number, ${columns.join(', ')}, ${refusal}, ${ours} FROM receipts ORDER BY number`)
    for (const { number, key, alias, refused, keyset, session, ours } of all.iterate()) {
      const named = { number: Number(number), alias: alias === null ? null : String(alias) }
      if (ours !== 1 || !this.#name(named.number, String(key), named.alias)) throw this.#invalid()
      this.#count(refused === 1 ? 'refusal' : 'answer', [keyset, session], 1)
    }
    this.#accounts = new AccountRows(database)
  }

  get usage(): StoreUsage {
    return { ...this.#counts, bytes: this.#attempt(() => this.#bytes()) }
  }

  async put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]> {
    const { insert, document, there } = this.#statements
    const added: Added[] = []
    const cited = new Set<string>()
    for (const { keyset, session } of rows) for (const key of [keyset, session]) if (key !== null) cited.add(key)
    try {
      const { missing, news, written } = this.#transaction(() => {
        let news = 0
        for (const { key, box } of documents) news += Number(document.run(key, box).changes)
        for (const row of rows) {
          const { key, kind, at, keyset, session, account, box } = row
          if (this.#find('key', key) !== null) continue
          const alias = row.alias === null || this.#find('alias', row.alias) !== null ? null : row.alias
          const number = this.#newest + added.length + 1
          insert.run(number, key, alias, kinds[kind], at, keyset, session, box, account)
          // Those that come after it in the same group are to find it.
          this.#names.add('key', key, number)
          if (alias !== null) this.#names.add('alias', alias, number)
          added.push({ number, alias, row })
        }
        return { missing: [...cited].filter((key) => there.get(key) === undefined), news, written: this.#accounts.write() }
      })
      this.#newest += added.length
      this.#counts.documents += news
      if (written) this.#accounts.written()
      for (const { number, row } of added) {
        this.#count(row.kind, [row.keyset, row.session], 1)
        if (row.account !== null) this.#accounts.add(number, row.account)
      }
      return missing
    } catch (error) {
      for (const { number, alias, row } of added) this.#unname(number, row.key, alias)
      throw error
    }
  }

  async receipt(key: string): Promise<Uint8Array | null> {
    return this.#attempt(() => this.#row(this.#find('key', key)))?.box ?? null
  }

  async receiptByAlias(alias: string): Promise<{ key: string; box: Uint8Array } | null> {
    return this.#attempt(() => this.#row(this.#find('alias', alias)))
  }

  async document(key: string): Promise<Uint8Array | null> {
    const box = this.#attempt(() => this.#statements.read.get(key)?.box)
    return box instanceof Uint8Array ? box : null
  }

  async ofAccount(account: string, after: number, most: number, mostBytes: number): Promise<readonly AccountRow[]> {
    return this.#attempt(() => this.#accounts.page(account, after, most, mostBytes))
  }

  async trim(bounds: StoreBounds, now: number, most: number): Promise<Trimmed> {
    const { refusals, answers, old, aged } = this.#statements
    const oldest = now - bounds.maxAgeSeconds
    const surplus = Math.min(most, this.#counts.refusals - bounds.maxRefusals)
    const beyond = this.#attempt(() => this.#bytes()) > bounds.maxBytes ? most : this.#counts.answers - bounds.maxAnswers
    // Looking takes as long as ten insertions: once for each second, since what is put in is of now.
    const expired = oldest !== this.#noneBefore && this.#attempt(() => old.get({ most, oldest }))?.found === 1
    if (!expired) this.#noneBefore = oldest
    if (surplus <= 0 && beyond <= 0 && !expired) return { receipts: 0, documents: [] }
    // Lost in a crash, these rows come back and go again: no sync is worth waiting for.
    this.#database.exec('PRAGMA synchronous = NORMAL')
    try {
      const { gone, documents, oldestAnswer } = this.#transaction(() => {
        const gone: Record<string, unknown>[] = []
        let oldestAnswer = this.#oldestAnswer
        if (surplus > 0) gone.push(...refusals.all(surplus))
        if (beyond > 0 && gone.length < most) {
          const removed = answers.all(oldestAnswer, Math.min(most - gone.length, beyond))
          for (const { number } of removed) oldestAnswer = Math.max(oldestAnswer, Number(number) + 1)
          gone.push(...removed)
        }
        if (gone.length < most) gone.push(...aged.all({ most: most - gone.length, oldest }))
        return { gone, documents: this.#forget(gone), oldestAnswer }
      })
      for (const { number, key, alias, refused, keyset, session } of gone) {
        this.#unname(Number(number), String(key), alias === null ? null : String(alias))
        this.#accounts.removed(Number(number))
        this.#count(refused === 1 ? 'refusal' : 'answer', [keyset, session], -1)
      }
      this.#counts.documents -= documents.length
      this.#oldestAnswer = oldestAnswer
      return { receipts: gone.length, documents }
    } finally {
      this.#database.exec('PRAGMA synchronous = FULL')
    }
  }

  async close(): Promise<void> {
    if (!this.#database.isOpen) return
    try {
      this.#transaction(() => this.#accounts.write(true))
    } catch {
      // They stand in their rows, and are read back from there.
    }
    this.#database.close()
  }

  /** Removes documents that nothing cites once these rows are gone; gives which were there. */
  #forget(gone: readonly Record<string, unknown>[]): string[] {
    const fewer = new Map<string, number>()
    for (const { keyset, session } of gone)
      for (const key of [keyset, session]) if (typeof key === 'string') fewer.set(key, (fewer.get(key) ?? 0) + 1)
    const uncited = [...fewer].filter(([key, less]) => (this.#cited.get(key) ?? 0) <= less)
    return uncited.filter(([key]) => Number(this.#statements.forget.run(key).changes) > 0).map(([key]) => key)
  }

  /** The number of the row of this name, which the row itself confirms. */
  #find(kind: NameKind, name: string): number | null {
    return this.#names.find(kind, name, (number) => this.#statements.names.get(number)?.[kind] === name)
  }

  #row(number: number | null): { key: string; box: Uint8Array } | null {
    const { key, box } = (number === null ? undefined : this.#statements.row.get(number)) ?? {}
    return typeof key === 'string' && box instanceof Uint8Array ? { key, box } : null
  }

  /** False where another row has one of these names: no two rows of ours do. */
  #name(number: number, key: string, alias: string | null): boolean {
    if (this.#find('key', key) !== null || (alias !== null && this.#find('alias', alias) !== null)) return false
    this.#names.add('key', key, number)
    if (alias !== null) this.#names.add('alias', alias, number)
    return true
  }

  #unname(number: number, key: string, alias: string | null): void {
    this.#names.remove('key', key, number)
    if (alias !== null) this.#names.remove('alias', alias, number)
  }

  #count(kind: ReceiptRow['kind'], cited: readonly unknown[], by: 1 | -1): void {
    this.#counts[kind === 'answer' ? 'answers' : 'refusals'] += by
    for (const key of cited) {
      if (typeof key !== 'string') continue
      const count = (this.#cited.get(key) ?? 0) + by
      if (count > 0) this.#cited.set(key, count)
      else this.#cited.delete(key)
    }
  }

  #invalid(): Error {
    return fail('receipt_store_invalid', `expected rows in ${this.#path} as they are written here, found others; the file is left as it is`)
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
