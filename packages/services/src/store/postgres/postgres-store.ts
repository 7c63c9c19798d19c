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
import { Database, type PostgresOptions, type Row, type Run } from './database.ts'
import { PostgresAuthority } from './postgres-authority.ts'
import { migrate } from './schema.ts'

const kinds = { answer: 0, refusal: 1 } as const
/** Of a row beside its box, about. */
const rowBytes = 256
/** How long this process counts by itself what others change too. */
const countMs = 60_000
/** How often it looks for what grew too old. */
const agedMs = 1_000

export interface PostgresStoreOptions extends PostgresOptions {
  /** Whose rows: of one sealing key. Others in the same tables are not seen. */
  readonly space: string
  /** Of everything in this space; a put beyond a quarter more fails. */
  readonly maxBytes: number
}

/**
 * Opens a store in a PostgreSQL server, and makes its tables where they are not there yet. Any number of processes with one `space` share it. Throws what
 * {@link migrate} throws.
 */
export async function openPostgresStore(options: PostgresStoreOptions): Promise<ReceiptStore> {
  const database = new Database(options)
  try {
    await migrate(database)
    const store = new PostgresStore(database, options)
    await store.count()
    return store
  } catch (error) {
    await database.close()
    throw error
  }
}

class PostgresStore implements ReceiptStore {
  readonly authority: PostgresAuthority
  readonly #database: Database
  readonly #space: string
  readonly #maxBytes: number
  #usage = { answers: 0, refusals: 0, documents: 0, bytes: 0 }
  #countAfter = 0
  #agedAfter = 0

  constructor(database: Database, { space, maxBytes }: PostgresStoreOptions) {
    this.#database = database
    this.authority = new PostgresAuthority(database, space)
    this.#space = space
    this.#maxBytes = maxBytes
  }

  /** As of the last count, and what this process did since. */
  get usage(): StoreUsage {
    return { ...this.#usage }
  }

  async put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]> {
    if (this.#usage.bytes > this.#maxBytes * 1.25) {
      // Others may have removed some meanwhile.
      await this.count()
      if (this.#usage.bytes > this.#maxBytes * 1.25)
        throw fail('receipt_store_unavailable', 'PostgreSQL: more is kept than may be; old receipts have to go first')
    }
    const cited = [...new Set(rows.flatMap(({ keyset, session }) => (session === null ? [keyset] : [keyset, session])))].sort()
    const { added, present } = await this.#database.transaction(async (run) => {
      const made = await this.#putDocuments(run, documents)
      // Held until the commit, so that nobody removes a document for which these rows are the only citation.
      const found =
        cited.length === 0
          ? []
          : await run('SELECT key FROM veritee.documents WHERE space = $1 AND key = ANY($2) ORDER BY key FOR KEY SHARE', [this.#space, cited])
      return { added: [...made, ...(await this.#putReceipts(run, rows))], present: new Set(found.map(({ key }) => key)) }
    })
    this.#change(added, 1)
    return cited.filter((key) => !present.has(key))
  }

  async receipt(key: string): Promise<Uint8Array | null> {
    const [row] = await this.#database.query(
      `SELECT box FROM veritee.receipts WHERE space = $1 AND key = $2 AND octet_length(box) <= ${maxBoxBytes}`,
      [this.#space, key],
    )
    return blob(row?.box)
  }

  async receiptByAlias(alias: string): Promise<{ key: string; box: Uint8Array } | null> {
    const [row] = await this.#database.query(
      `SELECT key, box FROM veritee.receipts WHERE space = $1 AND alias = $2 AND octet_length(box) <= ${maxBoxBytes}`,
      [this.#space, alias],
    )
    const box = blob(row?.box)
    return box === null ? null : { key: String(row?.key), box }
  }

  async document(key: string): Promise<Uint8Array | null> {
    const [row] = await this.#database.query(
      `SELECT box FROM veritee.documents WHERE space = $1 AND key = $2 AND octet_length(box) <= ${maxBoxBytes}`,
      [this.#space, key],
    )
    return blob(row?.box)
  }

  async ofAccount(account: string, after: number, most: number, mostBytes: number): Promise<readonly AccountRow[]> {
    const rows = await this.#database.query(
      `SELECT number, key, box FROM (
         SELECT number, key, box, sum(octet_length(box)) OVER (ORDER BY number) - octet_length(box) AS before FROM (
           SELECT number, key, box FROM veritee.receipts
           WHERE space = $1 AND account = $2 AND number > $3 AND octet_length(box) <= ${maxBoxBytes} ORDER BY number LIMIT $4) AS page) AS sized
       WHERE before < $5 ORDER BY number`,
      [this.#space, account, after, most, mostBytes],
    )
    return rows.flatMap(({ number, key, box }) => (box instanceof Uint8Array ? [{ number: Number(number), key: String(key), box }] : []))
  }

  async trim(bounds: StoreBounds, now: number, most: number): Promise<Trimmed> {
    if (performance.now() >= this.#countAfter) await this.count()
    const oldest = now - bounds.maxAgeSeconds
    const surplus = Math.min(most, this.#usage.refusals - bounds.maxRefusals)
    const beyond = this.#usage.bytes > bounds.maxBytes ? most : this.#usage.answers - bounds.maxAnswers
    const expired = await this.#expired(oldest, most)
    if (surplus <= 0 && beyond <= 0 && !expired) return { receipts: 0, documents: [] }
    const { receipts, documents } = await this.#database.transaction(async (run) => {
      // Lost in a crash, these rows come back and go again: no sync is worth waiting for.
      await run('SET LOCAL synchronous_commit = off')
      const gone: Row[] = []
      const remove = async (which: string, values: readonly unknown[]): Promise<void> => {
        const ordered = `SELECT number FROM veritee.receipts WHERE space = $1 AND ${which} ORDER BY number LIMIT $2 FOR UPDATE SKIP LOCKED`
        gone.push(
          ...(await run(`DELETE FROM veritee.receipts WHERE number IN (${ordered}) RETURNING kind, keyset, session, octet_length(box) AS bytes`, [
            this.#space,
            ...values,
          ])),
        )
      }
      if (surplus > 0) await remove(`kind = ${kinds.refusal}`, [surplus])
      if (beyond > 0 && gone.length < most) await remove(`kind = ${kinds.answer}`, [Math.min(most - gone.length, beyond)])
      if (expired && gone.length < most)
        await remove(
          'at < $3 AND number <= (SELECT max(number) FROM (SELECT number FROM veritee.receipts WHERE space = $1 ORDER BY number LIMIT $2) AS first)',
          [most - gone.length, oldest],
        )
      return { receipts: gone, documents: await this.#forget(run, gone) }
    })
    this.#change(receipts, -1)
    this.#change(documents, -1)
    return { receipts: receipts.length, documents: documents.map(({ key }) => String(key)) }
  }

  /** Counts anew what is there, in which other processes have a part. */
  async count(): Promise<void> {
    this.#countAfter = performance.now() + countMs
    const rows = await this.#database.query(
      `SELECT kind, count(*) AS n, sum(octet_length(box)) AS bytes FROM veritee.receipts WHERE space = $1 GROUP BY kind
       UNION ALL SELECT NULL, count(*), sum(octet_length(box)) FROM veritee.documents WHERE space = $1`,
      [this.#space],
    )
    const usage = { answers: 0, refusals: 0, documents: 0, bytes: 0 }
    for (const { kind, n, bytes } of rows) {
      usage[nameOf(kind)] += Number(n)
      usage.bytes += Number(bytes ?? 0) + rowBytes * Number(n)
    }
    this.#usage = usage
  }

  close(): Promise<void> {
    return this.#database.close()
  }

  async #expired(oldest: number, most: number): Promise<boolean> {
    if (performance.now() < this.#agedAfter) return false
    const [row] = await this.#database.query(
      'SELECT EXISTS (SELECT 1 FROM (SELECT at FROM veritee.receipts WHERE space = $1 ORDER BY number LIMIT $2) AS first WHERE at < $3) AS found',
      [this.#space, most, oldest],
    )
    if (row?.found !== true) this.#agedAfter = performance.now() + agedMs
    return row?.found === true
  }

  /** In the order of their keys, so that two processes that put the same ones do not wait for each other. */
  async #putDocuments(run: Run, documents: readonly DocumentRow[]): Promise<readonly Row[]> {
    if (documents.length === 0) return []
    const sorted = [...documents].sort((a, b) => (a.key < b.key ? -1 : 1))
    return run(
      `INSERT INTO veritee.documents (space, key, box) SELECT $1, key, box FROM unnest($2::text[], $3::bytea[]) AS new (key, box)
       ON CONFLICT (space, key) DO NOTHING RETURNING NULL AS kind, octet_length(box) AS bytes`,
      [this.#space, sorted.map(({ key }) => key), sorted.map(({ box }) => Buffer.from(box))],
    )
  }

  async #putReceipts(run: Run, rows: readonly ReceiptRow[]): Promise<readonly Row[]> {
    if (rows.length === 0) return []
    // Within one statement no row sees the alias of another.
    const taken = new Set<string>()
    const aliases = rows.map(({ alias }) => {
      if (alias === null || taken.has(alias)) return null
      taken.add(alias)
      return alias
    })
    const columns = [
      rows.map(({ key }) => key),
      aliases,
      rows.map(({ kind }) => kinds[kind]),
      rows.map(({ at }) => at),
      rows.map(({ keyset }) => keyset),
      rows.map(({ session }) => session),
      rows.map(({ account }) => account),
      rows.map(({ box }) => Buffer.from(box)),
    ]
    return run(
      `INSERT INTO veritee.receipts (space, key, alias, kind, at, keyset, session, account, box)
       SELECT $1, key, CASE WHEN EXISTS (SELECT 1 FROM veritee.receipts AS r WHERE r.space = $1 AND r.alias = new.alias) THEN NULL ELSE alias END, kind, at, keyset, session, account, box
       FROM unnest($2::text[], $3::text[], $4::smallint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::bytea[]) WITH ORDINALITY
         AS new (key, alias, kind, at, keyset, session, account, box, place) ORDER BY place
       ON CONFLICT (space, key) DO NOTHING RETURNING kind, octet_length(box) AS bytes`,
      [this.#space, ...columns],
    )
  }

  /** Documents that nothing cites any more. Locked first, by a statement of its own: the next one then sees every row that was put under them. */
  async #forget(run: Run, gone: readonly Row[]): Promise<readonly Row[]> {
    const keys = [...new Set(gone.flatMap(({ keyset, session }) => [keyset, session]))].filter((key) => typeof key === 'string')
    if (keys.length === 0) return []
    await run('SELECT key FROM veritee.documents WHERE space = $1 AND key = ANY($2) ORDER BY key FOR UPDATE', [this.#space, keys])
    return run(
      `DELETE FROM veritee.documents AS d WHERE space = $1 AND key = ANY($2)
       AND NOT EXISTS (SELECT 1 FROM veritee.receipts AS r WHERE r.space = $1 AND r.keyset = d.key)
       AND NOT EXISTS (SELECT 1 FROM veritee.receipts AS r WHERE r.space = $1 AND r.session = d.key)
       RETURNING NULL AS kind, key, octet_length(box) AS bytes`,
      [this.#space, keys],
    )
  }

  #change(rows: readonly Row[], by: 1 | -1): void {
    for (const { kind, bytes } of rows) {
      this.#usage[nameOf(kind)] += by
      this.#usage.bytes += by * (Number(bytes) + rowBytes)
    }
  }
}

function nameOf(kind: unknown): 'answers' | 'refusals' | 'documents' {
  return kind === null ? 'documents' : kind === kinds.refusal ? 'refusals' : 'answers'
}

function blob(value: unknown): Uint8Array | null {
  return value instanceof Uint8Array ? value : null
}
