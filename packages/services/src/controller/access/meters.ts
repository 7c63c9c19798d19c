import { HttpError } from '../../http/errors.ts'
import type { ApiKey, Limits } from './api-key.ts'
import { Bucket } from './bucket.ts'
import type { Spent } from './spending.ts'

/** Of how many keys there may be meters before those that are as good as new ones go. */
const maxMeters = 16_384

/** Of one key. */
class Meter {
  requests: Bucket | null = null
  tokens: Bucket | null = null
  /** Taken for answers that are not over. */
  reserved = 0
  #limits: Limits | null = null

  /** A limit that is another one than before begins anew. */
  adopt(limits: Limits, at: number): void {
    // A list of keys that was read again has other objects.
    if (this.#limits === limits) return
    this.#limits = limits
    this.requests = bucketOf(this.requests, limits.requests_per_minute, at)
    this.tokens = bucketOf(this.tokens, limits.tokens_per_minute, at)
  }

  /** Whether a new one would allow the same. */
  isFull(at: number): boolean {
    return this.reserved === 0 && (this.requests?.resetSeconds(at) ?? 0) === 0 && (this.tokens?.resetSeconds(at) ?? 0) === 0
  }
}

function bucketOf(before: Bucket | null, limit: number | null, at: number): Bucket | null {
  if (limit === null) return null
  return before?.limit === limit ? before : new Bucket(limit, at)
}

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
    const refusal = this.#refusal(key, 'requests', meter.requests, requests, at) ?? this.#refusal(key, 'tokens', meter.tokens, tokens, at)
    if (refusal !== null) return refusal
    meter.requests?.take(requests, at)
    meter.tokens?.take(tokens, at)
    meter.reserved += tokens
    return null
  }

  /** What a request came to, in place of what was taken for it; `key` as it was then. */
  settle({ id, limits }: ApiKey, reserved: number, used: number): void {
    const meter = this.#meters.get(id)
    if (meter === undefined) return
    // Its limits may have been changed since, and stay so: from a bucket that began anew nothing was taken for this request.
    const taken = meter.tokens?.limit === limits.tokens_per_minute ? reserved : 0
    meter.tokens?.take(used - taken, this.#seconds())
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
    // Names as they are, since those that are put together are made anew for each request.
    if (requests !== null) {
      headers['x-ratelimit-limit-requests'] = requests.limitText
      headers['x-ratelimit-remaining-requests'] = String(requests.remaining(at))
      headers['x-ratelimit-reset-requests'] = `${Math.ceil(requests.resetSeconds(at))}s`
    }
    if (tokens !== null) {
      headers['x-ratelimit-limit-tokens'] = tokens.limitText
      headers['x-ratelimit-remaining-tokens'] = String(tokens.remaining(at))
      headers['x-ratelimit-reset-tokens'] = `${Math.ceil(tokens.resetSeconds(at))}s`
    }
    return headers
  }

  #refusal(key: ApiKey, kind: 'requests' | 'tokens', bucket: Bucket | null, amount: number, at: number): HttpError | null {
    const wait = bucket?.wait(amount, at) ?? 0
    if (wait === 0) return null
    const seconds = Math.max(1, Math.ceil(wait))
    return new HttpError(429, kind, `rate limit of this key: ${bucket?.limit} ${kind} per minute; retry in ${seconds} s`, {
      code: 'rate_limit_exceeded',
      headers: { ...this.headers(key), 'retry-after': String(seconds) },
    })
  }

  #of({ id, limits }: ApiKey, at: number): Meter {
    const known = this.#meters.get(id)
    if (known !== undefined) {
      known.adopt(limits, at)
      return known
    }
    if (this.#meters.size >= maxMeters) this.#makeRoom(at)
    const meter = new Meter()
    meter.adopt(limits, at)
    this.#meters.set(id, meter)
    return meter
  }

  /** Those of keys that are gone are soon as good as new. Where none is, the oldest begins anew: there are more than keys can be. */
  #makeRoom(at: number): void {
    for (const [id, meter] of this.#meters) if (meter.isFull(at)) this.#meters.delete(id)
    const [oldest] = this.#meters.keys()
    if (this.#meters.size >= maxMeters && oldest !== undefined) this.#meters.delete(oldest)
  }
}
