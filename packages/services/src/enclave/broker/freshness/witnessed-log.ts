import { equal } from 'veritee/bytes'
import { fail, VeriteeError } from 'veritee/errors'
import { type LogTrust, parseEntryBundle, tilePath, tileWidth, verifyCheckpoint } from 'veritee/log'
import type { FlooredClock } from '../../runtime/admission/clock.ts'
import { headOf, type StoreHead, type StoreIdentity } from '../store/index.ts'
import { FollowedTree } from './followed-tree.ts'
import { revocationOf } from './revocation.ts'

export interface WitnessedLogOptions {
  readonly trust: LogTrust
  /** Reads a file of the log (https://c2sp.org/tlog-tiles) below its URL, of at most so many bytes. What it gives is not trusted. */
  readonly read: (path: string, maxBytes: number) => Promise<Uint8Array>
  readonly clock: FlooredClock
  /** Milliseconds of a clock that nobody sets back. */
  readonly elapsedMs: () => number
  /** How old the checkpoint may be at a release, in seconds. */
  readonly maxAgeSeconds: number
  /** Of which store heads are looked for among the entries; none where not given. */
  readonly store?: StoreIdentity
}

const maxNoteBytes = 65_536
const maxBundleBytes = tileWidth * (2 + 0xffff)
/** Entries of the largest log that is followed. */
const maxEntries = 1 << 24

interface Held {
  readonly witnessedAt: number
  /** When it was verified here. */
  readonly sinceMs: number
}

/**
 * What a broker knows from a witnessed log (rule S11): that some time is not past, and what was revoked. It reads every entry from the first one on, since what is not read cannot be applied;
 * what it has read must hash to the root of each checkpoint, so a log that goes back or shows another history is not believed.
 */
export class WitnessedLog {
  readonly #options: WitnessedLogOptions
  #tree = FollowedTree.empty
  #revoked: ReadonlyMap<string, number> = new Map()
  #head: StoreHead | null = null
  #held: Held | null = null
  #running: Promise<void> | null = null
  #failure: string | null = null

  constructor(options: WitnessedLogOptions) {
    this.#options = options
  }

  /** The newest head of the store that the entries read so far have, each directly behind the one before; the first one of an index counts. */
  get head(): StoreHead | null {
    return this.#head
  }

  /** Why the last attempt to read the log failed; null where it did not. */
  get failure(): string | null {
    return this.#failure
  }

  /** Why nothing would be released; null where something would. */
  get stale(): string | null {
    const age = this.#age()
    const { maxAgeSeconds } = this.#options
    if (age <= maxAgeSeconds) return null
    const found = Number.isFinite(age) ? `one of ${Math.floor(age)} s ago` : 'none'
    return `expected a checkpoint with a quorum of witnesses of the last ${maxAgeSeconds} s, found ${found}`
  }

  /** Reads the newest checkpoint and the entries since the last one. One at a time; never throws: what comes of it {@link demand} says. */
  refresh(): Promise<void> {
    this.#running ??= this.#follow()
      .then(
        () => (this.#failure = null),
        (error: unknown) => (this.#failure = error instanceof VeriteeError ? error.code : 'file_unavailable'),
      )
      .then(() => {
        this.#running = null
      })
    return this.#running
  }

  /** Before a release: reads on where the checkpoint that is held has had half of its time. */
  async ready(): Promise<void> {
    if (this.#age() > this.#options.maxAgeSeconds / 2) await this.refresh()
  }

  /**
   * Throws `kbs_log_stale` unless a checkpoint is held that a quorum of witnesses has seen within the time allowed, and `kbs_resource_revoked` where an entry of the log revokes this version of the resource.
   */
  demand(resource: string, version: number): void {
    const { stale } = this
    if (stale !== null) throw fail('kbs_log_stale', stale)
    if ((this.#revoked.get(resource) ?? 0) >= version) throw fail('kbs_resource_revoked', `${resource} was revoked in the log`)
  }

  /** Seconds, by enclave time and by what has gone by here, whichever is more: a host that holds its clock still makes nothing younger. */
  #age(): number {
    if (this.#held === null) return Number.POSITIVE_INFINITY
    const { clock, elapsedMs } = this.#options
    const { witnessedAt, sinceMs } = this.#held
    return Math.max(clock.now().getTime() / 1000 - witnessedAt, (elapsedMs() - sinceMs) / 1000)
  }

  async #follow(): Promise<void> {
    const { trust, read, clock, elapsedMs, store } = this.#options
    // Before the question: an answer that is held back does not become younger by it.
    const sinceMs = elapsedMs()
    const { size, root, witnessedAt } = await verifyCheckpoint(textOf(await read('checkpoint', maxNoteBytes)), trust)
    if (size < this.#tree.size)
      throw fail('log_consistency_invalid', `expected a checkpoint of ${this.#tree.size} entries or more, found one of ${size}`)
    if (size > maxEntries) throw fail('broker_limit', `expected a log of at most ${maxEntries} entries, found ${size}`)
    let tree = this.#tree
    const revoked = new Map(this.#revoked)
    let head = this.#head
    while (tree.size < size) {
      const index = Math.floor(tree.size / tileWidth)
      const width = Math.min(tileWidth, size - index * tileWidth)
      const bundle = await read(tilePath({ level: 'entries', index, width }), maxBundleBytes)
      const entries = parseEntryBundle(bundle, width).slice(tree.size - index * tileWidth)
      for (const entry of entries) {
        const found = revocationOf(entry)
        if (found !== null) revoked.set(found.resource, Math.max(found.through, revoked.get(found.resource) ?? 0))
        const next = store === undefined ? null : headOf(entry, store)
        if (next !== null && next.index === (head?.index ?? 0) + 1) head = next
      }
      tree = await tree.grown(entries)
    }
    if (!equal(await tree.root(), root)) throw fail('log_consistency_invalid', 'the entries of the log do not hash to the root of its checkpoint')
    clock.raise(new Date(witnessedAt * 1000))
    this.#tree = tree
    this.#revoked = revoked
    this.#head = head
    // Two checkpoints may come out of order.
    if (this.#held === null || witnessedAt >= this.#held.witnessedAt) this.#held = { witnessedAt, sinceMs }
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw fail('note_malformed', 'expected UTF-8', cause)
  }
}
