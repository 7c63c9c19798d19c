import { fail, VeriteeError } from 'veritee/errors'
import { Database, type PostgresOptions, type Row } from '../../store/postgres/database.ts'
import type { Done, EpochStore, Job, SeenReceipt, Taken } from './epoch-store.ts'
import { openValidatorTables } from './postgres-schema.ts'
import { seenReceipt, taken } from './sqlite-store.ts'

/** Records of one answer of the server. */
const page = 5_000

/**
 * The memory of one validator in a PostgreSQL database, for several processes on several machines: each takes tasks that no other one holds (`FOR UPDATE SKIP
 * LOCKED`). The tables are in the schema `veritee_validator` and are made where they are missing. They hold the seeds of epochs to come and this validator's own
 * prompts, in clear: whoever reads the database can foretell its probes, and whoever writes to it can lose its records, though not make any.
 *
 * A task is its taker's by the clock of that process. Where clocks differ by more than the lease, a task may be done twice; its first record stays.
 * Throws `validator_store_unavailable`; so does every call while the server is gone.
 */
export async function openPostgresEpochStore(options: PostgresOptions): Promise<EpochStore> {
  const database = new Database(options)
  try {
    await guarded(() => openValidatorTables(database))
    return new PostgresEpochStore(database)
  } catch (error) {
    await database.close()
    throw error
  }
}

class PostgresEpochStore implements EpochStore {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  async keep(epoch: number, name: string, text: string): Promise<string> {
    await this.#query('INSERT INTO veritee_validator.fact (epoch, name, text) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING', epoch, name, text)
    return (await this.fact(epoch, name)) ?? text
  }

  async fact(epoch: number, name: string): Promise<string | null> {
    const [row] = await this.#query('SELECT text FROM veritee_validator.fact WHERE epoch = $1 AND name = $2', epoch, name)
    return row === undefined ? null : String(row.text)
  }

  async facts(epoch: number, prefix: string): Promise<readonly { readonly name: string; readonly text: string }[]> {
    const rows = await this.#query(
      'SELECT name, text FROM veritee_validator.fact WHERE epoch = $1 AND starts_with(name, $2) ORDER BY name',
      epoch,
      prefix,
    )
    return rows.map(({ name, text }) => ({ name: String(name), text: String(text) }))
  }

  async forget(epoch: number, prefix: string): Promise<void> {
    await this.#query('DELETE FROM veritee_validator.fact WHERE epoch = $1 AND left(name, $2) = $3', epoch, prefix.length, prefix)
  }

  async epochs(): Promise<readonly number[]> {
    return (await this.#query('SELECT DISTINCT epoch FROM veritee_validator.fact ORDER BY epoch')).map(({ epoch }) => Number(epoch))
  }

  async plan(jobs: readonly Job[]): Promise<void> {
    await this.#query(
      `INSERT INTO veritee_validator.job (epoch, position, due_ms, task)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) ON CONFLICT DO NOTHING`,
      jobs.map(({ epoch }) => epoch),
      jobs.map(({ index }) => index),
      jobs.map(({ dueMs }) => dueMs),
      jobs.map(({ task }) => task),
    )
  }

  async take(epoch: number, nowMs: number, untilMs: number): Promise<Taken | null> {
    // Materialized: chosen and locked once. Where the answer is lost on its way, the task stays taken until its time is over.
    const [row] = await this.#query(
      `WITH chosen AS MATERIALIZED (SELECT epoch, position FROM veritee_validator.job
          WHERE epoch = $1 AND record IS NULL AND due_ms <= $2 AND taken_until_ms <= $2 ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED)
        UPDATE veritee_validator.job AS job SET taken_until_ms = $3 FROM chosen
        WHERE job.epoch = chosen.epoch AND job.position = chosen.position RETURNING job.epoch, job.position, job.due_ms, job.task, job.evidence`,
      epoch,
      nowMs,
      untilMs,
    )
    return row === undefined ? null : taken(row)
  }

  async postpone(epoch: number, index: number, draft: string, untilMs: number): Promise<void> {
    await this.#query(
      'UPDATE veritee_validator.job SET evidence = $3, taken_until_ms = $4 WHERE epoch = $1 AND position = $2 AND record IS NULL',
      epoch,
      index,
      draft,
      untilMs,
    )
  }

  async release(epoch: number, index: number): Promise<void> {
    await this.#query('UPDATE veritee_validator.job SET taken_until_ms = 0 WHERE epoch = $1 AND position = $2 AND record IS NULL', epoch, index)
  }

  async finish(epoch: number, index: number, { record, evidence }: Done, seen: readonly SeenReceipt[]): Promise<boolean> {
    return guarded(() =>
      this.#database.transaction(async (run) => {
        const changed = await run(
          'UPDATE veritee_validator.job SET record = $1, evidence = $2 WHERE epoch = $3 AND position = $4 AND record IS NULL RETURNING position',
          [record, evidence, epoch, index],
        )
        if (changed.length === 0) return false
        for (const { keyset, digest, sequence, previous, receipt, report } of seen)
          await run(
            `INSERT INTO veritee_validator.receipt (keyset, digest, sequence, previous, receipt, report) VALUES ($1, $2, $3, $4, $5, $6)
              ON CONFLICT DO NOTHING`,
            [keyset, digest, sequence, previous, receipt, report],
          )
        return true
      }),
    )
  }

  async open(epoch: number): Promise<number> {
    const [row] = await this.#query('SELECT count(*) AS n FROM veritee_validator.job WHERE epoch = $1 AND record IS NULL', epoch)
    return Number(row?.n ?? 0)
  }

  async records(epoch: number): Promise<readonly string[]> {
    const found: string[] = []
    for (let after = -1; ; ) {
      const rows = await this.#query(
        'SELECT position, record FROM veritee_validator.job WHERE epoch = $1 AND position > $2 AND record IS NOT NULL ORDER BY position LIMIT $3',
        epoch,
        after,
        page,
      )
      found.push(...rows.map(({ record }) => String(record)))
      if (rows.length < page) return found
      after = Number(rows.at(-1)?.position)
    }
  }

  async evidence(epoch: number, index: number): Promise<string | null> {
    const [row] = await this.#query(
      'SELECT evidence FROM veritee_validator.job WHERE epoch = $1 AND position = $2 AND record IS NOT NULL',
      epoch,
      index,
    )
    return typeof row?.evidence === 'string' ? row.evidence : null
  }

  async clearEvidence(epoch: number, from: number): Promise<void> {
    await this.#query('UPDATE veritee_validator.job SET evidence = NULL WHERE epoch = $1 AND position >= $2 AND record IS NOT NULL', epoch, from)
  }

  async rivals({
    keyset,
    sequence,
    previous,
    digest,
  }: Pick<SeenReceipt, 'keyset' | 'sequence' | 'previous' | 'digest'>): Promise<readonly SeenReceipt[]> {
    const rows = await this.#query(
      `SELECT keyset, digest, sequence, previous, receipt, report FROM veritee_validator.receipt
        WHERE keyset = $1 AND (sequence = $2 OR previous IS NOT DISTINCT FROM $3) AND digest <> $4 ORDER BY digest LIMIT 16`,
      keyset,
      sequence,
      previous,
      digest,
    )
    return rows.map(seenReceipt)
  }

  async reportOf(keyset: string): Promise<string | null> {
    const [row] = await this.#query('SELECT report FROM veritee_validator.receipt WHERE keyset = $1 ORDER BY digest LIMIT 1', keyset)
    return row === undefined ? null : String(row.report)
  }

  async close(): Promise<void> {
    await this.#database.close()
  }

  #query(text: string, ...values: readonly unknown[]): Promise<readonly Row[]> {
    return guarded(() => this.#database.query(text, values))
  }
}

/** The client of the database speaks of receipts, which are what it was made for. */
async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof VeriteeError && cause.code === 'receipt_store_unavailable') throw fail('validator_store_unavailable', cause.message, cause)
    throw cause
  }
}
