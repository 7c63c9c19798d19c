import type { AuthorityRows } from '../../enclave/runtime/authority.ts'
import type { Registry } from '../registry.ts'
import { Rounds } from '../rounds.ts'

export interface QuarantinesOptions {
  readonly rows: AuthorityRows
  readonly registry: Pick<Registry, 'distrusted' | 'distrust'>
  readonly now: () => Date
  readonly report: (line: string) => void
  readonly everyMs?: number
}

const table = 'quarantine'
const maxRows = 100_000
/** Keysets live a day. */
const forgetSeconds = 2 * 86_400
const digest = /^sha256:[0-9a-f]{64}$/

/**
 * Keysets of workers that lost the trust of one controller lose that of the others that share its store, and of the same one after a restart. In rows with a MAC
 * (rule S3): whoever writes to the store cannot take a worker away. He can delete rows: who knows of them goes on with what he knows, and a controller
 * that starts afterwards has to find out for itself.
 */
export class Quarantines {
  readonly #options: QuarantinesOptions
  readonly #told = new Set<string>()
  readonly #rounds: Rounds

  constructor(options: QuarantinesOptions) {
    this.#options = options
    this.#rounds = new Rounds(() => this.#round(), options.everyMs ?? 2_000)
  }

  /** Tells what this controller found, then takes over what others did. Rounds do not overlap. Throws what the store throws. */
  round(): Promise<void> {
    return this.#rounds.now()
  }

  stop(): void {
    this.#rounds.stop()
  }

  async #round(): Promise<void> {
    const { rows, registry, now, report } = this.#options
    const seconds = Math.floor(now().getTime() / 1000)
    const news = [...registry.distrusted].filter((keyset) => !this.#told.has(keyset))
    if (news.length > 0)
      await rows.raise(
        table,
        news.map((key) => ({ key, version: seconds, content: '' })),
      )
    for (const keyset of news) this.#told.add(keyset)
    const old: string[] = []
    for (const [keyset, { version }] of await rows.list(table, '', maxRows)) {
      if (version < seconds - forgetSeconds) old.push(keyset)
      else if (digest.test(keyset) && !registry.distrusted.has(keyset)) {
        this.#told.add(keyset)
        registry.distrust(keyset, 'it lost the trust of another controller, or of this one before it started anew')
        report(`a worker is quarantined by another controller, or was before: ${keyset}`)
      }
    }
    if (old.length > 0) await rows.remove(table, old)
    // Of the same size as what the registry remembers.
    for (const keyset of this.#told) if (this.#told.size > maxRows) this.#told.delete(keyset)
  }
}
