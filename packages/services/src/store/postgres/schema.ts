import { fail } from 'veritee/errors'
import type { Database, Run } from './database.ts'

/**
 * The statements that make the tables, by version; `veritee.migrations` says which ran. A version is never edited once it was released: the next one is added,
 * and there is no way back.
 *
 * A `space` is the rows of one sealing key: several enclaves with keys of their own share the tables and see nothing of each other.
 */
export const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE veritee.receipts (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  space text NOT NULL,
  key text NOT NULL,
  alias text,
  kind smallint NOT NULL,
  at bigint NOT NULL,
  keyset text NOT NULL,
  session text,
  box bytea NOT NULL
)`,
    // What is sealed does not compress.
    'ALTER TABLE veritee.receipts ALTER COLUMN box SET STORAGE EXTERNAL',
    'CREATE UNIQUE INDEX receipts_key ON veritee.receipts (space, key)',
    'CREATE UNIQUE INDEX receipts_alias ON veritee.receipts (space, alias) WHERE alias IS NOT NULL',
    'CREATE INDEX receipts_kind ON veritee.receipts (space, kind, number)',
    'CREATE INDEX receipts_order ON veritee.receipts (space, number)',
    'CREATE INDEX receipts_keyset ON veritee.receipts (space, keyset)',
    'CREATE INDEX receipts_session ON veritee.receipts (space, session) WHERE session IS NOT NULL',
    `CREATE TABLE veritee.documents (
  space text NOT NULL,
  key text NOT NULL,
  box bytea NOT NULL,
  PRIMARY KEY (space, key)
)`,
    'ALTER TABLE veritee.documents ALTER COLUMN box SET STORAGE EXTERNAL',
  ],
  [
    'ALTER TABLE veritee.receipts ADD COLUMN account text',
    'CREATE INDEX receipts_account ON veritee.receipts (space, account, number) WHERE account IS NOT NULL',
    `CREATE TABLE veritee.authority (
  space text NOT NULL,
  name text NOT NULL,
  key text NOT NULL,
  version bigint NOT NULL,
  content bytea NOT NULL,
  mac bytea NOT NULL,
  PRIMARY KEY (space, name, key)
)`,
  ],
]

/** Of all processes that make tables in one database, one at a time: "VTRE" in ASCII. */
const lock = 0x56545245

/**
 * Makes the tables of this release where they are not there yet, one process at a time. A server that does not sync its disk is refused: it would
 * acknowledge what it can lose. Throws `receipt_store_invalid` where a later release made the tables; `receipt_store_unavailable`.
 */
export async function migrate(database: Database): Promise<void> {
  const [setting] = await database.query("SELECT current_setting('fsync') AS fsync")
  if (setting?.fsync !== 'on')
    throw fail('receipt_store_unavailable', 'PostgreSQL: expected fsync = on, found a server that can lose what it has committed')
  // A user without the right to make tables may use those that are there.
  if ((await versionOf((text) => database.query(text))) === migrations.length) return
  await database.transaction(async (run) => {
    await run('SELECT pg_advisory_xact_lock($1)', [lock])
    const version = await versionOf(run)
    if (version === migrations.length) return
    await run('CREATE SCHEMA IF NOT EXISTS veritee')
    await run('CREATE TABLE IF NOT EXISTS veritee.migrations (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())')
    for (const statement of migrations.slice(version).flat()) await run(statement)
    for (let made = version + 1; made <= migrations.length; made++) await run('INSERT INTO veritee.migrations (version) VALUES ($1)', [made])
  })
}

async function versionOf(run: Run): Promise<number> {
  // Read from the catalog: a lookup by name may be answered from what this connection remembers from before it waited for the lock.
  const [table] = await run(
    "SELECT EXISTS (SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = 'veritee' AND c.relname = 'migrations') AS there",
  )
  if (table?.there !== true) return 0
  const [row] = await run('SELECT coalesce(max(version), 0) AS version FROM veritee.migrations')
  const version = Number(row?.version)
  if (!Number.isSafeInteger(version) || version > migrations.length)
    throw fail(
      'receipt_store_invalid',
      `PostgreSQL: expected tables of version ${migrations.length} or an earlier one, found ${version}: a later release made them`,
    )
  return version
}
