import { parseJson, Shape } from 'veritee/bytes'
import type { AuthorityRows } from '../../enclave/runtime/authority.ts'
import { type Ban, maxLifts } from '../admission/bans.ts'
import type { Registry } from '../registry.ts'
import { Rounds } from '../rounds.ts'

export interface SharedBansOptions {
  readonly rows: AuthorityRows
  readonly registry: Pick<Registry, 'bans' | 'learnBans'>
  readonly now: () => Date
  readonly report: (line: string) => void
  readonly everyMs?: number
}

const table = 'bans'
const maxRows = 100_000
/** As long as the longest ban and its history. */
const forgetSeconds = 181 * 86_400
const subjectPattern = /^[a-z]{1,16}:[0-9a-z:]{64,180}$/
const shape = new Shape('malformed_document')

/**
 * Who lost the trust of one controller loses that of the others that share its store, and of the same one after a restart. In rows with a MAC (rule S3): whoever writes to the store can bar
 * nobody. He can delete rows: who knows of them goes on with what he knows, replicas tell each other, and a controller that starts alone afterwards has to find out for itself.
 */
export class SharedBans {
  readonly #options: SharedBansOptions
  /** By subject, the version that was told. */
  readonly #told = new Map<string, number>()
  readonly #rounds: Rounds

  constructor(options: SharedBansOptions) {
    this.#options = options
    this.#rounds = new Rounds(() => this.#round(), options.everyMs ?? 2_000)
  }

  /** Tells what this controller found, then takes over what others did. Rounds do not overlap. Throws what the store throws. */
  round(): Promise<void> {
    return this.#rounds.now()
  }

  /** The same, of what has changed just now too. */
  tell(): Promise<void> {
    return this.#rounds.anew()
  }

  stop(): void {
    this.#rounds.stop()
  }

  /** Tells the store what it does not know yet, if it takes it. */
  async close(): Promise<void> {
    this.stop()
    await this.tell().catch(() => undefined)
  }

  async #round(): Promise<void> {
    const { rows, registry, now, report } = this.#options
    const news = registry.bans().filter((ban) => this.#told.get(ban.subject) !== versionOf(ban))
    if (news.length > 0)
      await rows.raise(
        table,
        news.map((ban) => ({
          key: ban.subject,
          version: versionOf(ban),
          content: JSON.stringify({ until: ban.until, count: ban.count, lifts: ban.lifts }),
        })),
      )
    for (const ban of news) this.#told.set(ban.subject, versionOf(ban))
    const old: string[] = []
    const found: Ban[] = []
    const since = now().getTime() / 1000 - forgetSeconds
    for (const [subject, { content }] of await rows.list(table, '', maxRows)) {
      const ban = banOf(subject, content)
      if (ban === null || ban.until < since) old.push(subject)
      else {
        found.push(ban)
        this.#told.set(subject, versionOf(ban))
      }
    }
    if (registry.learnBans(found)) report('bans were made or lifted at another controller, or at this one before it started anew')
    if (old.length > 0) await rows.remove(table, old)
    for (const [subject] of this.#told) if (this.#told.size > maxRows) this.#told.delete(subject)
  }
}

/** Of two versions the later one was lifted more often, else stands longer, or for more. A safe integer as long as there are no more than {@link maxLifts} lifts. */
function versionOf({ until, count, lifts }: Ban): number {
  return lifts * 1e13 + until * 1000 + Math.min(count, 999)
}

function banOf(subject: string, content: string): Ban | null {
  if (!subjectPattern.test(subject)) return null
  const o = shape.object(parseJson(content, { maxLength: 256, maxDepth: 2, integersOnly: true }), 'ban', ['until', 'count', 'lifts'])
  return {
    subject,
    until: shape.integer(o.until, 'until'),
    count: shape.integer(o.count, 'count'),
    lifts: shape.integer(o.lifts, 'lifts', maxLifts),
  }
}
