import { fail } from 'veritee/errors'
import type { Database, Run } from '../../store/postgres/database.ts'

const version = 1

/** Names are compared byte by byte, as SQLite does. */
const tables: readonly string[] = [
  'CREATE SCHEMA veritee_validator',
  'CREATE TABLE veritee_validator.version (version integer NOT NULL)',
  `INSERT INTO veritee_validator.version (version) VALUES (${version})`,
  `CREATE TABLE veritee_validator.fact (epoch bigint NOT NULL, name text COLLATE "C" NOT NULL, text text NOT NULL, PRIMARY KEY (epoch, name))`,
  `CREATE TABLE veritee_validator.job (epoch bigint NOT NULL, position bigint NOT NULL, due_ms bigint NOT NULL, task text NOT NULL,
    taken_until_ms bigint NOT NULL DEFAULT 0, record text, evidence text, PRIMARY KEY (epoch, position))`,
  'CREATE INDEX job_open ON veritee_validator.job (epoch, position) WHERE record IS NULL',
  `CREATE TABLE veritee_validator.receipt (keyset text NOT NULL, digest text COLLATE "C" NOT NULL, sequence bigint NOT NULL, previous text,
    receipt text NOT NULL, report text NOT NULL, PRIMARY KEY (keyset, digest))`,
  'CREATE INDEX receipt_sequence ON veritee_validator.receipt (keyset, sequence)',
  'CREATE INDEX receipt_previous ON veritee_validator.receipt (keyset, previous)',
]

/** Of all processes that make these tables in one database, one at a time: "VTRV" in ASCII. */
const lock = 0x56545256

/**
 * Makes the tables of a validator where there are none, one process at a time. A server that does not sync its disk is refused: it would lose records that
 * were said to be kept. Throws `validator_store_unavailable`.
 */
export async function openValidatorTables(database: Database): Promise<void> {
  const [setting] = await database.query("SELECT current_setting('fsync') AS fsync")
  if (setting?.fsync !== 'on')
    throw fail('validator_store_unavailable', 'PostgreSQL: expected fsync = on, found a server that can lose what it has committed')
  await database.transaction(async (run) => {
    await run('SELECT pg_advisory_xact_lock($1)', [lock])
    const found = await versionOf(run)
    if (found === 0) for (const statement of tables) await run(statement)
    else if (found !== version) throw fail('validator_store_unavailable', `PostgreSQL: expected tables of version ${version}, found ${found}`)
  })
}

async function versionOf(run: Run): Promise<number> {
  const [schema] = await run("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = 'veritee_validator') AS there")
  if (schema?.there !== true) return 0
  const [row] = await run('SELECT version FROM veritee_validator.version')
  return Number(row?.version)
}
