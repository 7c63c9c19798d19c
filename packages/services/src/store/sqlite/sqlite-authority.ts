import type { DatabaseSync, StatementSync } from 'node:sqlite'
import {
  type AuthorityRow,
  type AuthorityStore,
  type KnownRows,
  maxAuthorityBytes,
  partRows,
  type TakePart,
  writerLength,
} from '../authority-store.ts'

const columns = 'name, key, version, content, mac'
/** In one part of a scan. */
const looked = `FROM authority WHERE name = :name AND key >= :from AND key IS NOT :after ORDER BY key LIMIT ${partRows}`
const raising = `INSERT INTO authority (${columns}) VALUES (:name, :key, :version, :content, :mac)
  ON CONFLICT (name, key) DO UPDATE SET version = excluded.version, content = excluded.content, mac = excluded.mac WHERE version < excluded.version`

/** Rows of authority in a SQLite file. `transaction` runs what it is given as one, and turns failures into coded errors. */
export class SqliteAuthority implements AuthorityStore {
  readonly #transaction: <T>(run: () => T) => T
  readonly #statements: Readonly<Record<'read' | 'version' | 'list' | 'end' | 'part' | 'first' | 'next' | 'raise' | 'remove', StatementSync>>

  constructor(database: DatabaseSync, transaction: <T>(run: () => T) => T) {
    this.#transaction = transaction
    const prepare = (sql: string): StatementSync => database.prepare(sql)
    this.#statements = {
      read: prepare(`SELECT ${columns} FROM authority WHERE name = ? AND key = ? AND length(content) <= ${maxAuthorityBytes}`),
      version: prepare('SELECT version FROM authority WHERE name = ? AND key = ?'),
      list: prepare(
        `SELECT ${columns} FROM authority WHERE name = ? AND substr(key, 1, length(?)) = ? AND length(content) <= ${maxAuthorityBytes} ORDER BY key LIMIT ?`,
      ),
      // Keys that begin with a prefix are no less than it, and stand together. Of as many rows as one part may have, also where none of them is new.
      end: prepare(`SELECT max(key) AS key, count(*) AS looked FROM (SELECT key ${looked})`),
      part: prepare(
        // Once for all rows, and not read anew for each. The rows that were counted, and not those up to the last one: a key that is no UTF-8 comes back as another one.
        `WITH known (writer, newest) AS MATERIALIZED (SELECT key, value FROM json_each(:known))
         SELECT ${columns} FROM authority LEFT JOIN known ON writer = substr(key, -${writerLength})
         WHERE number IN (SELECT number ${looked}) AND substr(key, 1, length(:prefix)) = :prefix
         AND length(content) <= ${maxAuthorityBytes} AND (newest IS NULL OR version > newest)`,
      ),
      first: prepare(`INSERT INTO authority (${columns}) VALUES (:name, :key, :version, :content, :mac) ON CONFLICT (name, key) DO NOTHING`),
      next: prepare('UPDATE authority SET version = :version, content = :content, mac = :mac WHERE name = :name AND key = :key AND version = :after'),
      raise: prepare(raising),
      remove: prepare('DELETE FROM authority WHERE name = ? AND key = ?'),
    }
  }

  async read(table: string, key: string): Promise<AuthorityRow | null> {
    return this.#transaction(() => rowOf(this.#statements.read.get(table, key)))
  }

  async version(table: string, key: string): Promise<number | null> {
    const version = this.#transaction(() => this.#statements.version.get(table, key)?.version)
    return typeof version === 'number' ? version : null
  }

  async list(table: string, prefix: string, most: number): Promise<readonly AuthorityRow[]> {
    return this.#transaction(() =>
      this.#statements.list
        .all(table, prefix, prefix, most)
        .map(rowOf)
        .filter((row) => row !== null),
    )
  }

  /** Of one moment, since nobody else writes to the file, and what this process wrote itself it does not look for. */
  async scan(table: string, prefix: string, most: number, known: KnownRows, take: TakePart): Promise<void> {
    const newest = JSON.stringify(Object.fromEntries(known))
    let [after, left]: [string | null, number] = [null, most]
    do {
      const { rows, looked, next } = this.#part(table, prefix, after, newest)
      if (!(await take(rows.slice(0, left)))) return
      // Also those that are left out: in a file of somebody else, keys that are no UTF-8 could lead in a circle.
      left -= looked
      after = next
      await new Promise((resolve) => setImmediate(resolve))
    } while (after !== null && left > 0)
  }

  /** What is new among the rows after `after`, how many were looked at, and after which to go on; null where there is no more. */
  #part(
    table: string,
    prefix: string,
    after: string | null,
    known: string,
  ): { readonly rows: readonly AuthorityRow[]; readonly looked: number; readonly next: string | null } {
    const where = { name: table, from: after ?? prefix, after }
    return this.#transaction(() => {
      const { key: end, looked } = this.#statements.end.get(where) ?? {}
      if (typeof end !== 'string') return { rows: [], looked: 0, next: null }
      const found = this.#statements.part.all({ ...where, prefix, known })
      const next = looked === partRows && end.startsWith(prefix) ? end : null
      return { rows: found.map(rowOf).filter((row) => row !== null), looked: Number(looked), next }
    })
  }

  async replace(row: AuthorityRow, after: number | null): Promise<boolean> {
    const { first, next } = this.#statements
    const values = valuesOf(row)
    return this.#transaction(() => Number((after === null ? first.run(values) : next.run({ ...values, after })).changes) === 1)
  }

  async raise(rows: readonly AuthorityRow[]): Promise<void> {
    this.#transaction(() => {
      for (const row of rows) this.#statements.raise.run(valuesOf(row))
    })
  }

  async remove(table: string, keys: readonly string[]): Promise<void> {
    this.#transaction(() => {
      for (const key of keys) this.#statements.remove.run(table, key)
    })
  }
}

function valuesOf({ table, key, version, content, mac }: AuthorityRow): Record<string, string | number | Uint8Array> {
  return { name: table, key, version, content, mac }
}

/** Null for what cannot have been written here. */
function rowOf(row: Record<string, unknown> | undefined): AuthorityRow | null {
  const { name, key, version, content, mac } = row ?? {}
  if (typeof name !== 'string' || typeof key !== 'string' || typeof version !== 'number') return null
  if (!(content instanceof Uint8Array) || !(mac instanceof Uint8Array)) return null
  return { table: name, key, version, content, mac }
}
