import type { IncomingMessage } from 'node:http'
import { bearer } from '../../http/body.ts'
import { HttpError } from '../../http/errors.ts'
import type { Access, Grant, Settlement } from '../stages/access.ts'
import { type ApiKey, keyPattern } from './api-key.ts'
import type { KeyRing } from './key-ring.ts'
import type { Meters } from './meters.ts'
import type { Spending, Spent } from './spending.ts'

export interface KeyAccessOptions {
  readonly ring: KeyRing
  readonly meters: Meters
  readonly spending: Spending
  readonly now: () => Date
}

/** On the request and not in a WeakMap: V8's young generation takes what those hold for live. */
const found = Symbol('found')

type Found = IncomingMessage & { [found]?: ApiKey }

/** A token of a prompt has about this many bytes; what it was is settled when the worker has signed it. */
export const bytesPerToken = 4

/**
 * Serves who has an API key (rule S22), each within its models and limits. 401: none, unknown, revoked or expired. 403: another model. 429: a limit or the
 * budget; `Retry-After` and OpenAI's `x-ratelimit-*` say when. 503 where the list of keys could not be read for a while.
 *
 * Only token counts that a worker signed are charged; a request that came to nothing costs a request and no tokens.
 */
export class KeyAccess implements Access {
  readonly #options: KeyAccessOptions

  constructor(options: KeyAccessOptions) {
    this.#options = options
  }

  authenticate(incoming: Found): HttpError | null {
    const key = this.identify(incoming)
    if (key instanceof HttpError) return key
    // Before the body was read, for when it was.
    incoming[found] = key
    return null
  }

  /** The key of a request, which counts now; or the refusal. */
  identify(incoming: IncomingMessage): ApiKey | HttpError {
    const credential = bearer(incoming)
    if (credential === null) return unauthorized('expected an API key: Authorization: Bearer vk-...')
    const key = keyPattern.test(credential) ? this.#options.ring.find(credential) : undefined
    return this.#refusalOf(key) ?? key ?? unauthorized('expected an API key')
  }

  /** Charges what is paid ahead, and is not given back; or gives the refusal, and charges nothing. */
  charge(key: ApiKey, requests: number, tokens: number): HttpError | null {
    const { meters, spending } = this.#options
    const { requests_per_minute: perMinute, tokens_per_minute: tokensPerMinute } = key.limits
    if ((perMinute !== null && requests > perMinute) || (tokensPerMinute !== null && tokens > tokensPerMinute))
      return new HttpError(400, 'invalid_request_error', 'more at a time than this key may use in a minute', { code: 'access_token_batch_too_large' })
    const spent = spending.of(key.id)
    // What it costs is known, so a budget is not overdrawn: it is refused where this is more than is left.
    const limited = meters.take(key, tokens, { ...spent, tokens: spent.tokens + tokens - 1 }, requests)
    if (limited !== null) return limited
    meters.settle(key, tokens, tokens)
    spending.add(key.id, { requests, tokens })
    return null
  }

  admit(incoming: Found, model: string, promptBytes: number): Grant | HttpError {
    const before = incoming[found]
    // While the body came, the key may have been revoked.
    const key = before === undefined ? undefined : this.#options.ring.again(before)
    const refusal = this.#refusalOf(key)
    if (refusal !== null || key === undefined) return refusal ?? unauthorized('expected an API key')
    if (key.models !== null && !key.models.includes(model))
      return new HttpError(403, 'invalid_request_error', 'this API key may not use this model', { code: 'model_not_allowed', param: 'model' })
    const { meters, spending } = this.#options
    const reserved = Math.ceil(promptBytes / bytesPerToken)
    const limited = meters.take(key, reserved, spending.of(key.id))
    if (limited !== null) return limited
    spending.add(key.id, oneRequest)
    return new KeyGrant(this.#options, key, reserved)
  }

  /** Whoever holds a key may know what became of it; whoever guesses learns nothing that he could not see from the same answer. */
  #refusalOf(key: ApiKey | undefined): HttpError | null {
    if (key === undefined || key.revoked !== null) return unauthorized('this API key is not known here, or was revoked')
    if (key.expires !== null && key.expires * 1000 <= this.#options.now().getTime()) return unauthorized('this API key has expired')
    return null
  }
}

const oneRequest: Spent = { requests: 1, tokens: 0 }

/** A request with a key. */
class KeyGrant implements Grant {
  readonly tenant: string
  readonly headers: Readonly<Record<string, string>>
  readonly #options: KeyAccessOptions
  readonly #key: ApiKey
  readonly #reserved: number

  constructor(options: KeyAccessOptions, key: ApiKey, reserved: number) {
    this.tenant = key.id
    this.headers = options.meters.headers(key)
    this.#options = options
    this.#key = key
    this.#reserved = reserved
  }

  settle({ usage }: Settlement): void {
    const { meters, spending } = this.#options
    const used = usage === null ? 0 : usage.promptTokens + usage.completionTokens
    meters.settle(this.#key, this.#reserved, used)
    if (used > 0) spending.add(this.#key.id, { requests: 0, tokens: used })
  }
}

function unauthorized(message: string): HttpError {
  return new HttpError(401, 'invalid_request_error', message, { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } })
}
