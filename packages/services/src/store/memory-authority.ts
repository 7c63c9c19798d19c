import {
  type AuthorityRow,
  type AuthorityStore,
  type KnownRows,
  maxAuthorityBytes,
  partRows,
  type TakePart,
  writerLength,
} from './authority-store.ts'

/** Rows of authority that end with their process. */
export class MemoryAuthority implements AuthorityStore {
  readonly #rows = new Map<string, AuthorityRow>()

  read(table: string, key: string): Promise<AuthorityRow | null> {
    const row = this.#rows.get(nameOf(table, key))
    return Promise.resolve(row === undefined || row.content.length > maxAuthorityBytes ? null : row)
  }

  version(table: string, key: string): Promise<number | null> {
    return Promise.resolve(this.#rows.get(nameOf(table, key))?.version ?? null)
  }

  list(table: string, prefix: string, most: number): Promise<readonly AuthorityRow[]> {
    const found = this.#all(table, prefix)
    return Promise.resolve(found.sort((a, b) => (a.key < b.key ? -1 : 1)).slice(0, most))
  }

  async scan(table: string, prefix: string, most: number, known: KnownRows, take: TakePart): Promise<void> {
    const isNew = (row: AuthorityRow): boolean => row.version > (known.get(row.key.slice(-writerLength)) ?? Number.NEGATIVE_INFINITY)
    const found = this.#all(table, prefix).filter(isNew).slice(0, most)
    for (let from = 0; from < found.length && (await take(found.slice(from, from + partRows))); from += partRows)
      await new Promise((resolve) => setImmediate(resolve))
  }

  replace(row: AuthorityRow, after: number | null): Promise<boolean> {
    const name = nameOf(row.table, row.key)
    if ((this.#rows.get(name)?.version ?? null) !== after) return Promise.resolve(false)
    this.#rows.set(name, row)
    return Promise.resolve(true)
  }

  raise(rows: readonly AuthorityRow[]): Promise<void> {
    for (const row of rows) {
      const name = nameOf(row.table, row.key)
      const before = this.#rows.get(name)
      if (before === undefined || before.version < row.version) this.#rows.set(name, row)
    }
    return Promise.resolve()
  }

  remove(table: string, keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#rows.delete(nameOf(table, key))
    return Promise.resolve()
  }

  #all(table: string, prefix: string): AuthorityRow[] {
    return [...this.#rows.values()].filter((row) => row.table === table && row.key.startsWith(prefix))
  }
}

function nameOf(table: string, key: string): string {
  return `${table}\n${key}`
}
