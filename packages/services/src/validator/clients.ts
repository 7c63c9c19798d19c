import type { Path } from './audit/path.ts'

/** Milliseconds without a request after which a client begins anew. No keyset is that old (rule S25 f), so whoever asks again then has to verify the service anew in any case. */
const forgottenMs = 86_400_000

/**
 * The clients of a validator, each a program that stays for as long as its process does: one connection of the library from the first request of an account, before its own epoch, to the last (rule S20).
 * Nothing closes at the end of an epoch: what is no longer used is left idle, and ends as that of any user who has gone, when the service or the library thinks that it was idle for long enough.
 */
export class Clients {
  readonly #now: () => Date
  readonly #open = new Map<string, { readonly opening: Promise<Path>; usedMs: number }>()

  constructor(now: () => Date) {
    this.#now = now
  }

  /** The path of a client by its name; `open` verifies the service where it has none, once for however many ask. Rejects as `open` does, and tries again when it is asked again. */
  of(name: string, open: () => Promise<Path>): Promise<Path> {
    const nowMs = this.#now().getTime()
    for (const [other, { usedMs }] of this.#open) if (nowMs - usedMs > forgottenMs) this.#open.delete(other)
    const known = this.#open.get(name)
    if (known !== undefined) {
      known.usedMs = nowMs
      return known.opening
    }
    const opening = open()
    this.#open.set(name, { opening, usedMs: nowMs })
    opening.catch(() => this.#open.delete(name))
    return opening
  }

  /** At the end of the process. */
  close(): void {
    for (const { opening } of this.#open.values()) void opening.then(({ connection }) => connection.close()).catch(() => undefined)
    this.#open.clear()
  }
}
