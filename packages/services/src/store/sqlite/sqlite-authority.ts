import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { type AuthorityRow, type AuthorityStore, type KnownRows, maxAuthorityBytes, writerLength } from '../authority-store.ts'

const columns = 'name, key, version, content, mac'
const raising = `INSERT INTO authority (${columns}) VALUES (:name, :key, :version, :content, :mac)
  ON CONFLICT (name, key) DO UPDATE SET version = excluded.version, content = excluded.content, mac = excluded.mac WHERE version < excluded.version`

/** Rows of authority in a SQLite file. `transaction` runs what it is given as one, and turns failures into coded errors. */
export class SqliteAuthority implements AuthorityStore {
  readonly #transaction: <T>(run: () => T) => T
  readonly #statements: Readonly<Record<'read' | 'version' | 'list' | 'first' | 'next' | 'raise' | 'remove', StatementSync>>

  constructor(database: DatabaseSync, transaction: <T>(run: () => T) => T) {
    this.#transaction = transaction
    const prepare = (sql: string): StatementSync => database.prepare(sql)
    this.#statements = {
      read: prepare(`SELECT ${columns} FROM authority WHERE name = ? AND key = ? AND length(content) <= ${maxAuthorityBytes}`),
      version: prepare('SELECT version FROM authority WHERE name = ? AND key = ?'),
      list: prepare(
        // Once for all rows, and not read anew for each.
        `WITH known (writer, newest) AS MATERIALIZED (SELECT key, value FROM json_each(?))
         SELECT ${columns} FROM authority LEFT JOIN known ON writer = substr(key, -${writerLength})
         WHERE name = ? AND substr(key, 1, length(?)) = ? AND length(content) <= ${maxAuthorityBytes} AND (newest IS NULL OR version > newest) ORDER BY key LIMIT ?`,
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

  async list(table: string, prefix: string, most: number, known: KnownRows = new Map()): Promise<readonly AuthorityRow[]> {
    return this.#transaction(() =>
      this.#statements.list
        .all(JSON.stringify(Object.fromEntries(known)), table, prefix, prefix, most)
        .map(rowOf)
        .filter((row) => row !== null),
    )
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
