import type { Socket } from 'node:net'
import pg from 'pg'
import { fail, VeriteeError } from 'veritee/errors'
import type { PostgresAddress } from './address.ts'
import { postgresFailure, retryOf } from './failure.ts'

export interface PostgresOptions {
  readonly address: PostgresAddress
  /** Asked at every connection; in no message, and not in the environment of this process unless it came from there. */
  readonly password: string | null
  /** PEM of the authorities under which the server's certificate is verified; null: those that Node knows. Used where the server is not on this machine, or where given. */
  readonly ca: string | null
  /** Connections at most. */
  readonly maxConnections?: number
}

export type Row = Readonly<Record<string, unknown>>
/** One statement within a transaction or alone. */
export type Run = (text: string, values?: readonly unknown[]) => Promise<readonly Row[]>

const connectMs = 5_000
const statementMs = 10_000
/** The server's own limit comes first; this is for a server that says nothing any more. */
const answerMs = 15_000
const maxWaiting = 256
/** Of all that the server sends to one statement: the largest page, in hex. A server that sends more is not what this client asked. */
const maxAnswerBytes = 128 << 20
const maxAttempts = 4
const firstPauseMs = 100
const maxPauseMs = 5_000

/**
 * Connections to one PostgreSQL server: bounded in number and in time, opened again with growing pauses where the server is gone (meanwhile every call fails at
 * once), TLS with a verified certificate unless the server is on this machine. Commits wait for the server's disk, whatever its default is.
 */
export class Database {
  readonly #pool: pg.Pool
  #failures = 0
  #notBefore = 0
  #failure: unknown = null
  #closed = false

  constructor({ address, password, ca, maxConnections = 4 }: PostgresOptions) {
    const { host, port, user, database, local } = address
    const ssl = local && ca === null ? false : { rejectUnauthorized: true, minVersion: 'TLSv1.2' as const, ...(ca === null ? {} : { ca }) }
    this.#pool = new pg.Pool({
      host,
      port,
      user,
      database,
      ssl,
      // All that is not said here would be taken from the environment, and a password from a file in the home directory.
      password: () => password ?? '',
      application_name: 'veritee',
      client_encoding: 'UTF8',
      options: '-c synchronous_commit=on -c search_path=pg_catalog -c client_min_messages=warning',
      statement_timeout: statementMs,
      lock_timeout: statementMs / 2,
      idle_in_transaction_session_timeout: statementMs,
      query_timeout: answerMs,
      connectionTimeoutMillis: connectMs,
      keepAlive: true,
      max: maxConnections,
      idleTimeoutMillis: 60_000,
      allowExitOnIdle: true,
    })
    // An idle connection that breaks is opened again when it is needed.
    this.#pool.on('error', () => undefined)
  }

  /** One statement, which is its own transaction. What it changes must bear to be run twice. */
  query(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    return this.#attempt((run) => run(text, values))
  }

  /** All or nothing. `run` may be called again from its beginning, also where the first commit's outcome is unknown. */
  transaction<T>(run: (run: Run) => Promise<T>): Promise<T> {
    return this.#attempt(async (query) => {
      await query('BEGIN')
      const result = await run(query)
      await query('COMMIT')
      return result
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#pool.end()
  }

  async #attempt<T>(work: (run: Run) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once(work)
      } catch (cause) {
        const retry = retryOf(cause)
        // A server that cannot be reached is left alone for a while; what broke on a connection that stood may be tried on another.
        if (retry === 'no' || attempt === maxAttempts || this.#closed || performance.now() < this.#notBefore) throw postgresFailure(cause)
      }
    }
  }

  async #once<T>(work: (run: Run) => Promise<T>): Promise<T> {
    const client = await this.#connect()
    const received = receivedBy(client)
    let broken = true
    try {
      const result = await work(async (text, values = []) => {
        received.bytes = 0
        return (await client.query<Row>(text, [...values])).rows
      })
      broken = false
      return result
    } catch (cause) {
      if (received.bytes > maxAnswerBytes) throw fail('receipt_store_unavailable', 'PostgreSQL: the server sent more than was asked for', cause)
      // A connection is used again only where the transaction is certainly over.
      if (retryOf(cause) !== 'connection')
        broken = await client.query('ROLLBACK').then(
          () => false,
          () => true,
        )
      throw cause
    } finally {
      client.release(broken)
    }
  }

  async #connect(): Promise<pg.PoolClient> {
    if (this.#closed) throw fail('receipt_store_unavailable', 'PostgreSQL: closed')
    if (performance.now() < this.#notBefore) throw this.#failure
    if (this.#pool.waitingCount >= maxWaiting) throw fail('receipt_store_unavailable', 'PostgreSQL: too many calls wait for a connection')
    try {
      const client = await this.#pool.connect()
      this.#failures = 0
      return client
    } catch (cause) {
      // Calls that waited together fail together: one failure.
      if (performance.now() >= this.#notBefore) {
        this.#notBefore = performance.now() + Math.min(firstPauseMs * 2 ** this.#failures, maxPauseMs)
        this.#failures++
      }
      this.#failure = cause instanceof VeriteeError ? cause : postgresFailure(cause)
      throw this.#failure
    }
  }
}

const counters = new WeakMap<pg.PoolClient, { bytes: number }>()

/** What a connection has received; one that receives too much for one statement is cut off. The client itself takes whatever comes. */
function receivedBy(client: pg.PoolClient): { bytes: number } {
  const known = counters.get(client)
  if (known !== undefined) return known
  const counter = { bytes: 0 }
  counters.set(client, counter)
  // What breaks while it is used is told to whoever waits for its answer; without anybody who listens it would end the process.
  client.on('error', () => undefined)
  const { connection } = client as unknown as { readonly connection: { readonly stream: Socket } }
  connection.stream.on('data', (part: Buffer) => {
    counter.bytes += part.length
    if (counter.bytes > maxAnswerBytes) connection.stream.destroy()
  })
  return counter
}
