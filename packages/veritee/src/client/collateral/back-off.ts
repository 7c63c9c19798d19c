const firstMs = 1000
const longestMs = 3_600_000
/** Scopes come from quotes, which are anybody's: more than this many are not remembered. */
const maxScopes = 1024

interface Waiting {
  readonly failures: number
  readonly until: number
}

/** How long to leave alone what failed: one second, doubling to an hour, each with up to half of it added at random; longer where it was asked for. */
export class BackOff {
  readonly #random: () => number
  readonly #waiting = new Map<string, Waiting>()

  constructor(random: () => number) {
    this.#random = random
  }

  /** The moment until which one of the scopes is to be left alone; null where none is. */
  heldUntil(scopes: readonly string[], now: Date): Date | null {
    const until = Math.max(...scopes.map((scope) => this.#waiting.get(scope)?.until ?? 0))
    return now.getTime() < until ? new Date(until) : null
  }

  failed(scope: string, now: Date, atLeastMs: number): void {
    const failures = (this.#waiting.get(scope)?.failures ?? 0) + 1
    const wait = Math.min(longestMs, firstMs * 2 ** (failures - 1)) * (1 + this.#random() / 2)
    this.#waiting.delete(scope)
    const [oldest] = this.#waiting.keys()
    if (this.#waiting.size >= maxScopes && oldest !== undefined) this.#waiting.delete(oldest)
    this.#waiting.set(scope, { failures, until: now.getTime() + Math.max(atLeastMs, wait) })
  }

  succeeded(scopes: readonly string[]): void {
    for (const scope of scopes) this.#waiting.delete(scope)
  }
}
