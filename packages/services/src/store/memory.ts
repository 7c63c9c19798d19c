import { MemoryAuthority } from './memory-authority.ts'
import {
  type AccountRow,
  type DocumentRow,
  maxBoxBytes,
  type ReceiptRow,
  type ReceiptStore,
  type StoreBounds,
  type StoreUsage,
  type Trimmed,
} from './receipt-store.ts'

/** A store that ends with its process: for services that are not asked to keep anything, and for tests. */
export class MemoryStore implements ReceiptStore {
  readonly #rows = { answer: new Map<string, ReceiptRow>(), refusal: new Map<string, ReceiptRow>() }
  readonly #aliases = new Map<string, string>()
  readonly #documents = new Map<string, Uint8Array>()
  /** How many rows cite a document, which may come after them. */
  readonly #cited = new Map<string, number>()
  readonly authority = new MemoryAuthority()
  readonly #numbers = new Map<string, number>()
  #bytes = 0
  #number = 0

  get usage(): StoreUsage {
    return { answers: this.#rows.answer.size, refusals: this.#rows.refusal.size, documents: this.#documents.size, bytes: this.#bytes }
  }

  put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]> {
    for (const { key, box } of documents) {
      if (this.#documents.has(key)) continue
      this.#documents.set(key, box)
      this.#bytes += box.length
    }
    for (const row of rows) {
      if (this.#numbers.has(row.key)) continue
      this.#rows[row.kind].set(row.key, row)
      this.#numbers.set(row.key, ++this.#number)
      this.#bytes += row.box.length
      if (row.alias !== null && !this.#aliases.has(row.alias)) this.#aliases.set(row.alias, row.key)
      for (const key of citedBy(row)) this.#cited.set(key, (this.#cited.get(key) ?? 0) + 1)
    }
    return Promise.resolve([...new Set(rows.flatMap(citedBy))].filter((key) => !this.#documents.has(key)))
  }

  receipt(key: string): Promise<Uint8Array | null> {
    return Promise.resolve(this.#row(key)?.box ?? null)
  }

  receiptByAlias(alias: string): Promise<{ key: string; box: Uint8Array } | null> {
    const key = this.#aliases.get(alias)
    const row = key === undefined ? undefined : this.#row(key)
    return Promise.resolve(row === undefined ? null : { key: row.key, box: row.box })
  }

  document(key: string): Promise<Uint8Array | null> {
    return Promise.resolve(this.#documents.get(key) ?? null)
  }

  ofAccount(account: string, after: number, most: number, mostBytes: number): Promise<readonly AccountRow[]> {
    const rows = [...this.#rows.answer.values(), ...this.#rows.refusal.values()].filter(
      (row) => row.account === account && row.box.length <= maxBoxBytes,
    )
    const numbered = rows.map(({ key, box }) => ({ number: this.#numbers.get(key) ?? 0, key, box })).filter(({ number }) => number > after)
    let bytes = 0
    const page = numbered.sort((a, b) => a.number - b.number).slice(0, most)
    return Promise.resolve(
      page.filter(({ box }) => {
        bytes += box.length
        return bytes - box.length < mostBytes
      }),
    )
  }

  trim(bounds: StoreBounds, now: number, most: number): Promise<Trimmed> {
    let receipts = 0
    const documents: string[] = []
    const oldest = now - bounds.maxAgeSeconds
    for (const [kind, limit] of [
      ['refusal', bounds.maxRefusals],
      ['answer', bounds.maxAnswers],
    ] as const) {
      const rows = this.#rows[kind]
      for (const row of rows.values()) {
        if (receipts >= most) break
        if (rows.size <= limit && row.at >= oldest && this.#bytes <= bounds.maxBytes) break
        documents.push(...this.#remove(row))
        receipts++
      }
    }
    return Promise.resolve({ receipts, documents })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #row(key: string): ReceiptRow | undefined {
    const row = this.#rows.answer.get(key) ?? this.#rows.refusal.get(key)
    return row !== undefined && row.box.length <= maxBoxBytes ? row : undefined
  }

  #remove(row: ReceiptRow): string[] {
    this.#rows[row.kind].delete(row.key)
    this.#numbers.delete(row.key)
    this.#bytes -= row.box.length
    if (row.alias !== null && this.#aliases.get(row.alias) === row.key) this.#aliases.delete(row.alias)
    return citedBy(row).filter((key) => this.#release(key))
  }

  /** One row fewer cites it. True where the document went with its last citation. */
  #release(key: string): boolean {
    const left = (this.#cited.get(key) ?? 0) - 1
    if (left > 0) {
      this.#cited.set(key, left)
      return false
    }
    this.#cited.delete(key)
    this.#bytes -= this.#documents.get(key)?.length ?? 0
    return this.#documents.delete(key)
  }
}

function citedBy({ keyset, session }: ReceiptRow): string[] {
  return session === null ? [keyset] : [keyset, session]
}
