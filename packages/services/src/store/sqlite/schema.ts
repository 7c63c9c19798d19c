import { DatabaseSync } from 'node:sqlite'

/** "VTRE" in ASCII, in the header of the file: what tells our file from any other. */
export const applicationId = 0x56545245

/**
 * The statements that make the tables, by version; `user_version` in the header says how many ran. A version is never edited once it was released: the next
 * one is added. What stands in the file must be what these very statements make, since a file that somebody else wrote could hold triggers.
 */
export const migrations: readonly (readonly string[])[] = [
  [
    `CREATE TABLE receipts (
  number INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  alias TEXT,
  kind INTEGER NOT NULL,
  at INTEGER NOT NULL,
  keyset TEXT NOT NULL,
  session TEXT,
  box BLOB NOT NULL
) STRICT`,
    'CREATE UNIQUE INDEX receipts_key ON receipts (key)',
    'CREATE UNIQUE INDEX receipts_alias ON receipts (alias) WHERE alias IS NOT NULL',
    'CREATE INDEX receipts_kind ON receipts (kind)',
    'CREATE INDEX receipts_keyset ON receipts (keyset)',
    'CREATE INDEX receipts_session ON receipts (session) WHERE session IS NOT NULL',
    `CREATE TABLE documents (
  number INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  box BLOB NOT NULL
) STRICT`,
    'CREATE UNIQUE INDEX documents_key ON documents (key)',
  ],
  [
    // Beside the receipts: a column added to a table changes the statement that stands in the file for it.
    `CREATE TABLE accounts (
  number INTEGER PRIMARY KEY,
  account TEXT NOT NULL
) STRICT`,
    'CREATE INDEX accounts_account ON accounts (account, number)',
    `CREATE TABLE authority (
  number INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  content BLOB NOT NULL,
  mac BLOB NOT NULL
) STRICT`,
    'CREATE UNIQUE INDEX authority_key ON authority (name, key)',
  ],
  [
    // Each of them dirtied pages of its own for every row. What they found is kept in memory, and read back when the file is opened.
    'DROP INDEX receipts_key',
    'DROP INDEX receipts_alias',
    'DROP INDEX receipts_kind',
    'DROP INDEX receipts_keyset',
    'DROP INDEX receipts_session',
    'CREATE INDEX receipts_refusals ON receipts (kind) WHERE kind = 1',
    // Of rows that are not in `accounts` yet.
    'ALTER TABLE receipts ADD COLUMN account TEXT',
  ],
]

/** The statements that stand in the schema of a file of this version, as {@link comparable}. */
export function tablesOf(version: number): string {
  const database = new DatabaseSync(':memory:')
  try {
    for (const statement of migrations.slice(0, version).flat()) database.exec(statement)
    return comparable(database)
  } finally {
    database.close()
  }
}

/**
 * Every statement of a schema in order, without the white space that says nothing: how SQLite writes a column that was added may change between its versions.
 * Nothing is left out, whatever its name: nobody has reason to analyse a file of ours. Of what is longer, or comes after more, than ours only that it does.
 */
export function comparable(database: DatabaseSync): string {
  const found = database.prepare('SELECT iif(octet_length(sql) < 4096, sql, NULL) AS sql FROM sqlite_schema ORDER BY rowid LIMIT 64').all()
  return found
    .map(({ sql }) =>
      String(sql)
        // What JavaScript calls white space beyond that is part of a name to SQLite.
        .replaceAll(/[ \t\n]+/g, ' ')
        .replaceAll(/ ?([(),]) ?/g, '$1'),
    )
    .join('\n')
}
