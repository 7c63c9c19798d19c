import { type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import { fail } from 'veritee/errors'
import type { AuthorityRows } from '../../enclave/runtime/authority.ts'
import { Rounds } from '../rounds.ts'
import { type ApiKey, maxKeys, newKey, newKeyId, parseApiKey, type Wanted } from './api-key.ts'

export interface KeyRingOptions {
  readonly rows: AuthorityRows
  /** The tag of a credential, as receipts have it: the same, so that receipts of a key can be found. */
  readonly tagOf: (credential: string) => string
  readonly now: () => Date
  /** An older list than this does not count, whatever the store has. */
  readonly minimumVersion: number
  /** How often it is looked whether another replica has changed the list. */
  readonly everyMs?: number
  /** How long the list counts when the store does not answer. */
  readonly staleMs?: number
  /** How long it counts when another replica knows of a newer one. */
  readonly graceMs?: number
  /** Told, for the operator, once for each state: what is wrong with the list, and null when it is well. */
  readonly report?: (problem: string | null) => void
}

const table = 'keys'
const row = 'all'
const limits = { maxLength: 8 << 20, maxDepth: 8 }
const shape = new Shape('malformed_document')
const maxAttempts = 8
const longRevokedSeconds = 30 * 86_400

/**
 * The API keys of a controller: one list, one row with one version. So a store can hide the whole list, which admits nobody, or show an older one, which does
 * not count; it cannot bring back a single key (rule S3). It is held in memory, and every replica reads it again within {@link KeyRingOptions.everyMs} of a
 * change.
 */
export class KeyRing {
  readonly #options: KeyRingOptions
  #version = 0
  #byTag: ReadonlyMap<string, ApiKey> = new Map()
  #readAt = 0
  #problem: string | null = null
  /** What another replica has said of the list: that there is one of that version, and when it was said. */
  #demanded = { version: 0, at: 0 }
  readonly #readings: Rounds

  private constructor(options: KeyRingOptions) {
    this.#options = options
    this.#readings = new Rounds(() => this.#refresh(), options.everyMs ?? 1_000)
  }

  /** Reads the list. Throws what the store throws; a list that is not there, is not genuine or too old is an empty one. */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    options.rows.demand(table, row, options.minimumVersion)
    const ring = new KeyRing(options)
    try {
      await ring.refresh()
      return ring
    } catch (error) {
      ring.close()
      throw error
    }
  }

  /**
   * There is a list of at least that version, as somebody says who does not have it from the store: an older one counts for {@link KeyRingOptions.graceMs}, until the newer one was read, and
   * then not at all.
   */
  demand(version: number): void {
    if (version <= Math.max(this.#version, this.#demanded.version)) return
    this.#options.rows.demand(table, row, version)
    // Since the first that was not met: later ones give no time.
    this.#demanded = { version, at: this.#demanded.version > this.#version ? this.#demanded.at : performance.now() }
  }

  /** The highest version known to be there. */
  get newest(): number {
    return Math.max(this.#version, this.#demanded.version, this.#options.minimumVersion)
  }

  /** Of the list in force; what an operator notes to demand it at the next start. */
  get version(): number {
    return this.#version
  }

  get keys(): readonly ApiKey[] {
    return [...this.#byTag.values()]
  }

  /** Why the list in force may not be the newest, for readiness; null where all is well. */
  get problem(): string | null {
    return this.#problem
  }

  /**
   * The key of a credential, revoked and expired ones too; undefined for what is none. The tag is keyed, so that what is looked up says nothing of how near
   * a guess was. Throws `api_keys_stale` where the store has not answered for too long.
   */
  find(credential: string): ApiKey | undefined {
    this.#demandFresh()
    return this.#byTag.get(this.#options.tagOf(credential))
  }

  /** A key that was found before, as it is now. Throws as {@link find}. */
  again({ tag }: ApiKey): ApiKey | undefined {
    this.#demandFresh()
    return this.#byTag.get(tag)
  }

  /** A new key; its text is given once and kept nowhere. Throws `api_keys_full`, `api_keys_busy` and what the store throws. */
  async create(wanted: Wanted): Promise<{ readonly key: string; readonly record: ApiKey }> {
    const key = newKey()
    const record: ApiKey = { id: newKeyId(), tag: this.#options.tagOf(key), ...wanted, created: this.#seconds(), revoked: null }
    await this.#change((keys) => {
      if (keys.length >= maxKeys) throw fail('api_keys_full', `expected at most ${maxKeys} keys; revoke some`)
      return [...keys, record]
    })
    return { key, record }
  }

  /** From here on in this process, and within {@link KeyRingOptions.everyMs} in every other that shares the store. Throws `api_key_unknown` too. */
  async revoke(id: string): Promise<ApiKey> {
    const changed = await this.#change((keys) => keys.map((key) => (key.id === id ? { ...key, revoked: key.revoked ?? this.#seconds() } : key)))
    const record = changed.find((key) => key.id === id)
    if (record === undefined) throw fail('api_key_unknown', `no key ${id}`)
    return record
  }

  /** Other limits for a key, as fast as {@link revoke}. Throws `api_key_unknown` too. */
  async limit(id: string, limits: ApiKey['limits']): Promise<ApiKey> {
    const changed = await this.#change((keys) => keys.map((key) => (key.id === id ? { ...key, limits } : key)))
    const record = changed.find((key) => key.id === id)
    if (record === undefined) throw fail('api_key_unknown', `no key ${id}`)
    return record
  }

  /** Reads the list again where the store has another version. Throws what the store throws. */
  refresh(): Promise<void> {
    return this.#readings.now()
  }

  close(): void {
    this.#readings.stop()
  }

  async #refresh(): Promise<void> {
    const { rows } = this.#options
    try {
      if (this.#readAt > 0 && this.#problem === null && this.#version >= this.newest && !(await rows.changed(table, row, this.#version))) {
        this.#readAt = performance.now()
        return
      }
      const read = await rows.read(table, row)
      this.#readAt = performance.now()
      if (read !== null && read.version >= this.#version) return this.#adopt(read.version, parseList(read.content))
      const none = this.newest === 0
      // What this process has read or written is newer than what the store has now, and genuine: it stays in force.
      this.#say(none ? null : `the store has no list of API keys of version ${this.newest} or later: it was rolled back or changed`)
    } catch (error) {
      this.#say('the list of API keys cannot be read')
      throw error
    }
  }

  async #change(change: (keys: readonly ApiKey[]) => readonly ApiKey[]): Promise<readonly ApiKey[]> {
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      await this.refresh()
      const version = this.newest + 1
      const gone = this.#seconds() - longRevokedSeconds
      const keys = change(this.keys.filter(({ revoked, expires }) => (revoked ?? gone) >= gone && (expires ?? gone) >= gone))
      const content = jcs({ version: 'veritee.keys.v1', keys } as unknown as Json)
      if (content.length > limits.maxLength) throw fail('api_keys_full', 'the list of API keys is too long; revoke some')
      if (await this.#options.rows.write(table, row, content, version)) {
        this.#adopt(version, keys)
        return keys
      }
    }
    throw fail('api_keys_busy', 'the list of API keys was changed by others all the time; retry')
  }

  #adopt(version: number, keys: readonly ApiKey[]): void {
    if (version < this.#version) return
    this.#version = version
    this.#byTag = new Map(keys.map((key) => [key.tag, key]))
    this.#readAt = performance.now()
    this.#say(null)
  }

  #demandFresh(): void {
    const at = performance.now()
    const behind = this.#demanded.version > this.#version && at - this.#demanded.at > (this.#options.graceMs ?? 5_000)
    if (behind) throw fail('api_keys_stale', 'another replica knows a newer list of API keys, which the store does not give; retry later')
    if (at - this.#readAt > (this.#options.staleMs ?? 60_000))
      throw fail('api_keys_stale', 'the list of API keys could not be read for a while; retry later')
  }

  #say(problem: string | null): void {
    if (problem !== this.#problem) this.#options.report?.(problem)
    this.#problem = problem
  }

  #seconds(): number {
    return Math.floor(this.#options.now().getTime() / 1000)
  }
}

function parseList(text: string): ApiKey[] {
  const o = shape.object(parseJson(text, limits), 'keys', ['version', 'keys'])
  shape.oneOf(o.version, 'keys.version', ['veritee.keys.v1'])
  return shape.array(o.keys, 'keys.keys', maxKeys).map((key, i) => parseApiKey(key, `keys.keys[${i}]`))
}
