import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { consistencyProof, type Json, jcs, toHex, utf8 } from 'veritee/bytes'
import type { ReceiptEvent, StreamTree, UnsignedReceipt } from 'veritee/receipt'
import type { Identity } from './identity.ts'

/** What a finished exchange says of itself; the ledger adds id, chain, key and signature. */
export interface ReceiptFacts {
  readonly chatId: string | null
  readonly model: string | null
  readonly endpoint: string
  readonly events: readonly ReceiptEvent[]
  /** The tree behind a `veritee.stream` event, kept for prefix proofs. */
  readonly stream: StreamTree | null
  /** At a controller: the worker's receipt that this one cites. */
  readonly upstream?: UpstreamReceipt
}

export interface UpstreamReceipt {
  readonly text: string
  /** The worker's own prefix proof, asked of the worker when it is wanted. */
  prefixProof(prefix: number): Promise<string>
}

/** A receipt that is being written: its id goes out with the response headers, its signature comes at the end. */
export interface PendingReceipt {
  readonly id: string
  /** Signs and keeps the receipt; gives the exact text served. Call once, or {@link abandon}. */
  finish(facts: ReceiptFacts): Promise<string>
  /** The request never came to a receipt (it was refused before it reached the model). */
  abandon(): void
}

export type Lookup =
  | {
      readonly kind: 'found'
      readonly id: string
      readonly text: string
      readonly stream: StreamTree | null
      readonly upstream: UpstreamReceipt | null
    }
  | { readonly kind: 'unauthorized' | 'not_found' }

export interface LedgerOptions {
  readonly identity: Identity
  readonly now: () => Date
  /** Receipts kept; the oldest go first. */
  readonly maxReceipts?: number
  /** Receipts of refusals kept: a refusal costs its requester nothing, and must not push out the receipts of answers. */
  readonly maxRefusals?: number
  /** Leaf hashes of streams kept over all receipts, 32 bytes each. */
  readonly maxLeaves?: number
  /** Told of every receipt once it is signed, with the time since its request came; for figures. It must not throw. */
  readonly onReceipt?: (facts: ReceiptFacts, elapsedMs: number) => void
  /** How long a lookup waits for a receipt that is still being written. */
  readonly waitMs?: number
}

interface Entry {
  readonly credential: Buffer | null
  readonly text: Promise<string | null>
  stream: StreamTree | null
  upstream: UpstreamReceipt | null
  chatId: string | null
  finished: boolean
}

/**
 * The receipts of one enclave: numbered without gaps, each naming the digest of the one before, signed with the enclave's receipt key, and
 * retrievable with the credential that made the request only (aci/1 section 7.6). In memory: they live as long as the keys that signed them.
 */
export class Ledger {
  readonly #options: Required<LedgerOptions>
  readonly #entries = new Map<string, Entry>()
  readonly #byChatId = new Map<string, string>()
  readonly #refusals = new Set<string>()
  #leaves = 0
  #sequence = 0
  #previous: string | null = null

  constructor(options: LedgerOptions) {
    this.#options = { maxReceipts: 10_000, maxRefusals: 1_000, maxLeaves: 1 << 20, waitMs: 10_000, onReceipt: () => undefined, ...options }
  }

  /** `credential` is the bearer token of the request, or null; only its digest is kept. */
  open(credential: string | null): PendingReceipt {
    const id = `rcpt-${randomBytes(16).toString('hex')}`
    const { promise, resolve } = Promise.withResolvers<string | null>()
    const opened = performance.now()
    const entry: Entry = {
      credential: credential === null ? null : digest(credential),
      text: promise,
      stream: null,
      upstream: null,
      chatId: null,
      finished: false,
    }
    this.#entries.set(id, entry)
    return {
      id,
      finish: (facts) => {
        const text = this.#sign(id, facts)
        entry.stream = facts.stream
        entry.upstream = facts.upstream ?? null
        entry.finished = true
        // A chat id comes from a worker: the first receipt under it keeps it, so that no later answer takes another requester's place.
        if (facts.chatId !== null && !this.#byChatId.has(facts.chatId)) {
          entry.chatId = facts.chatId
          this.#byChatId.set(facts.chatId, id)
        }
        this.#leaves += facts.stream?.leaves.length ?? 0
        if (facts.events.some((event) => event.type === 'veritee.outcome' && event.outcome === 'refused')) this.#refusals.add(id)
        resolve(text)
        this.#evict()
        this.#options.onReceipt(facts, performance.now() - opened)
        return Promise.resolve(text)
      },
      abandon: () => {
        // What is signed has its place in the chain and stays.
        if (entry.finished) return
        this.#entries.delete(id)
        resolve(null)
      },
    }
  }

  /** A receipt by its id or its chat id. Waits a little for one that is still being written. */
  async find(idOrChatId: string, credential: string | null): Promise<Lookup> {
    const id = this.#entries.has(idOrChatId) ? idOrChatId : (this.#byChatId.get(idOrChatId) ?? idOrChatId)
    const entry = this.#entries.get(id)
    if (entry === undefined) return { kind: 'not_found' }
    if (entry.credential !== null) {
      if (credential === null) return { kind: 'unauthorized' }
      if (!timingSafeEqual(entry.credential, digest(credential))) return { kind: 'not_found' }
    }
    const { promise: late, resolve } = Promise.withResolvers<null>()
    const timer = setTimeout(() => resolve(null), this.#options.waitMs)
    const text = await Promise.race([entry.text, late])
    clearTimeout(timer)
    return text === null ? { kind: 'not_found' } : { kind: 'found', id, text, stream: entry.stream, upstream: entry.upstream }
  }

  get size(): number {
    return this.#entries.size
  }

  /** Synchronous from numbering to signature, so that no two receipts can take one place in the chain. */
  #sign(id: string, facts: ReceiptFacts): string {
    const { identity, now } = this.#options
    const unsigned: UnsignedReceipt = {
      api_version: 'aci/1',
      receipt_id: id,
      chat_id: facts.chatId,
      model: facts.model,
      workload_keyset_digest: identity.keysetDigest,
      endpoint: facts.endpoint,
      method: 'POST',
      served_at: Math.floor(now().getTime() / 1000),
      event_log: [...facts.events, { type: 'veritee.chain', sequence: this.#sequence, previous: this.#previous }],
      key_id: identity.receiptKeyId,
    }
    const document = unsigned as unknown as { readonly [name: string]: Json }
    const text = jcs({ ...document, signature: toHex(identity.signReceipt(utf8(jcs(document)))) })
    this.#sequence++
    this.#previous = `sha256:${createHash('sha256').update(text).digest('hex')}`
    return text
  }

  #evict(): void {
    const { maxReceipts, maxRefusals, maxLeaves } = this.#options
    for (const id of this.#refusals) {
      if (this.#refusals.size <= maxRefusals) break
      this.#forget(id)
    }
    for (const [id, entry] of this.#entries) {
      if (this.#entries.size - this.#refusals.size <= maxReceipts && this.#leaves <= maxLeaves) return
      // One that is being written is bounded by its connection; without its entry, what it is about to add would never be taken away.
      if (entry.finished && !this.#refusals.has(id)) this.#forget(id)
    }
  }

  #forget(id: string): void {
    const entry = this.#entries.get(id)
    this.#entries.delete(id)
    this.#refusals.delete(id)
    this.#leaves -= entry?.stream?.leaves.length ?? 0
    if (entry !== undefined && entry.chatId !== null) this.#byChatId.delete(entry.chatId)
  }
}

function digest(credential: string): Buffer {
  return createHash('sha256').update(credential).digest()
}

/** The body of `GET /v1/aci/receipts/{id}?prefix=k`; null where k is no prefix of the stream. */
export async function prefixProofText(stream: StreamTree | null, prefix: number): Promise<string | null> {
  if (stream === null || prefix < 1 || prefix > stream.leaves.length) return null
  return jcs({ prefix, consistency: (await consistencyProof(stream.leaves, prefix)).map(toHex) })
}
