/**
 * A row that carries authority: it says who may do something. The store is not trusted with it (rule S3): content and place are authenticated by the enclave,
 * and what the enclave did not write, or has seen a newer version of, is as if absent.
 */
export interface AuthorityRow {
  readonly table: string
  readonly key: string
  readonly version: number
  readonly content: Uint8Array
  /** Over all of the above, under a key that no store sees. */
  readonly mac: Uint8Array
}

/** Bytes of the largest content. A larger one found in a store is as if absent. */
export const maxAuthorityBytes: number = 8 << 20

/** Which rows are known, by the last {@link writerLength} characters of their keys: how new the newest of them is that was seen. */
export type KnownRows = ReadonlyMap<string, number>

/** Characters of a key that say who wrote a row. */
export const writerLength = 16

/** Rows in one part of a scan, at most. */
export const partRows = 256

/** Takes one part of a scan; false: that was enough. Throws coded errors only. */
export type TakePart = (rows: readonly AuthorityRow[]) => Promise<boolean>

/** Throws as the store that it is part of. Nothing here judges a row. */
export interface AuthorityStore {
  read(table: string, key: string): Promise<AuthorityRow | null>
  /** Of one row, to see whether it is worth reading; null where there is none. */
  version(table: string, key: string): Promise<number | null>
  /** At most `most` rows whose key begins with `prefix`, in the order of their keys. */
  list(table: string, prefix: string, most: number): Promise<readonly AuthorityRow[]>
  /**
   * Rows whose key begins with `prefix`, at most `most` and in no order, without those that are no newer than what is `known` of their writers: in parts, between
   * which whatever else there is to do goes on. They are of one moment: what another process writes meanwhile at once is in them as a whole or not at all. Where
   * the store has to begin anew, parts come again.
   */
  scan(table: string, prefix: string, most: number, known: KnownRows, take: TakePart): Promise<void>
  /** Puts a row where the version there is `after` (null: where there is none), durably. False where it is not, and nothing was done. */
  replace(row: AuthorityRow, after: number | null): Promise<boolean>
  /** Puts each row that is not there, or there with a lower version. */
  raise(rows: readonly AuthorityRow[]): Promise<void>
  remove(table: string, keys: readonly string[]): Promise<void>
}
