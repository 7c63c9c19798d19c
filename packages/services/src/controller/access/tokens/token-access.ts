import type { IncomingMessage } from 'node:http'
import { isInference } from '../../../http/chat-request.ts'
import { HttpError } from '../../../http/errors.ts'
import { network } from '../../../http/rate-limit.ts'
import type { Access, Grant, Settlement } from '../../stages/access.ts'
import { bytesPerToken, type KeyAccess } from '../key-access.ts'
import type { AccessTokens, FoundToken } from './access-tokens.ts'

/** Found before the body was read, for when it was. */
const found = Symbol('found')

type Found = IncomingMessage & { [found]?: FoundToken }

/** Serves who has an API key, and who has an access token and is then nobody (spec/access-tokens.md). */
export class TokenAccess implements Access {
  readonly #keys: KeyAccess
  readonly #tokens: AccessTokens

  constructor(keys: KeyAccess, tokens: AccessTokens) {
    this.#keys = keys
    this.#tokens = tokens
  }

  authenticate(incoming: Found): HttpError | null {
    if (!this.#tokens.isAsked(incoming)) return this.#told(this.#keys.authenticate(incoming))
    const token = this.#tokens.find(incoming)
    if (token instanceof HttpError) return token
    // A spent one may still ask for the receipt of its request. To run anything more it may not, and no body is read for it.
    if (isInference(incoming) && token.issuer.isSpent(token.token)) return this.#spent()
    incoming[found] = token
    return null
  }

  admit(incoming: Found, model: string, promptBytes: number, answerTokens: number | null): Grant | HttpError {
    const before = incoming[found]
    if (before === undefined) return this.#told(this.#keys.admit(incoming, model, promptBytes))
    const { issuer, token } = before
    const { request_tokens: most, models } = issuer.terms
    if (models !== null && !models.includes(model))
      return new HttpError(403, 'invalid_request_error', 'this access token is not good for this model', {
        code: 'model_not_allowed',
        param: 'model',
      })
    const asked = Math.ceil(promptBytes / bytesPerToken) + (answerTokens ?? 0)
    if (asked > most)
      return new HttpError(400, 'invalid_request_error', `an access token pays for ${most} tokens of prompt and answer, this asks for ${asked}`, {
        code: 'access_token_limit',
      })
    // Not a line of its own between looking and noting: of two requests with one token one goes on.
    if (!issuer.spend(token)) return this.#spent()
    const { totals } = this.#tokens
    totals.spent++
    return {
      // As where nobody is asked for a key: with a turn for each token, whoever has many would have the whole queue, and keep out who has an API key.
      tenant: `address ${network(incoming.socket.remoteAddress ?? 'unknown')}`,
      // No two requests have it in common, so none goes where another went.
      salt: `token ${Buffer.from(token.nonce).toString('base64')}`,
      settle: ({ usage }: Settlement) => {
        if (usage !== null) totals.usedTokens += usage.promptTokens + usage.completionTokens
      },
    }
  }

  #spent(): HttpError {
    return this.#tokens.refuse('access_token_spent', 'this access token was spent; each is good for one request')
  }

  /** Who is asked for a key may come with a token as well. */
  #told<T>(refusal: T): T | HttpError {
    if (!(refusal instanceof HttpError) || refusal.status !== 401) return refusal
    return this.#tokens.refuse(refusal.code ?? 'invalid_api_key', refusal.message)
  }
}
