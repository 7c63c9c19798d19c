import { createHmac, createSecretKey, hash, type KeyObject, randomBytes } from 'node:crypto'
import { fail } from 'veritee/errors'
import { MemoryStore } from '../../../store/memory.ts'
import type { DocumentRow, ReceiptRow, ReceiptStore, StoreBounds, StoreUsage } from '../../../store/receipt-store.ts'
import { AuthorityRows } from '../authority.ts'
import { type SealingKey, sealingKey } from '../sealing-key.ts'
import { BoxSeal } from './box.ts'
import { KeyedNames } from './keyed-names.ts'
import { decodeRecord, encodeRecord, type ReceiptRecord } from './record.ts'

/** What is kept where nothing else is said, in a file. */
export const defaultBounds: StoreBounds = { maxAnswers: 250_000, maxRefusals: 10_000, maxAgeSeconds: 30 * 86_400, maxBytes: 1 << 30 }
/** And in memory. */
const memoryBounds: StoreBounds = { maxAnswers: 10_000, maxRefusals: 1_000, maxAgeSeconds: 30 * 86_400, maxBytes: 64 << 20 }
/** Rows removed in one go, beside a commit; and how many are put before it is time again, since few at a time cost more for each: at most a thousandth of what is kept. */
const [trimAtOnce, trimEvery] = [128, 64]
/** Of boxes that are opened in one go. */
const maxPageBytes = 16 << 20
/** Documents known to be in the store. Forgetting one costs a needless write. */
const maxKnown = 4096

export type DocumentKind = 'keyset' | 'session'

/**
 * Receipts, and the documents they cite, in a store that is not trusted (rule S3): sealed before they go in, judged when they come out. Whatever does not open
 * for the place it stands in is as if absent. Names under which rows lie are keyed too, so that who steals the store can neither ask for a receipt by its id
 * nor try API keys or prompts against it (rule S6).
 */
export class ReceiptArchive {
  readonly bounds: StoreBounds
  /** Who can read the store: see {@link SealingKey}; `memory`: it ends with the process. */
  readonly source: SealingKey['source'] | 'memory'
  /** Rows of the same store that say who may do something. */
  readonly authority: AuthorityRows
  readonly #store: ReceiptStore
  readonly #seal: BoxSeal
  readonly #names: KeyedNames
  readonly #credentials: KeyObject
  readonly #known = new Set<string>()
  /** Names under which keysets, sessions and accounts lie, by what they name. A keyset digest begins with `sha256:`, a session id does not: no name is of both kinds. */
  readonly #citedNames = new Map<string, string>()
  readonly #accountNames = new Map<string, string>()
  /** Tags by a digest of their credential under a secret of this process: nothing here outlives its request that could be used. */
  readonly #tags = new Map<string, string>()
  readonly #secret = randomBytes(32).toString('hex')
  #rejected = 0
  #untrimmed = 0

  private constructor(store: ReceiptStore, sealing: SealingKey, bounds: StoreBounds, source: ReceiptArchive['source']) {
    this.bounds = bounds
    this.source = source
    this.#store = store
    this.authority = new AuthorityRows(store.authority, sealing)
    this.#seal = new BoxSeal(sealing)
    this.#names = new KeyedNames(sealing.derive('veritee.receipts.names.v1'))
    this.#credentials = createSecretKey(sealing.derive('veritee.receipts.credentials.v1'))
  }

  /** Kept in memory only, under keys of this process. */
  static inMemory(bounds: Partial<StoreBounds> = {}): ReceiptArchive {
    return new ReceiptArchive(new MemoryStore(), sealingKey('file', randomBytes(32)), { ...memoryBounds, ...bounds }, 'memory')
  }

  /**
   * Over a store that outlives the process. The first one to use a store leaves a mark in it; throws `receipt_store_invalid` where the mark is missing from
   * a store that holds something, or does not open: it was written under another sealing key. Throws what the store throws.
   */
  static async over(store: ReceiptStore, sealing: SealingKey, bounds: Partial<StoreBounds> = {}): Promise<ReceiptArchive> {
    const archive = new ReceiptArchive(store, sealing, { ...defaultBounds, ...bounds }, sealing.source)
    // Before the mark is looked for: another process with this key may begin the same store meanwhile.
    const { answers, refusals, documents } = store.usage
    const box = await store.document(mark)
    if (box !== null ? archive.#seal.open('documents', mark, box) === null : answers + refusals + documents > 0)
      throw fail('receipt_store_invalid', 'expected receipts that were sealed under the key of this enclave; they are left as they are')
    if (box === null) await store.put([], [{ key: mark, box: archive.#seal.seal('documents', mark, new Uint8Array(0)) }])
    return archive
  }

  get usage(): StoreUsage {
    return this.#store.usage
  }

  /** Rows found that did not open: somebody else wrote them, or the medium did. */
  get rejected(): number {
    return this.#rejected
  }

  /** HMAC-SHA-256 of a credential under a key that no store sees: a stolen store cannot be searched for weak keys. */
  credentialTag(credential: string): string {
    // A hash takes a fifth of an HMAC, and the same credentials come again and again.
    return remembered(this.#tags, hash('sha256', `${this.#secret} ${credential}`), () =>
      createHmac('sha256', this.#credentials).update(credential).digest('hex'),
    )
  }

  /** Puts records and the documents they cite, all or nothing; durable when it resolves. Throws `receipt_store_unavailable`, `receipt_store_invalid`. */
  async put(records: readonly ReceiptRecord<Uint8Array>[], documents: ReadonlyMap<string, string>): Promise<void> {
    const rows: ReceiptRow[] = []
    const wanted = new Map<string, DocumentRow>()
    const cited = new Map<string, string>()
    const want = (key: string, text: string): void => {
      wanted.set(key, { key, box: this.#seal.seal('documents', key, Buffer.from(text)) })
    }
    const cite = (kind: DocumentKind, name: string): string => {
      const key = this.#cited(kind, name)
      const text = documents.get(name)
      if (text === undefined) return key
      cited.set(key, text)
      if (!this.#known.has(key) && !wanted.has(key)) want(key, text)
      return key
    }
    for (const record of records) {
      const key = this.#name('receipt', record.id)
      rows.push({
        key,
        alias: record.chatId === null ? null : this.#name('chat', record.chatId),
        kind: record.refused ? 'refusal' : 'answer',
        at: record.at,
        keyset: cite('keyset', record.keysetDigest),
        session: record.sessionId === null ? null : cite('session', record.sessionId),
        account: record.credential === null ? null : this.#account(record.credential),
        box: this.#seal.seal('receipts', key, encodeRecord(record)),
      })
    }
    const missing = await this.#store.put(rows, [...wanted.values()])
    // Others that share the store removed them with the last receipt that cited them; nobody has been told of the new ones yet.
    wanted.clear()
    for (const key of missing) {
      const text = cited.get(key)
      if (text !== undefined) want(key, text)
    }
    if (wanted.size > 0) await this.#store.put([], [...wanted.values()])
    for (const key of cited.keys()) this.#remember(key)
    this.#untrimmed += records.length
  }

  /** By receipt id or chat id; null for what is not there, is past its age, or does not open. Who may have it is the caller's question. */
  async find(idOrChatId: string, now: number): Promise<ReceiptRecord | null> {
    const key = this.#name('receipt', idOrChatId)
    const box = await this.#store.receipt(key)
    const other = box === null ? await this.#store.receiptByAlias(this.#name('chat', idOrChatId)) : { key, box }
    if (other === null) return null
    const content = this.#seal.open('receipts', other.key, other.box)
    const record = content === null ? null : decodeRecord(content)
    // The alias is a column: only the record itself says which chat id it has.
    if (record === null || (record.id !== idOrChatId && record.chatId !== idOrChatId)) {
      this.#rejected++
      return null
    }
    return record.at >= now - this.bounds.maxAgeSeconds ? record : null
  }

  /**
   * Receipts of requests made with one credential, by its tag, in the order in which they were kept: some, and after which number the next ones come, or null
   * where there were none. What does not open, or is another credential's, is left out and counted.
   */
  async ofCredential(
    tag: string,
    after: number,
    most: number,
  ): Promise<{ readonly records: readonly ReceiptRecord[]; readonly next: number | null }> {
    const rows = await this.#store.ofAccount(this.#name('account', tag), after, most, maxPageBytes)
    const records: ReceiptRecord[] = []
    for (const { key, box } of rows) {
      const content = this.#seal.open('receipts', key, box)
      const record = content === null ? null : decodeRecord(content)
      if (record === null || record.credential !== tag) this.#rejected++
      else records.push(record)
    }
    return { records, next: rows.at(-1)?.number ?? null }
  }

  /** The report of a keyset by its digest, or a session by its id, as long as a receipt that is kept cites it. */
  async document(kind: DocumentKind, name: string): Promise<string | null> {
    const key = this.#name(kind, name)
    const box = await this.#store.document(key)
    if (box === null) return null
    const content = this.#seal.open('documents', key, box)
    if (content === null) this.#rejected++
    return content?.toString('utf8') ?? null
  }

  /** Removes some of what is beyond the bounds; gives how many receipts went. */
  async trim(now: number): Promise<number> {
    this.#untrimmed = 0
    return this.#remove(this.bounds, now)
  }

  /** The same after a commit: what is only too many waits until enough was put since the last time. */
  async trimInTurn(now: number): Promise<number> {
    const due = this.#untrimmed >= Math.min(trimEvery, this.bounds.maxAnswers / 1000)
    return due ? this.trim(now) : this.#remove({ ...this.bounds, maxAnswers: Number.MAX_SAFE_INTEGER, maxRefusals: Number.MAX_SAFE_INTEGER }, now)
  }

  close(): Promise<void> {
    return this.#store.close()
  }

  async #remove(bounds: StoreBounds, now: number): Promise<number> {
    const { receipts, documents } = await this.#store.trim(bounds, now, trimAtOnce)
    for (const key of documents) this.#known.delete(key)
    return receipts
  }

  #remember(key: string): void {
    if (this.#known.has(key)) return
    this.#known.add(key)
    const [oldest] = this.#known
    if (this.#known.size > maxKnown && oldest !== undefined) this.#known.delete(oldest)
  }

  /** Of what many receipts cite: the same few names come again and again. */
  #cited(kind: DocumentKind, name: string): string {
    return remembered(this.#citedNames, name, () => this.#name(kind, name))
  }

  #account(tag: string): string {
    return remembered(this.#accountNames, tag, () => this.#name('account', tag))
  }

  #name(kind: 'receipt' | 'chat' | 'account' | DocumentKind, name: string): string {
    return this.#names.of(`${kind}\n${name}`).slice(0, 32)
  }
}

const mark = 'mark'

/** What was computed for this name before, or is now. */
function remembered(names: Map<string, string>, name: string, compute: () => string): string {
  const known = names.get(name)
  if (known !== undefined) return known
  const made = compute()
  if (names.size >= maxKnown) names.clear()
  names.set(name, made)
  return made
}
