import { hash, timingSafeEqual } from 'node:crypto'
import { consistencyProof, jcs, leavesOf, toHex } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { ReceiptEvent, StreamTree, UnsignedReceipt } from 'veritee/receipt'
import type { Identity } from './identity.ts'
import { Linked, LinkedList } from './linked-list.ts'
import { drawHex } from './random.ts'
import { type DocumentKind, ReceiptArchive } from './receipts/archive.ts'
import { GroupCommit } from './receipts/group-commit.ts'
import { keyEvents } from './receipts/key-event.ts'
import { keepHead, keepViews, type LogLink, promiseEvents, type ReceiptToLog } from './receipts/log-link.ts'
import { receiptText, signedText } from './receipts/receipt-text.ts'
import { inText, type ReceiptRecord } from './receipts/record.ts'

/** What a finished exchange says of itself; the ledger adds id, chain, key and signature. */
export interface ReceiptFacts {
  readonly chatId: string | null
  readonly model: string | null
  readonly endpoint: string
  readonly events: readonly ReceiptEvent[]
  /** The tree behind a `veritee.stream` event, kept for prefix proofs. */
  readonly stream: StreamTree | null
  /** The key that went out with the answer, 32 bytes: the receipt commits to it, and content digests of the audit view are keyed with it (rule S6). Absent where there was none. */
  readonly receiptKey?: Uint8Array
  /** At a controller: the worker's receipt that this one cites. */
  readonly upstream?: UpstreamReceipt | undefined
  /** At a controller: the token counts that the worker signed; absent where there are none. For figures: no receipt has them twice. */
  readonly usage?: { readonly promptTokens: number; readonly completionTokens: number } | undefined
  /** At a controller: milliseconds from the arrival of the request to the first bytes of its stream. For figures, too. */
  readonly firstMs?: number | undefined
  /** At a controller: the session that this one cites, kept as long as it. */
  readonly session?: { readonly id: string; readonly text: string }
}

export interface UpstreamReceipt {
  /** In UTF-8. */
  readonly text: Buffer
  /** Events of the worker's stream; null where the answer was plain. */
  readonly events: number | null
  /** The worker's own prefix proof, asked of the worker: only where our events are not all of the worker's. */
  readonly prefixProof: (prefix: number) => Promise<string>
}

/** A receipt that is being written: its id goes out with the response headers, its signature comes at the end. */
export interface PendingReceipt {
  readonly id: string
  /**
   * Signs the receipt; gives the exact bytes served once it is durable. Call once, or {@link abandon}. Throws `receipt_store_unavailable` where it could not be
   * made durable: the response must then not end as if it had been. The receipt keeps its place in the chain and is tried again.
   */
  finish(facts: ReceiptFacts): Promise<Buffer>
  /** The request never came to a receipt (it was refused before it reached the model). */
  abandon(): void
}

/** Leaf hashes of a stream, one behind the other. */
interface Leaves {
  readonly leaves: Uint8Array
}

export type Lookup =
  | {
      readonly kind: 'found'
      readonly id: string
      readonly text: string
      readonly stream: Leaves | null
      readonly upstream: { readonly text: string; prefixProof(prefix: number): Promise<string | null> } | null
    }
  | { readonly kind: 'unauthorized' | 'not_found' }

export interface LedgerOptions {
  readonly identity: Identity
  readonly now: () => Date
  /** Where receipts are kept; without one, in memory. */
  readonly archive?: ReceiptArchive
  /** The report of this keyset without a nonce: kept beside its receipts, for who verifies them when the keyset is gone. */
  readonly report?: string
  /** Where every receipt promises to be logged; without one, none does. */
  readonly log?: LogLink
  /** Told of every receipt once it is signed, with the time since its request came; for figures. It must not throw. */
  readonly onReceipt?: (facts: ReceiptFacts, elapsedMs: number, id: string) => void
  /** Told, for the operator, why commits fail, and with null when they succeed again. It must not throw. */
  readonly onStore?: (failure: unknown) => void
  /** How long a lookup waits for a receipt that is still being written. */
  readonly waitMs?: number
  /** How long after a failed commit the next attempt is made. */
  readonly retryMs?: number
}

/** A receipt on its way: open, then signed, and gone from here once it is durable. */
class Entry extends Linked {
  readonly id: string
  readonly credential: string | null
  signed = false
  /** Null also where another receipt had it first. */
  chatId: string | null = null
  /** Once it is durable; null where it never will be. */
  #record: ReceiptRecord<Buffer> | null | undefined
  #waiting: ((record: ReceiptRecord<Buffer> | null) => void)[] | null = null

  constructor(id: string, credential: string | null) {
    super()
    this.id = id
    this.credential = credential
  }

  settle(record: ReceiptRecord<Buffer> | null): void {
    this.#record = record
    for (const tell of this.#waiting ?? []) tell(record)
  }

  /** Nearly nobody asks for a receipt that is on its way, so there is a promise only for who does. */
  settled(): Promise<ReceiptRecord<Buffer> | null> {
    if (this.#record !== undefined) return Promise.resolve(this.#record)
    this.#waiting ??= []
    return new Promise((resolve) => this.#waiting?.push(resolve))
  }
}

interface Signed {
  readonly entry: Entry
  readonly record: ReceiptRecord<Buffer>
  readonly session: ReceiptFacts['session']
  /** Null where nothing is logged: what waits for a commit is moved by each collection of what is young. */
  readonly toLog: ReceiptToLog | null
}

/** How often the head of the chain is logged, so that what is missing before it shows. */
const headMs = 3600_000

/** Of how many receipts it is remembered whom to ask for the rest of a worker's stream. */
const maxAsked = 1024

/**
 * The receipts of one enclave: numbered without gaps, each naming the digest of the one before, signed with the enclave's receipt key, and
 * retrievable with the credential that made the request only (aci/1 section 7.6). Counter and chain are in memory only and begin anew with each keyset
 * (rule S21); what was signed under earlier keysets is still served where the archive is durable.
 */
export class Ledger {
  readonly #options: LedgerOptions & { readonly waitMs: number }
  readonly #archive: ReceiptArchive
  /** Those that are open, and those that are signed and not yet durable, in the order of the chain. */
  readonly #open = new LinkedList<Entry>()
  readonly #signed = new LinkedList<Entry>()
  readonly #asked = new Map<string, UpstreamReceipt['prefixProof']>()
  readonly #commits: GroupCommit<Signed>
  readonly #sweep: NodeJS.Timeout
  readonly #heads: NodeJS.Timeout
  #removed = 0
  #sequence = 0
  #previous: string | null = null

  constructor(options: LedgerOptions) {
    this.#options = { ...options, waitMs: options.waitMs ?? 10_000 }
    this.#archive = options.archive ?? ReceiptArchive.inMemory()
    this.#commits = new GroupCommit({
      write: (group) => this.#write(group),
      after: () => this.#trim(this.#archive.trimInTurn(this.#seconds())),
      ...(options.onStore === undefined ? {} : { changed: options.onStore }),
      ...(options.retryMs === undefined ? {} : { retryMs: options.retryMs }),
    })
    // Receipts also grow old where nothing happens.
    this.#sweep = setInterval(() => void this.#trim(this.#archive.trim(this.#seconds())), 60_000)
    this.#sweep.unref()
    // A head that could not be kept is followed by another.
    this.#heads = setInterval(() => void this.#logHead().catch(() => undefined), headMs)
    this.#heads.unref()
  }

  /** `credential` is what the request came with (`credentialOf`), or null; only a keyed tag of it is kept. Throws `receipt_store_unavailable` while commits fail. */
  open(credential: string | null): PendingReceipt {
    if (this.#commits.failing) throw unavailable()
    const id = `rcpt-${drawHex(16)}`
    const opened = performance.now()
    const entry = new Entry(id, credential === null ? null : this.#archive.credentialTag(credential))
    this.#open.add(entry)
    return {
      id,
      finish: async (facts) => {
        const { record, toLog } = this.#sign(id, entry, facts)
        this.#options.onReceipt?.(facts, performance.now() - opened, id)
        try {
          await this.#commits.add({ entry, record, session: facts.session, toLog })
        } catch (cause) {
          throw unavailable(cause)
        }
        return record.text
      },
      abandon: () => {
        // What is signed has its place in the chain and stays.
        if (entry.signed) return
        this.#open.remove(entry)
        entry.settle(null)
      },
    }
  }

  /** A receipt by its id or its chat id. Waits a little for one that is still being written, and never gives one that is not durable. */
  async find(idOrChatId: string, credential: string | null): Promise<Lookup> {
    const own = this.#open.find(({ id }) => id === idOrChatId) ?? this.#signed.find(({ id }) => id === idOrChatId)
    const pending = own ?? this.#signed.find(({ chatId }) => chatId === idOrChatId)
    // The first receipt under a chat id keeps it, so one that is kept goes before one that is on its way.
    const kept = own !== undefined ? null : await guarded(this.#archive.find(idOrChatId, this.#seconds()))
    const owner = kept ?? pending
    if (owner === undefined) return { kind: 'not_found' }
    if (owner.credential !== null) {
      if (credential === null) return { kind: 'unauthorized' }
      if (!timingSafeEqual(Buffer.from(owner.credential), Buffer.from(this.#archive.credentialTag(credential)))) return { kind: 'not_found' }
    }
    const record = kept ?? (pending === undefined ? null : await this.#wait(pending))
    if (record === null) return { kind: 'not_found' }
    const { id, text, leaves, upstream } = record
    return {
      kind: 'found',
      id,
      text,
      stream: leaves === null ? null : { leaves },
      upstream: upstream === null ? null : { text: upstream.text, prefixProof: (prefix) => this.#upstreamProof(record, prefix) },
    }
  }

  /** What receipts that are kept cite: the report of a keyset by its digest, a session by its id. Null where no such receipt is kept. */
  document(kind: DocumentKind, name: string): Promise<string | null> {
    return guarded(this.#archive.document(kind, name))
  }

  /** True while receipts cannot be kept: no new request is taken. */
  get failing(): boolean {
    return this.#commits.failing
  }

  get size(): number {
    const { answers, refusals } = this.#archive.usage
    return answers + refusals + this.#open.length + this.#signed.length
  }

  /** For metrics, by their names. */
  get figures(): Readonly<Record<`veritee_store_${string}`, number>> {
    const { answers, refusals, documents, bytes } = this.#archive.usage
    const { commits, items, failures, seconds } = this.#commits.totals
    return {
      veritee_store_answers: answers,
      veritee_store_refusals: refusals,
      veritee_store_documents: documents,
      veritee_store_bytes: bytes,
      veritee_store_open_receipts: this.#open.length + this.#signed.length,
      veritee_store_waiting_receipts: this.#commits.waiting,
      veritee_store_failing: this.#commits.failing ? 1 : 0,
      veritee_store_signed_receipts_total: this.#sequence,
      veritee_store_commits_total: commits,
      veritee_store_committed_receipts_total: items,
      veritee_store_commit_seconds_total: seconds,
      veritee_store_commit_failures_total: failures,
      veritee_store_removed_receipts_total: this.#removed,
      veritee_store_rejected_rows_total: this.#archive.rejected,
    }
  }

  /** Commits what is signed and closes the archive. Throws what the last commit threw. */
  async close(): Promise<void> {
    try {
      await this.retire()
    } finally {
      await this.#archive.close()
    }
  }

  /** Commits what is signed; the archive goes on under another keyset. Throws what the last commit threw. */
  async retire(): Promise<void> {
    clearInterval(this.#sweep)
    clearInterval(this.#heads)
    await this.#commits.drain()
    await this.#logHead()
  }

  /** Synchronous from numbering to its place in the queue, so that no two receipts can take one place in the chain and commits follow the chain. */
  #sign(id: string, entry: Entry, facts: ReceiptFacts): { readonly record: ReceiptRecord<Buffer>; readonly toLog: ReceiptToLog | null } {
    if (entry.signed) throw new TypeError('finish: this receipt is signed already')
    const { identity } = this.#options
    const at = this.#seconds()
    const events = [...facts.events]
    if (facts.receiptKey !== undefined) events.push(...keyEvents(facts.receiptKey))
    if (this.#options.log !== undefined) events.push(...promiseEvents(this.#options.log, at))
    events.push({ type: 'veritee.chain', sequence: this.#sequence, previous: this.#previous })
    const unsigned: UnsignedReceipt = {
      api_version: 'aci/1',
      receipt_id: id,
      chat_id: facts.chatId,
      model: facts.model,
      workload_keyset_digest: identity.keysetDigest,
      endpoint: facts.endpoint,
      method: 'POST',
      served_at: at,
      event_log: events,
      key_id: identity.receiptKeyId,
    }
    const text = signedText(receiptText(unsigned), (message) => identity.signReceipt(message))
    this.#sequence++
    const digest = `sha256:${hash('sha256', text, 'hex')}`
    this.#previous = digest
    entry.signed = true
    // A chat id comes from a worker: the first receipt under it keeps it, so that no later answer takes another requester's place.
    const taken = this.#signed.find(({ chatId }) => chatId !== null && chatId === facts.chatId) !== undefined
    if (!taken) entry.chatId = facts.chatId
    this.#open.remove(entry)
    this.#signed.add(entry)
    const { upstream = null, session = null, stream } = facts
    if (upstream !== null && upstream.events !== null && upstream.events > (stream?.events ?? 0)) this.#ask(id, upstream.prefixProof)
    const record: ReceiptRecord<Buffer> = {
      id,
      chatId: facts.chatId,
      credential: entry.credential,
      at,
      refused: facts.events.some((event) => event.type === 'veritee.outcome' && event.outcome === 'refused'),
      keysetDigest: identity.keysetDigest,
      sessionId: session?.id ?? null,
      text,
      leaves: stream?.leaves ?? null,
      upstream: upstream === null ? null : { text: upstream.text, events: upstream.events },
    }
    if (this.#options.log === undefined) return { record, toLog: null }
    const viewed = { digest, keysetDigest: identity.keysetDigest, keyId: unsigned.key_id, servedAt: at, events }
    return { record, toLog: { viewed, receiptKey: facts.receiptKey ?? null } }
  }

  async #write(group: readonly Signed[]): Promise<void> {
    const { identity, report, log } = this.#options
    // First what was promised: a promise that a crash makes forgotten would be broken.
    if (log !== undefined)
      await keepViews(
        log,
        identity,
        group.map(({ toLog }) => toLog).filter((view) => view !== null),
      )
    const documents = new Map<string, string>()
    if (report !== undefined) documents.set(identity.keysetDigest, report)
    for (const { session } of group) if (session !== undefined) documents.set(session.id, session.text)
    const records = group.map(({ record }) => record)
    await this.#archive.put(records, documents)
    for (const { entry, record } of group) {
      this.#signed.remove(entry)
      entry.settle(record)
    }
  }

  async #logHead(): Promise<void> {
    const { identity, log } = this.#options
    if (log !== undefined) await keepHead(log, identity, { at: this.#seconds(), receipts: this.#sequence, last: this.#previous })
  }

  /** What fails here is tried again after the next commit, and shows in the figures as what is not removed. */
  async #trim(removal: Promise<number>): Promise<void> {
    const removed = await removal.catch(() => 0)
    this.#removed += removed
  }

  async #wait(entry: Entry): Promise<ReceiptRecord | null> {
    const { promise: late, resolve } = Promise.withResolvers<null>()
    const timer = setTimeout(() => resolve(null), this.#options.waitMs)
    const record = await Promise.race([entry.settled(), late])
    clearTimeout(timer)
    if (record === null && entry.signed) throw unavailable()
    return record === null ? null : inText(record)
  }

  #ask(id: string, prefixProof: UpstreamReceipt['prefixProof']): void {
    this.#asked.set(id, prefixProof)
    const [oldest] = this.#asked.keys()
    if (this.#asked.size > maxAsked && oldest !== undefined) this.#asked.delete(oldest)
  }

  /** Where the worker's events are among ours (the controller compared them before it signed), from ours; else the worker is asked, as long as this process lives. */
  async #upstreamProof({ id, leaves, upstream }: ReceiptRecord, prefix: number): Promise<string | null> {
    const events = upstream?.events ?? null
    if (events === null) return null
    if (leaves !== null && leaves.length >= 32 * events) return prefixProofText({ leaves: leaves.subarray(0, 32 * events) }, prefix)
    return (await this.#asked.get(id)?.(prefix)) ?? null
  }

  #seconds(): number {
    return Math.floor(this.#options.now().getTime() / 1000)
  }
}

/** The requester is told that it failed; where and why is for the operator, in the cause. */
function unavailable(cause?: unknown): Error {
  return fail('receipt_store_unavailable', 'receipts cannot be kept or read at the moment; retry later', cause)
}

async function guarded<T>(result: Promise<T>): Promise<T> {
  try {
    return await result
  } catch (cause) {
    throw unavailable(cause)
  }
}

/** The body of `GET /v1/aci/receipts/{id}?prefix=k`; null where k is no prefix of the stream. */
export async function prefixProofText(stream: Leaves | null, prefix: number): Promise<string | null> {
  const leaves = leavesOf(stream?.leaves ?? new Uint8Array(0))
  if (prefix < 1 || prefix > leaves.length) return null
  return jcs({ prefix, consistency: (await consistencyProof(leaves, prefix)).map(toHex) })
}
