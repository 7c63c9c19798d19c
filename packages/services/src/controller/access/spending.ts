import { randomBytes } from 'node:crypto'
import { type Json, jcs, parseJson, Shape } from 'veritee/bytes'
import type { Authority, AuthorityRows } from '../../enclave/runtime/authority.ts'
import { Rounds } from '../rounds.ts'

/** What a key has used in one month, as one replica or all of them count it. */
export interface Spent {
  readonly requests: number
  readonly tokens: number
}

export interface SpendingOptions {
  readonly rows: AuthorityRows
  readonly now: () => Date
  /** Told what other replicas have used since they were last asked, so that limits hold for all together. */
  readonly onOthers?: (key: string, used: Spent) => void
  /** How often replicas tell each other. */
  readonly everyMs?: number
}

const table = 'spending'
/** Removed at a start. */
const maxOld = 65_536
/** Rows of a month that are read; those of ten thousand keys and a hundred starts are a million. */
const maxRows = 1 << 20
/** Rows written at a time, of one version. */
const maxTold = 128
/** How many rounds pass between two looks at everything that others have used; in between only where there were requests of our own, and at what is new. */
const wholeRounds = 15
const shape = new Shape('malformed_document')
const nothing: Spent = { requests: 0, tokens: 0 }

/**
 * What each key has used this month (UTC), for budgets, over all replicas: each writes what it counted itself to rows of its own, and reads those of the others.
 * The store can lose such rows, which loses account of what other replicas and earlier processes counted; it cannot invent any, and what this process
 * has counted or seen it remembers. What is billed comes from receipts instead.
 */
export class Spending {
  readonly #options: SpendingOptions
  readonly #replica = randomBytes(8).toString('hex')
  readonly #own = new Map<string, Spent>()
  readonly #others = new Map<string, Map<string, Spent>>()
  /** How new the newest row of each other replica is that counted: it writes all of one version at once. */
  #seen: ReadonlyMap<string, number> = new Map()
  readonly #dirty = new Set<string>()
  readonly #syncs: Rounds
  #month: string
  /** Unix milliseconds: when the next month begins. */
  #monthEnds: number
  #version = 0
  #rounds = 0
  #stopped = false

  private constructor(options: SpendingOptions) {
    this.#options = options
    const now = options.now()
    this.#month = monthOf(now)
    this.#monthEnds = endOf(now)
    this.#syncs = new Rounds(() => this.#sync(), options.everyMs ?? 2_000)
  }

  /** Reads what was used this month, and removes what nobody asks about any more. Throws what the store throws. */
  static async open(options: SpendingOptions): Promise<Spending> {
    const spending = new Spending(options)
    try {
      await spending.#read(false, true)
      const old = await options.rows.list(table, monthOf(options.now(), -2), maxOld)
      if (old.size > 0) await options.rows.remove(table, [...old.keys()])
      return spending
    } catch (error) {
      spending.stop()
      throw error
    }
  }

  add(key: string, used: Spent): void {
    this.#turn()
    this.#own.set(key, sum(this.#own.get(key) ?? nothing, used))
    this.#dirty.add(key)
  }

  /** Of all replicas, this month. */
  of(key: string): Spent {
    this.#turn()
    const own = this.#own.get(key) ?? nothing
    const others = this.#others.get(key)
    return others === undefined ? own : [...others.values()].reduce(sum, own)
  }

  /** Tells the others all that was counted until now, and asks them, unless it was stopped. Rounds do not overlap. Throws what the store throws; what could not be told is told the next time. */
  sync(): Promise<void> {
    return this.#syncs.anew()
  }

  /** Nobody asks here any more: whoever closes does not wait until all that others have used was read, which with a million rows takes long. */
  stop(): void {
    this.#stopped = true
    this.#syncs.stop()
  }

  async #sync(): Promise<void> {
    this.#turn()
    const whole = ++this.#rounds % wholeRounds === 0
    if (this.#dirty.size === 0 && !whole) return
    await this.#tell()
    if (!this.#stopped) await this.#read(true, whole)
  }

  /** In parts, each of a version of its own: what is read of one version is all of it. What is counted meanwhile is for the next round. */
  async #tell(): Promise<void> {
    const keys = [...this.#dirty]
    for (let from = 0; from < keys.length; from += maxTold) {
      if (from > 0) await new Promise((resolve) => setImmediate(resolve))
      const part = keys.slice(from, from + maxTold).filter((key) => this.#dirty.delete(key))
      try {
        const version = ++this.#version
        await this.#options.rows.raise(
          table,
          part.map((key) => ({
            key: `${this.#month}/${key}/${this.#replica}`,
            version,
            content: jcs({ ...(this.#own.get(key) ?? nothing) } as unknown as Json),
          })),
        )
      } catch (error) {
        for (const key of part) this.#dirty.add(key)
        throw error
      }
    }
  }

  /** `whole`: also rows that were seen, so that it is noticed where the store has others in their place. */
  async #read(tell: boolean, whole: boolean): Promise<void> {
    const known = whole ? new Map<string, number>() : new Map(this.#seen).set(this.#replica, Number.MAX_SAFE_INTEGER)
    const month = this.#month
    const seen = new Map(this.#seen)
    await this.#options.rows.scan(table, `${month}/`, maxRows, known, (rows) => {
      // Meanwhile a month may have ended, and what was used in it no longer counts.
      if (this.#stopped || month !== this.#month) return false
      this.#count(rows, tell, seen)
      return true
    })
    if (!this.#stopped && month === this.#month) this.#seen = seen
  }

  #count(rows: ReadonlyMap<string, Authority>, tell: boolean, seen: Map<string, number>): void {
    for (const [name, { content, version }] of rows) {
      const [, key = '', replica = ''] = name.split('/')
      if (replica === this.#replica) continue
      const used = parseSpent(content)
      const replicas = this.#others.get(key) ?? new Map<string, Spent>()
      this.#others.set(key, replicas)
      const before = replicas.get(replica) ?? nothing
      const more = { requests: Math.max(0, used.requests - before.requests), tokens: Math.max(0, used.tokens - before.tokens) }
      replicas.set(replica, sum(before, more))
      if (tell && more.requests + more.tokens > 0) this.#options.onOthers?.(key, more)
      seen.set(replica, Math.max(version, seen.get(replica) ?? 0))
    }
  }

  /** A new month begins with nothing used. */
  #turn(): void {
    const now = this.#options.now()
    if (now.getTime() < this.#monthEnds) return
    this.#month = monthOf(now)
    this.#monthEnds = endOf(now)
    this.#own.clear()
    this.#others.clear()
    this.#seen = new Map()
    this.#dirty.clear()
  }
}

function monthOf(now: Date, by = 0): string {
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + by)).toISOString().slice(0, 7)
}

function endOf(now: Date): number {
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1)
}

function sum(a: Spent, b: Spent): Spent {
  return { requests: a.requests + b.requests, tokens: a.tokens + b.tokens }
}

function parseSpent(text: string): Spent {
  const o = shape.object(parseJson(text, { maxLength: 200, maxDepth: 2 }), 'spent', ['requests', 'tokens'])
  return { requests: shape.integer(o.requests, 'requests'), tokens: shape.integer(o.tokens, 'tokens') }
}
