import { randomBytes } from 'node:crypto'
import { parseJson, Shape } from 'veritee/bytes'
import type { AuthorityRows } from '../../enclave/runtime/authority.ts'
import type { Ban } from '../admission/bans.ts'
import { Rounds } from '../rounds.ts'

/** One ban that was made, or lifted, as the trail has it. */
export interface BanEntry {
  /** Unix seconds, by the clock of the controller that wrote it. */
  readonly at: number
  readonly action: 'barred' | 'lifted'
  readonly subject: string
  /** Of the ban then: until when it stood or would have, and how many incidents were remembered. */
  readonly until: number
  readonly count: number
  /** What was found out, or why it was lifted. */
  readonly reason: string
  /** Digest of the keyset of the controller that found it out or was told to lift it. */
  readonly by: string
}

/** What the store has of the trail. */
export interface BanTrailView {
  /** The oldest first. */
  readonly entries: readonly BanEntry[]
  /** Entries that were written and are not there any more: somebody took them out of the store. */
  readonly missing: number
}

export interface BanTrailOptions {
  readonly rows: AuthorityRows
  readonly now: () => Date
  /** Of the controller that writes. */
  readonly by: () => string
  readonly everyMs?: number
}

const table = 'ban-trail'
const maxRows = 20_000
/** Of those, the rest is room for what controllers write at the same time. */
const mostKept = 19_000
/** What waits while the store does not answer. */
const maxPending = 1_000
const maxReason = 300
/** Longer than any ban and its history. */
const keptSeconds = 400 * 86_400
const keyPattern = /^(\d{12})-([0-9a-f]{16})-(\d{8})$/
const shape = new Shape('malformed_document')
const limits = { maxLength: 2_048, maxDepth: 2, integersOnly: true } as const

/**
 * Every ban that a controller makes or lifts, in the store that controllers share: who did it, when and why. Rows have a MAC (rule S3), so that nobody without the key can
 * write one, and each process numbers its own: one that was taken out of the middle is missed. Those at the end of what a process wrote are not; the bans themselves
 * do not depend on the trail.
 */
export class BanTrail {
  readonly #options: BanTrailOptions
  /** Of this process: keysets change within it. */
  readonly #writer = randomBytes(8).toString('hex')
  #sequence = 0
  #pending: { readonly key: string; readonly version: 1; readonly content: string }[] = []
  readonly #rounds: Rounds

  constructor(options: BanTrailOptions) {
    this.#options = options
    this.#rounds = new Rounds(() => this.#flush(), options.everyMs ?? 2_000)
  }

  /** A ban was made. It is written when the store takes it. */
  made(bans: readonly Ban[], reason: string): void {
    for (const ban of bans) this.#add('barred', ban, reason)
    // Where the store fails, the next round tries again.
    void this.#rounds.now().catch(() => undefined)
  }

  /** A ban is about to be lifted: it is in the store when this resolves. Throws what the store throws, and then nothing must be lifted. */
  async lifting(ban: Ban, reason: string): Promise<void> {
    this.#add('lifted', ban, reason)
    const mine = this.#pending.at(-1)
    try {
      await this.#rounds.anew()
    } catch (error) {
      // What was not done must not be told later; its number stays free for the next.
      this.#pending = this.#pending.filter((row) => row !== mine)
      if (mine?.key.endsWith(numbered(this.#sequence))) this.#sequence--
      throw error
    }
  }

  /** As every controller of this store sees it. Throws what the store throws. */
  async view(): Promise<BanTrailView> {
    const found = await this.#options.rows.list(table, '', maxRows)
    const entries: BanEntry[] = []
    const numbers = new Map<string, number[]>()
    for (const [key, { content }] of found) {
      const [, seconds, writer, number] = keyPattern.exec(key) ?? []
      if (writer === undefined) continue
      entries.push(entryOf(Number(seconds), content))
      numbers.set(writer, [...(numbers.get(writer) ?? []), Number(number)])
    }
    let missing = 0
    for (const of of numbers.values()) missing += Math.max(...of) - Math.min(...of) + 1 - of.length
    return { entries, missing }
  }

  /** Tells the store what waits, if it takes it. */
  async close(): Promise<void> {
    this.#rounds.stop()
    await this.#rounds.anew().catch(() => undefined)
  }

  #add(action: BanEntry['action'], { subject, until, count }: Ban, reason: string): void {
    const at = Math.floor(this.#options.now().getTime() / 1000)
    const said = reason.slice(0, maxReason).replace(/[^ -~]/g, '?')
    const content = JSON.stringify({ action, by: this.#options.by(), count, reason: said, subject, until })
    this.#pending.push({ key: `${String(at).padStart(12, '0')}-${this.#writer}-${numbered(++this.#sequence)}`, version: 1, content })
    if (this.#pending.length > maxPending) this.#pending.shift()
  }

  async #flush(): Promise<void> {
    const rows = [...this.#pending]
    if (rows.length === 0) return
    await this.#options.rows.raise(table, rows)
    this.#pending = this.#pending.filter((row) => !rows.includes(row))
    // What was told is told, whatever becomes of the old ones; the next time they are looked at again.
    await this.#prune().catch(() => undefined)
  }

  /** Of rows beyond what a reader takes, the latest would be those that nobody sees. */
  async #prune(): Promise<void> {
    const since = Math.floor(this.#options.now().getTime() / 1000) - keptSeconds
    const keys = [...(await this.#options.rows.list(table, '', maxRows)).keys()].sort()
    const old = keys.filter((key, i) => Number(key.slice(0, 12)) < since || i < keys.length - mostKept)
    if (old.length > 0) await this.#options.rows.remove(table, old)
  }
}

function numbered(sequence: number): string {
  return String(sequence).padStart(8, '0')
}

function entryOf(at: number, content: string): BanEntry {
  const o = shape.object(parseJson(content, limits), 'entry', ['action', 'by', 'count', 'reason', 'subject', 'until'])
  return {
    at,
    action: shape.oneOf(o.action, 'action', ['barred', 'lifted']),
    subject: shape.string(o.subject, 'subject', 200),
    until: shape.integer(o.until, 'until'),
    count: shape.integer(o.count, 'count'),
    reason: shape.string(o.reason, 'reason', maxReason),
    by: shape.string(o.by, 'by', 80),
  }
}
