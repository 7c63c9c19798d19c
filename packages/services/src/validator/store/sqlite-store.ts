import { chmod, mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { fail } from 'veritee/errors'
import type { Done, EpochStore, Job, SeenReceipt, Taken } from './epoch-store.ts'

const version = 1
const schema = `
CREATE TABLE fact (epoch INTEGER NOT NULL, name TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (epoch, name)) STRICT, WITHOUT ROWID;
CREATE TABLE job (epoch INTEGER NOT NULL, position INTEGER NOT NULL, due_ms INTEGER NOT NULL, task TEXT NOT NULL, taken_until_ms INTEGER NOT NULL DEFAULT 0,
  record TEXT, evidence TEXT, PRIMARY KEY (epoch, position)) STRICT;
CREATE TABLE receipt (keyset TEXT NOT NULL, digest TEXT NOT NULL, sequence INTEGER NOT NULL, previous TEXT, receipt TEXT NOT NULL, report TEXT NOT NULL,
  PRIMARY KEY (keyset, digest)) STRICT;
CREATE INDEX receipt_sequence ON receipt (keyset, sequence);
CREATE INDEX receipt_previous ON receipt (keyset, previous);
PRAGMA user_version = ${version};`

type Row = Record<string, unknown>

/**
 * Opens the file of a validator, or makes it (mode 0600): SQLite, written through to the disk with every commit. Several processes of one machine may have it
 * open. It holds the seeds of epochs to come and this validator's own prompts: whoever reads it can foretell its probes.
 * Throws `validator_store_unavailable`.
 */
export async function openSqliteEpochStore(path: string): Promise<EpochStore> {
  try {
    await mkdir(dirname(path), { recursive: true })
    const database = new DatabaseSync(path, { allowExtension: false, timeout: 10_000 })
    await chmod(path, 0o600)
    database.exec('PRAGMA trusted_schema = OFF; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    const found = Number((database.prepare('PRAGMA user_version').get() as Row).user_version)
    if (found === 0) database.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`)
    else if (found !== version) throw new Error(`expected tables of version ${version}, found ${found}`)
    return new SqliteEpochStore(database)
  } catch (cause) {
    throw fail('validator_store_unavailable', `${path}: ${cause instanceof Error ? cause.message : 'failed'}`, cause)
  }
}

class SqliteEpochStore implements EpochStore {
  readonly #database: DatabaseSync
  readonly #prepared = new Map<string, StatementSync>()

  constructor(database: DatabaseSync) {
    this.#database = database
  }

  async keep(epoch: number, name: string, text: string): Promise<string> {
    this.#run('INSERT INTO fact (epoch, name, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING', epoch, name, text)
    return (await this.fact(epoch, name)) ?? text
  }

  async fact(epoch: number, name: string): Promise<string | null> {
    const row = this.#get('SELECT text FROM fact WHERE epoch = ? AND name = ?', epoch, name)
    return row === undefined ? null : String(row.text)
  }

  async facts(epoch: number, prefix: string): Promise<readonly { readonly name: string; readonly text: string }[]> {
    const rows = this.#all('SELECT name, text FROM fact WHERE epoch = ? AND substr(name, 1, ?) = ? ORDER BY name', epoch, prefix.length, prefix)
    return rows.map(({ name, text }) => ({ name: String(name), text: String(text) }))
  }

  async forget(epoch: number, prefix: string): Promise<void> {
    this.#run('DELETE FROM fact WHERE epoch = ? AND substr(name, 1, ?) = ?', epoch, prefix.length, prefix)
  }

  async epochs(): Promise<readonly number[]> {
    return this.#all('SELECT DISTINCT epoch FROM fact ORDER BY epoch').map(({ epoch }) => Number(epoch))
  }

  async plan(jobs: readonly Job[]): Promise<void> {
    this.#atomically(() => {
      for (const { epoch, index, dueMs, task } of jobs)
        this.#run('INSERT INTO job (epoch, position, due_ms, task) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING', epoch, index, dueMs, task)
    })
  }

  async take(epoch: number, nowMs: number, untilMs: number): Promise<Taken | null> {
    const row = this.#get(
      `UPDATE job SET taken_until_ms = ? WHERE (epoch, position) = (SELECT epoch, position FROM job
        WHERE epoch = ? AND record IS NULL AND due_ms <= ? AND taken_until_ms <= ? ORDER BY position LIMIT 1)
        RETURNING epoch, position, due_ms, task, evidence`,
      untilMs,
      epoch,
      nowMs,
      nowMs,
    )
    return row === undefined ? null : taken(row)
  }

  async postpone(epoch: number, index: number, draft: string, untilMs: number): Promise<void> {
    this.#run('UPDATE job SET evidence = ?, taken_until_ms = ? WHERE epoch = ? AND position = ? AND record IS NULL', draft, untilMs, epoch, index)
  }

  async release(epoch: number, index: number): Promise<void> {
    this.#run('UPDATE job SET taken_until_ms = 0 WHERE epoch = ? AND position = ? AND record IS NULL', epoch, index)
  }

  async finish(epoch: number, index: number, { record, evidence }: Done, seen: readonly SeenReceipt[]): Promise<boolean> {
    return this.#atomically(() => {
      const changed = this.#run(
        'UPDATE job SET record = ?, evidence = ? WHERE epoch = ? AND position = ? AND record IS NULL',
        record,
        evidence,
        epoch,
        index,
      )
      if (changed === 0) return false
      for (const { keyset, digest, sequence, previous, receipt, report } of seen)
        this.#run(
          'INSERT INTO receipt (keyset, digest, sequence, previous, receipt, report) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
          keyset,
          digest,
          sequence,
          previous,
          receipt,
          report,
        )
      return true
    })
  }

  async open(epoch: number): Promise<number> {
    return Number(this.#get('SELECT count(*) AS n FROM job WHERE epoch = ? AND record IS NULL', epoch)?.n ?? 0)
  }

  async records(epoch: number): Promise<readonly string[]> {
    return this.#all('SELECT record FROM job WHERE epoch = ? AND record IS NOT NULL ORDER BY position', epoch).map(({ record }) => String(record))
  }

  async evidence(epoch: number, index: number): Promise<string | null> {
    const text = this.#get('SELECT evidence FROM job WHERE epoch = ? AND position = ? AND record IS NOT NULL', epoch, index)?.evidence
    return typeof text === 'string' ? text : null
  }

  async clearEvidence(epoch: number, from: number): Promise<void> {
    this.#run('UPDATE job SET evidence = NULL WHERE epoch = ? AND position >= ? AND record IS NOT NULL', epoch, from)
  }

  async rivals({
    keyset,
    sequence,
    previous,
    digest,
  }: Pick<SeenReceipt, 'keyset' | 'sequence' | 'previous' | 'digest'>): Promise<readonly SeenReceipt[]> {
    const rows = this.#all(
      'SELECT keyset, digest, sequence, previous, receipt, report FROM receipt WHERE keyset = ? AND (sequence = ? OR previous IS ?) AND digest <> ? ORDER BY digest LIMIT 16',
      keyset,
      sequence,
      previous,
      digest,
    )
    return rows.map(seenReceipt)
  }

  async reportOf(keyset: string): Promise<string | null> {
    const row = this.#get('SELECT report FROM receipt WHERE keyset = ? ORDER BY digest LIMIT 1', keyset)
    return row === undefined ? null : String(row.report)
  }

  async close(): Promise<void> {
    this.#database.close()
  }

  #statement(sql: string): StatementSync {
    let statement = this.#prepared.get(sql)
    if (statement === undefined) {
      statement = this.#guard(() => this.#database.prepare(sql))
      this.#prepared.set(sql, statement)
    }
    return statement
  }

  #run(sql: string, ...values: readonly (string | number | null)[]): number {
    return this.#guard(() => Number(this.#statement(sql).run(...values).changes))
  }

  #get(sql: string, ...values: readonly (string | number | null)[]): Row | undefined {
    return this.#guard(() => this.#statement(sql).get(...values))
  }

  #all(sql: string, ...values: readonly (string | number | null)[]): Row[] {
    return this.#guard(() => this.#statement(sql).all(...values))
  }

  #atomically<T>(work: () => T): T {
    this.#guard(() => this.#database.exec('BEGIN IMMEDIATE'))
    try {
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  #guard<T>(work: () => T): T {
    try {
      return work()
    } catch (cause) {
      throw fail('validator_store_unavailable', cause instanceof Error ? cause.message : 'the database failed', cause)
    }
  }
}

/** A row of tasks, of either database: a draft stands where the evidence will. */
export function taken({ epoch, position, due_ms, task, evidence }: Row): Taken {
  const draft = typeof evidence === 'string' ? evidence : null
  return { epoch: Number(epoch), index: Number(position), dueMs: Number(due_ms), task: String(task), draft }
}

/** A row of receipts, of either database. */
export function seenReceipt(row: Row): SeenReceipt {
  return {
    keyset: String(row.keyset),
    digest: String(row.digest),
    sequence: Number(row.sequence),
    previous: row.previous === null ? null : String(row.previous),
    receipt: String(row.receipt),
    report: String(row.report),
  }
}
