import { constants, lstat, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { fail } from 'veritee/errors'
import { sqliteFailure } from './failure.ts'
import { applicationId, comparable, migrations, tablesOf } from './schema.ts'

/** Of new files. Rows of some KB fill four times as many pages of 4 KB, and each is a call to the kernel, twice: into the log, and from there into the file. */
const pageBytes = 16_384
/** Of the log, which is written over from its beginning and not cut as long as it stays below the limit: what is there already need not be allocated. */
const [logLimit, logBytes] = [8 << 20, 7 << 20]
const headerBytes = 100
const magic = Buffer.from('SQLite format 3\0')

/**
 * Opens the file, or makes it where there is none (mode 0600, synced with its folder). One process has it: a second one is refused. A file that is not ours,
 * is damaged, of a later version, or whose tables are not exactly ours is left as it is, and is `receipt_store_invalid`; nothing is ever begun anew in its place.
 * An empty file counts as none: a crash while it was made leaves that. Throws `receipt_store_unavailable` too.
 */
export async function openDatabase(path: string, maxBytes: number): Promise<DatabaseSync> {
  try {
    await prepareFile(path)
    const database = new DatabaseSync(path, { allowExtension: false })
    try {
      database.exec(`PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA page_size = ${pageBytes}`)
      checkOurs(database, path)
      database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = ${logLimit}`)
      migrate(database, path)
      // What no bound on rows can: a commit beyond this fails, whatever became of the removal of old rows.
      const pageSize = pragma(database, 'page_size')
      database.exec(
        `PRAGMA max_page_count = ${Math.ceil((maxBytes * 1.25 + 262_144) / pageSize)}; PRAGMA wal_autocheckpoint = ${Math.floor(logBytes / pageSize)}`,
      )
      return database
    } catch (error) {
      database.close()
      throw error
    }
  } catch (cause) {
    throw sqliteFailure(path, cause)
  }
}

/** The value of a pragma that is a number. */
export function pragma(database: DatabaseSync, name: string): number {
  return Number(Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0])
}

async function prepareFile(path: string): Promise<void> {
  const made = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') return null
    throw error
  })
  if (made !== null) {
    await made.sync()
    await made.close()
    const folder = await open(dirname(path), constants.O_RDONLY)
    await folder.sync()
    await folder.close()
    return
  }
  if (!(await lstat(path)).isFile()) throw fail('receipt_store_invalid', `expected ${path} to be a file`)
  const file = await open(path, constants.O_RDONLY)
  try {
    const header = Buffer.alloc(headerBytes)
    const { bytesRead } = await file.read(header, 0, headerBytes, 0)
    const id = header.readUInt32BE(68)
    // The number is 0 until the first tables are there.
    if (bytesRead > 0 && (bytesRead < headerBytes || !header.subarray(0, 16).equals(magic) || (id !== 0 && id !== applicationId)))
      throw fail('receipt_store_invalid', `expected a file of receipts in ${path}, found another one; it is left as it is`)
  } finally {
    await file.close()
  }
}

function checkOurs(database: DatabaseSync, path: string): void {
  const version = pragma(database, 'user_version')
  const found = comparable(database)
  const fresh = version === 0 && pragma(database, 'application_id') === 0 && found === ''
  if (!fresh) checkTables(database, path, version, found)
  // Only now: it computes what tables check, of whoever made them.
  const check = Object.values(database.prepare('PRAGMA quick_check(1)').get() ?? {})[0]
  if (check !== 'ok')
    throw fail('receipt_store_invalid', `expected an undamaged file in ${path}; it is left as it is. Move it away to begin a new one`)
}

function checkTables(database: DatabaseSync, path: string, version: number, found: string): void {
  if (pragma(database, 'application_id') !== applicationId || version < 1)
    throw fail('receipt_store_invalid', `expected a file of receipts in ${path}, found another database; it is left as it is`)
  if (version > migrations.length)
    throw fail(
      'receipt_store_invalid',
      `expected version ${migrations.length} or an earlier one in ${path}, found ${version}: a later release wrote it`,
    )
  if (found !== tablesOf(version))
    throw fail('receipt_store_invalid', `expected the tables of version ${version} and nothing else in ${path}, found others`)
}

function migrate(database: DatabaseSync, path: string): void {
  const version = pragma(database, 'user_version')
  if (version === migrations.length) return
  database.exec('BEGIN IMMEDIATE')
  for (const statement of migrations.slice(version).flat()) database.exec(statement)
  database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${migrations.length}; COMMIT`)
  // Into the file itself, where the next opening looks before it touches anything.
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  if (pragma(database, 'user_version') !== migrations.length) throw fail('receipt_store_unavailable', `the tables could not be made in ${path}`)
}
