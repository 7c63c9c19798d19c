import { HttpError } from '../../http/errors.ts'
import type { ApiKey } from './api-key.ts'
import { Bucket } from './bucket.ts'
import type { Spent } from './spending.ts'

interface Meter {
  requests: Bucket | null
  tokens: Bucket | null
  /** Taken for answers that are not over. */
  reserved: number
}

/** Of how many keys the meters are kept; the one that was idle longest begins anew. */
const maxMeters = 16_384

/**
 * Requests and tokens per minute, for each key. In this process; what other replicas use is taken from the same buckets when they report it, so for a
 * few seconds each replica may give as much as the limit says.
 */
export class Meters {
  readonly #seconds: () => number
  readonly #meters = new Map<string, Meter>()

  /** `seconds`: a clock that nobody sets. */
  constructor(seconds: () => number = () => performance.now() / 1000) {
    this.#seconds = seconds
  }

  /** Takes a request, or `requests` of them, and the tokens that it may cost; `spent` is what the key has used this month. Gives the refusal (429), or null. */
  take(key: ApiKey, tokens: number, spent: Spent, requests = 1): HttpError | null {
    const at = this.#seconds()
    const meter = this.#of(key, at)
    const { tokens_per_month: budget } = key.limits
    // Answers under way will cost something, too: they count with what was reserved for them.
    if (budget !== null && spent.tokens + meter.reserved >= budget)
      return new HttpError(429, 'insufficient_quota', `this key has used its ${budget} tokens of this month`, {
        code: 'insufficient_quota',
        headers: { ...this.headers(key), 'x-should-retry': 'false' },
      })
    for (const [kind, bucket, amount] of [
      ['requests', meter.requests, requests],
      ['tokens', meter.tokens, tokens],
    ] as const) {
      const wait = bucket?.wait(amount, at) ?? 0
      if (wait === 0) continue
      const seconds = Math.max(1, Math.ceil(wait))
      return new HttpError(429, kind, `rate limit of this key: ${bucket?.limit} ${kind} per minute; retry in ${seconds} s`, {
        code: 'rate_limit_exceeded',
        headers: { ...this.headers(key), 'retry-after': String(seconds) },
      })
    }
    meter.requests?.take(requests, at)
    meter.tokens?.take(tokens, at)
    meter.reserved += tokens
    return null
  }

  /** What a request came to, in place of what was taken for it. */
  settle(key: ApiKey, reserved: number, used: number): void {
    const at = this.#seconds()
    const meter = this.#of(key, at)
    meter.tokens?.take(used - reserved, at)
    meter.reserved = Math.max(0, meter.reserved - reserved)
  }

  /** Used at another replica. */
  elsewhere(id: string, used: Spent): void {
    const meter = this.#meters.get(id)
    meter?.requests?.take(used.requests, this.#seconds())
    meter?.tokens?.take(used.tokens, this.#seconds())
  }

  /** OpenAI's headers on what is left of the limits that the key has. */
  headers(key: ApiKey): Record<string, string> {
    const at = this.#seconds()
    const { requests, tokens } = this.#of(key, at)
    const headers: Record<string, string> = {}
    for (const [name, bucket] of Object.entries({ requests, tokens })) {
      if (bucket === null) continue
      const { remaining, resetSeconds } = bucket.state(at)
      headers[`x-ratelimit-limit-${name}`] = String(bucket.limit)
      headers[`x-ratelimit-remaining-${name}`] = String(remaining)
      headers[`x-ratelimit-reset-${name}`] = `${Math.ceil(resetSeconds)}s`
    }
    return headers
  }

  #of({ id, limits }: ApiKey, at: number): Meter {
    const known = this.#meters.get(id)
    const bucket = (before: Bucket | null | undefined, limit: number | null): Bucket | null =>
      limit === null ? null : before?.limit === limit ? before : new Bucket(limit, at)
    const meter = {
      requests: bucket(known?.requests, limits.requests_per_minute),
      tokens: bucket(known?.tokens, limits.tokens_per_minute),
      reserved: known?.reserved ?? 0,
    }
    const kept = known === undefined ? meter : Object.assign(known, meter)
    this.#meters.delete(id)
    this.#meters.set(id, kept)
    const [oldest] = this.#meters.keys()
    if (this.#meters.size > maxMeters && oldest !== undefined) this.#meters.delete(oldest)
    return kept
  }
}
