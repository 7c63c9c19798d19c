import { type ErrorCode, fail, VeriteeError } from 'veritee/errors'
import { type BrokerStore, headEntry, nextHead, type StoreHead } from '../store/index.ts'
import type { WitnessedLog } from './witnessed-log.ts'

export interface LoggedStoreOptions {
  readonly store: BrokerStore
  readonly log: WitnessedLog
  /** Has the log add an entry. What it answers is not trusted: the entry is looked for. */
  readonly submit: (entry: Uint8Array) => Promise<void>
  /** Between two looks whether the log shows an entry. Default half a second. */
  readonly lookMs?: number
  /** How often is looked. Default 40 times: whoever waits for a change may wait for two heads. */
  readonly looks?: number
}

/**
 * Ties a store to a witnessed log, so that a host cannot put an older one in its place (rule S11). The store remembers its newest head, one at a time: a head is written to the disk, then added to
 * the log, and the next one only once the log shows it. Of the entries of this store the log's own order decides: the first one of each index counts, and only behind the one before it.
 *
 * A process releases nothing before the log shows a head that this process drew, directly behind the one that its store remembers. Such a log is of now, whatever clock, checkpoint and store the
 * host has brought from the past; and where another head stands there, this store is not the newest, or a second broker runs on a copy of it.
 */
export class LoggedStore {
  readonly #options: LoggedStoreOptions
  /** A head that was drawn by this process is in the log. */
  #current = false
  #failure: ErrorCode | null = null
  #rolledBack: VeriteeError | null = null
  #running: Promise<void> = Promise.resolve()
  #waiting: Promise<void> | null = null
  #closed = false
  /** Lines of the trail that the newest head is behind. */
  #covered = 0

  constructor(options: LoggedStoreOptions) {
    this.#options = options
  }

  /** Why nothing would be released; null where something would. */
  get reason(): string | null {
    const error = this.#refusal()
    return error === null ? null : `${error.message}; the last attempt: ${this.#failure ?? 'none'}`
  }

  /** Throws `broker_store_rolled_back` where the log shows that this store is not the newest, and `kbs_log_stale` where it does not show yet that it is. */
  demand(): void {
    const error = this.#refusal()
    if (error !== null) throw error
  }

  /**
   * Resolves once the log shows a head of the store as it is now, or later. Whoever asks while one is being added waits for the one after it.
   * Throws as {@link demand}, and what the store throws.
   */
  advance(): Promise<void> {
    this.#waiting ??= this.#running.then(() => {
      this.#waiting = null
      const written = this.#write()
      this.#running = written.catch(() => undefined)
      return written
    })
    return this.#waiting
  }

  /** Resolves when a first head that is being added has come to an end, well or not. Never throws. */
  async ready(): Promise<void> {
    if (!this.#current) await this.#running
  }

  /** Nothing is added any more; what waits for the log ends. */
  close(): void {
    this.#closed = true
  }

  /** From time to time: the first head of this process where there is none yet, and one for what was added to the trail. Never throws. */
  async follow(): Promise<void> {
    if (this.#rolledBack !== null || (this.#current && this.#covered === this.#options.store.state.seq)) return
    await this.advance().catch(() => undefined)
  }

  async #write(): Promise<void> {
    const { store } = this.#options
    try {
      // What an earlier attempt, or an earlier process, may have left.
      await this.#confirm(store.state.head)
      let covered = 0
      const { head } = await store.commit((state) => {
        covered = state.seq
        return { ...state, head: nextHead(state.head) }
      })
      await this.#confirm(head)
      this.#current = true
      this.#covered = covered
      this.#failure = null
    } catch (error) {
      this.#failure = error instanceof VeriteeError ? error.code : 'file_unavailable'
      throw error
    }
  }

  /** Resolves when the log shows this head, the newest that the store remembers. */
  async #confirm(head: StoreHead | null): Promise<void> {
    const { store, log, submit, lookMs = 500, looks = 40 } = this.#options
    let submitted = false
    for (let look = 0; look < looks && !this.#closed; look++) {
      await log.refresh()
      if (this.#rolledBack !== null) throw this.#rolledBack
      const refusal = this.#behind()
      if (refusal !== null) throw refusal
      if (head === null || log.head?.index === head.index) return
      if (submitted) await new Promise<void>((resolve) => setTimeout(resolve, lookMs).unref())
      else await submit(headEntry(store.identity, head))
      submitted = true
    }
    throw fail('kbs_log_stale', `the log does not show head ${head?.index ?? 0} of the store, which was added to it`)
  }

  #refusal(): VeriteeError | null {
    const behind = this.#behind()
    if (behind !== null) return behind
    return this.#current ? null : fail('kbs_log_stale', 'the log does not show yet that the store is the newest')
  }

  /** For good: a log takes nothing back. */
  #behind(): VeriteeError | null {
    const { store, log } = this.#options
    const [own, logged] = [store.state.head, log.head]
    const same = logged === null || (own !== null && (logged.index < own.index || (logged.index === own.index && logged.nonce === own.nonce)))
    if (!same)
      this.#rolledBack ??= fail(
        'broker_store_rolled_back',
        `the log knows head ${logged.index} of this store, which has come to ${own?.index ?? 0}: it was put back, or another broker runs on a copy of it`,
      )
    return this.#rolledBack
  }
}
