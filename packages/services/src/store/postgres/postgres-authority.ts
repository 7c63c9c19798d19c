import {
  type AuthorityRow,
  type AuthorityStore,
  type KnownRows,
  maxAuthorityBytes,
  partRows,
  type TakePart,
  writerLength,
} from '../authority-store.ts'
import type { Database, Row } from './database.ts'

const columns = 'name, key, version, content, mac'
const fits = `octet_length(content) <= ${maxAuthorityBytes} AND octet_length(mac) <= 64`

/** Rows of authority in a PostgreSQL server, of one space. */
export class PostgresAuthority implements AuthorityStore {
  readonly #database: Database
  readonly #space: string

  constructor(database: Database, space: string) {
    this.#database = database
    this.#space = space
  }

  async read(table: string, key: string): Promise<AuthorityRow | null> {
    const [row] = await this.#database.query(`SELECT ${columns} FROM veritee.authority WHERE space = $1 AND name = $2 AND key = $3 AND ${fits}`, [
      this.#space,
      table,
      key,
    ])
    return row === undefined ? null : rowOf(row)
  }

  async version(table: string, key: string): Promise<number | null> {
    const [row] = await this.#database.query('SELECT version FROM veritee.authority WHERE space = $1 AND name = $2 AND key = $3', [
      this.#space,
      table,
      key,
    ])
    return row === undefined ? null : versionOf(row)
  }

  async list(table: string, prefix: string, most: number): Promise<readonly AuthorityRow[]> {
    const rows = await this.#database.query(
      `SELECT ${columns} FROM veritee.authority WHERE space = $1 AND name = $2 AND starts_with(key, $3) AND ${fits} ORDER BY key LIMIT $4`,
      [this.#space, table, prefix, most],
    )
    return rows.map(rowOf).filter((row) => row !== null)
  }

  /** A cursor sees what was there when it was opened, and the table is gone through once, however much of it is new. */
  async scan(table: string, prefix: string, most: number, known: KnownRows, take: TakePart): Promise<void> {
    await this.#database.transaction(async (run) => {
      await run(
        `DECLARE scan NO SCROLL CURSOR FOR
         SELECT ${columns} FROM veritee.authority LEFT JOIN unnest($4::text[], $5::bigint[]) AS known (writer, newest) ON writer = right(key, ${writerLength})
         WHERE space = $1 AND name = $2 AND starts_with(key, $3) AND ${fits} AND (newest IS NULL OR version > newest)`,
        [this.#space, table, prefix, [...known.keys()], [...known.values()]],
      )
      for (let left = most, more = true; more && left > 0; ) {
        const rows = await run(`FETCH ${Math.min(left, partRows)} FROM scan`)
        left = rows.length < partRows ? 0 : left - rows.length
        more = await take(rows.map(rowOf).filter((row) => row !== null))
      }
    })
  }

  async replace(row: AuthorityRow, after: number | null): Promise<boolean> {
    const changed =
      after === null
        ? await this.#database.query(
            `INSERT INTO veritee.authority (space, ${columns}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (space, name, key) DO NOTHING RETURNING key`,
            this.#values(row),
          )
        : await this.#database.query(
            'UPDATE veritee.authority SET version = $4, content = $5, mac = $6 WHERE space = $1 AND name = $2 AND key = $3 AND version = $7 RETURNING key',
            [...this.#values(row), after],
          )
    return changed.length === 1
  }

  async raise(rows: readonly AuthorityRow[]): Promise<void> {
    if (rows.length === 0) return
    // In the order of their keys, so that two processes that raise the same ones do not wait for each other.
    const sorted = [...rows].sort((a, b) => (a.key < b.key ? -1 : 1))
    await this.#database.query(
      `INSERT INTO veritee.authority AS old (space, ${columns})
       SELECT $1, name, key, version, content, mac FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[]) AS new (name, key, version, content, mac)
       ON CONFLICT (space, name, key) DO UPDATE SET version = excluded.version, content = excluded.content, mac = excluded.mac WHERE old.version < excluded.version`,
      [
        this.#space,
        sorted.map(({ table }) => table),
        sorted.map(({ key }) => key),
        sorted.map(({ version }) => version),
        sorted.map(({ content }) => Buffer.from(content)),
        sorted.map(({ mac }) => Buffer.from(mac)),
      ],
    )
  }

  async remove(table: string, keys: readonly string[]): Promise<void> {
    await this.#database.query('DELETE FROM veritee.authority WHERE space = $1 AND name = $2 AND key = ANY($3)', [this.#space, table, keys])
  }

  #values({ table, key, version, content, mac }: AuthorityRow): readonly unknown[] {
    return [this.#space, table, key, version, Buffer.from(content), Buffer.from(mac)]
  }
}

/** Null for what cannot have been written here. */
function rowOf(row: Row): AuthorityRow | null {
  const { name, key, content, mac } = row
  const version = versionOf(row)
  if (typeof name !== 'string' || typeof key !== 'string' || version === null) return null
  if (!(content instanceof Uint8Array) || !(mac instanceof Uint8Array)) return null
  return { table: name, key, version, content, mac }
}

/** The client gives a bigint as text. */
function versionOf({ version }: Row): number | null {
  const value = Number(version)
  return Number.isSafeInteger(value) ? value : null
}
