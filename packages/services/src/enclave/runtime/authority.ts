import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto'
import type { AuthorityRow, AuthorityStore, KnownRows } from '../../store/authority-store.ts'
import { Floors } from './floors.ts'
import type { SealingKey } from './sealing-key.ts'

/** What a row says, once it was found genuine. */
export interface Authority {
  readonly version: number
  readonly content: string
}

/** Judged in one turn of the event loop: a millisecond or two. */
const maxAtOnce = 64

/**
 * Rows that say who may do something, in a store that is not trusted (rule S3). Each carries HMAC-SHA-256 over table, key, version and content under a key
 * that no store sees; one that fails is as if absent, and so is one that is older than what this process has seen under the same key.
 *
 * The floors are in memory: a process that starts anew takes what it finds. Whoever must know better brings a least version along ({@link read}).
 */
export class AuthorityRows {
  readonly #store: AuthorityStore
  readonly #key: KeyObject
  /** Each table has its own: rows of one cannot push out what is known of another. */
  readonly #floors = new Map<string, Floors>()
  #rejected = 0

  constructor(store: AuthorityStore, sealing: SealingKey) {
    this.#store = store
    this.#key = createSecretKey(sealing.derive('veritee.authority.mac.v1'))
  }

  /** Rows found that are not genuine, or older than what was seen. */
  get rejected(): number {
    return this.#rejected
  }

  /** The row, or null where there is none that counts. */
  async read(table: string, key: string): Promise<Authority | null> {
    const row = await this.#store.read(table, key)
    return row === null ? null : this.#judge(row, table, key)
  }

  /** Whether the store has another version than `version`. What it says proves nothing. */
  async changed(table: string, key: string, version: number): Promise<boolean> {
    return (await this.#store.version(table, key)) !== version
  }

  /** Rows whose key begins with `prefix` and that count, at most `most`. */
  async list(table: string, prefix: string, most: number): Promise<ReadonlyMap<string, Authority>> {
    const found = new Map<string, Authority>()
    for (const row of await this.#store.list(table, prefix, most)) this.#take(row, table, prefix, found)
    return found
  }

  /**
   * Rows whose key begins with `prefix` and that count, at most `most` and of one moment, a few at a time: meanwhile whatever else there is to do goes on. Without
   * those that the store says are no newer than what is `known`, which are not judged then. Ends where `take` gives false. Rows can come again.
   */
  async scan(table: string, prefix: string, most: number, known: KnownRows, take: (rows: ReadonlyMap<string, Authority>) => boolean): Promise<void> {
    await this.#store.scan(table, prefix, most, known, async (rows) => {
      for (let from = 0; from < rows.length; from += maxAtOnce) {
        await new Promise((resolve) => setImmediate(resolve))
        const found = new Map<string, Authority>()
        for (const row of rows.slice(from, from + maxAtOnce)) this.#take(row, table, prefix, found)
        if (!take(found)) return false
      }
      return true
    })
  }

  /**
   * Writes a row as version `next` in place of what the store has now, which must be what this process read, or what does not count. False where another
   * process was faster. Durable when it resolves.
   */
  async write(table: string, key: string, content: string, next: number): Promise<boolean> {
    const there = await this.#store.read(table, key)
    const genuine = there !== null && this.#genuine(there, table, key)
    if (genuine && there.version >= next) return false
    const row = this.#sealed(table, key, content, next)
    const done = await this.#store.replace(row, there?.version ?? null)
    // Where the outcome of a first attempt was unknown, the second one finds what that one wrote.
    const written = done || (await this.#store.read(table, key).then((now) => now !== null && Buffer.from(now.mac).equals(Buffer.from(row.mac))))
    if (written) this.#raise(table, key, next)
    return written
  }

  /** Writes rows that only this process writes, each where it is newer than what is there. */
  async raise(table: string, rows: readonly { readonly key: string; readonly version: number; readonly content: string }[]): Promise<void> {
    await this.#store.raise(rows.map(({ key, version, content }) => this.#sealed(table, key, content, version)))
  }

  remove(table: string, keys: readonly string[]): Promise<void> {
    return this.#store.remove(table, keys)
  }

  /** Nothing older counts from here on: another source has said how new the row is. */
  demand(table: string, key: string, version: number): void {
    this.#raise(table, key, version)
  }

  #take(row: AuthorityRow, table: string, prefix: string, found: Map<string, Authority>): void {
    const judged = this.#judge(row, table, row.key)
    if (judged !== null && row.key.startsWith(prefix)) found.set(row.key, judged)
  }

  #judge(row: AuthorityRow, table: string, key: string): Authority | null {
    const floor = this.#floors.get(table)?.of(key) ?? 0
    if (!this.#genuine(row, table, key) || row.version < floor) {
      this.#rejected++
      return null
    }
    this.#raise(table, key, row.version)
    return { version: row.version, content: Buffer.from(row.content).toString('utf8') }
  }

  #genuine(row: AuthorityRow, table: string, key: string): boolean {
    if (row.table !== table || row.key !== key || !Number.isSafeInteger(row.version) || row.mac.length !== 32) return false
    return timingSafeEqual(row.mac, this.#mac(table, key, row.version, row.content))
  }

  #sealed(table: string, key: string, text: string, version: number): AuthorityRow {
    const content = Buffer.from(text)
    return { table, key, version, content, mac: this.#mac(table, key, version, content) }
  }

  /** The first line is JSON, which holds no line break: no two rows have one text. */
  #mac(table: string, key: string, version: number, content: Uint8Array): Buffer {
    return createHmac('sha256', this.#key)
      .update(`${JSON.stringify([table, key, version])}\n`)
      .update(content)
      .digest()
  }

  #raise(table: string, key: string, version: number): void {
    const floors = this.#floors.get(table) ?? new Floors()
    this.#floors.set(table, floors)
    floors.raise(key, version)
  }
}
