import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { maxBoxBytes } from '../receipt-store.ts'

/** Rows whose account is not in its table yet, or still is: a thousand together dirty few pages of its index, each by itself one of its own. */
const atOnce = 1024

export interface Accounted {
  readonly number: number
  readonly key: string
  readonly box: Uint8Array
}

/**
 * Which rows are whose. The account of a new row stands in the row itself, and in memory here; the table `accounts`, which is sorted by account, gets them many
 * at a time, and loses those of rows that are gone as many at a time; until then nobody finds them, since a row that is gone has nothing to show. What was not there yet is read back from the newest
 * rows when the file is opened; what should be gone, as far as it is older than all rows, goes with the next that are written. Everything throws what SQLite throws.
 */
export class AccountRows {
  readonly #waiting = new Map<number, string>()
  /** Rows that are gone and that the table may still have. */
  #gone: number[] = []
  readonly #statements: Readonly<Record<'insert' | 'remove' | 'old' | 'page' | 'row', StatementSync>>

  constructor(database: DatabaseSync) {
    const prepare = (sql: string): StatementSync => database.prepare(sql)
    this.#statements = {
      insert: prepare('INSERT OR IGNORE INTO accounts (number, account) VALUES (?, ?)'),
      remove: prepare('DELETE FROM accounts WHERE number = ?'),
      old: prepare('DELETE FROM accounts WHERE number < (SELECT min(number) FROM receipts)'),
      page: prepare(
        `SELECT number, key, box FROM (
           SELECT number, key, box, sum(length(box)) OVER (ORDER BY number) - length(box) AS before FROM (
             SELECT r.number AS number, key, box FROM accounts AS a JOIN receipts AS r USING (number)
             WHERE a.account = ? AND a.number > ? AND length(box) <= ${maxBoxBytes} ORDER BY a.number LIMIT ?))
         WHERE before < ? ORDER BY number`,
      ),
      row: prepare(`SELECT number, key, box FROM receipts WHERE number = ? AND length(box) <= ${maxBoxBytes}`),
    }
    // A longer account, of any length, is nobody's.
    const newest =
      'SELECT number, account FROM receipts WHERE number > (SELECT ifnull(max(number), 0) FROM accounts) AND octet_length(account) <= 128'
    for (const { number, account } of prepare(newest).iterate()) this.#waiting.set(Number(number), String(account))
  }

  /** Of a row that was committed. */
  add(number: number, account: string): void {
    this.#waiting.set(number, account)
  }

  /** Of a row whose removal was committed. */
  removed(number: number): void {
    if (!this.#waiting.delete(number)) this.#gone.push(number)
  }

  /** Within a transaction: brings the table up to date where enough has changed, or for `all`. True where it did, and {@link written} is due once it is committed. */
  write(all = false): boolean {
    if (Math.max(this.#waiting.size, this.#gone.length) < (all ? 1 : atOnce)) return false
    const rows = [...this.#waiting].sort(([a, one], [b, other]) => (one < other ? -1 : one > other ? 1 : a - b))
    for (const [number, account] of rows) this.#statements.insert.run(number, account)
    for (const number of this.#gone) this.#statements.remove.run(number)
    this.#statements.old.run()
    return true
  }

  written(): void {
    this.#waiting.clear()
    this.#gone = []
  }

  /** As {@link ReceiptStore.ofAccount}. */
  page(account: string, after: number, most: number, mostBytes: number): Accounted[] {
    const found = this.#statements.page.all(account, after, most, mostBytes).flatMap(accounted)
    let bytes = found.reduce((sum, { box }) => sum + box.length, 0)
    for (const [number, whose] of this.#waiting) {
      if (found.length >= most || bytes >= mostBytes) break
      if (whose !== account || number <= after) continue
      const [row] = accounted(this.#statements.row.get(number))
      if (row === undefined) continue
      bytes += row.box.length
      found.push(row)
    }
    return found
  }
}

function accounted(row: Record<string, unknown> | undefined): Accounted[] {
  const { number, key, box } = row ?? {}
  return typeof number === 'number' && typeof key === 'string' && box instanceof Uint8Array ? [{ number, key, box }] : []
}
