import type { AuthorityStore } from './authority-store.ts'

/**
 * Where receipts are kept. A store is not trusted (rule S3): it may lose, restore, reorder or invent rows, and it never sees a key. What it keeps are
 * boxes that only the enclave opens, under names that mean nothing to it; the columns beside a box serve search and retention and prove nothing.
 */
export interface ReceiptRow {
  /** 32 hex digits, chosen by the enclave; unique. */
  readonly key: string
  /** A second name. Where another row has it already, the row is kept without it. */
  readonly alias: string | null
  readonly kind: 'answer' | 'refusal'
  /** Unix seconds. */
  readonly at: number
  /** Keys of the documents that must be kept as long as this row. */
  readonly keyset: string
  readonly session: string | null
  /** Whose request it was, by a name that means nothing to the store; null: nobody's. */
  readonly account: string | null
  readonly box: Uint8Array
}

export interface AccountRow {
  /** Grows with every row put; not without gaps. */
  readonly number: number
  readonly key: string
  readonly box: Uint8Array
}

/** A keyset's report, or a session: many receipts cite one. */
export interface DocumentRow {
  readonly key: string
  readonly box: Uint8Array
}

/** How much is kept. The oldest go first; refusals cost their requester nothing, and are counted apart so that they cannot push out answers. */
export interface StoreBounds {
  readonly maxAnswers: number
  readonly maxRefusals: number
  readonly maxAgeSeconds: number
  /** Of everything together, as the store counts it. */
  readonly maxBytes: number
}

export interface StoreUsage {
  readonly answers: number
  readonly refusals: number
  readonly documents: number
  readonly bytes: number
}

export interface Trimmed {
  readonly receipts: number
  /** Keys of documents that nothing cites any more and that went too. */
  readonly documents: readonly string[]
}

/** Bytes of the largest box: the leaves of the longest stream, two receipts, and room. A larger one found in a store is as if absent. */
export const maxBoxBytes: number = 6 << 20

/**
 * One interface for every store; `test/store/conformance.ts` is what each must pass. Everything throws `receipt_store_unavailable` where the store cannot
 * do its work now, and `receipt_store_invalid` where its content is not what it can be.
 */
export interface ReceiptStore {
  readonly usage: StoreUsage
  /**
   * All rows and documents in one transaction, in this order; when it resolves they survive a crash of the process and of the machine. On failure none is there.
   * What is there under the same key already stays as it is, so that a transaction whose outcome is unknown can be put again.
   *
   * Gives the keys of documents that the rows cite and that are not there: another process that shares the store, or whoever owns it, has removed them.
   */
  put(rows: readonly ReceiptRow[], documents: readonly DocumentRow[]): Promise<readonly string[]>
  receipt(key: string): Promise<Uint8Array | null>
  receiptByAlias(alias: string): Promise<{ readonly key: string; readonly box: Uint8Array } | null>
  document(key: string): Promise<Uint8Array | null>
  /**
   * Rows of one account, in the order in which they were put, after the one with number `after`: at most `most`, and none that begins beyond `mostBytes` of boxes.
   * None where there are no more.
   */
  ofAccount(account: string, after: number, most: number, mostBytes: number): Promise<readonly AccountRow[]>
  /** Rows that say who may do something. */
  readonly authority: AuthorityStore
  /** Removes at most `most` rows beyond the bounds, the oldest of each kind first. Need not survive a crash: what comes back is removed again. */
  trim(bounds: StoreBounds, now: number, most: number): Promise<Trimmed>
  close(): Promise<void>
}
