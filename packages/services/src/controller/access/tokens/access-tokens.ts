import { createHash } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { equal } from 'veritee/bytes'
import {
  type AccessTokenTerms,
  accessTokenExtension,
  base64Url,
  challengeBytes,
  type ParsedToken,
  parseToken,
  tokenChallenge,
  tokenIssuePath,
  tokenOfAuthorization,
} from 'veritee/tokens'
import { HttpError } from '../../../http/errors.ts'
import { TokenIssuer } from './issuer.ts'

export interface AccessTokensOptions {
  /** Of this controller, in the challenge: ASCII. */
  readonly name: string
  /** See `TokenKeyTerms.request_tokens`. */
  readonly requestTokens: number
  readonly now: () => Date
  /** Tokens that one key may issue. */
  readonly capacity?: number
}

/** A genuine token of this controller. */
export interface FoundToken {
  readonly issuer: TokenIssuer
  readonly token: ParsedToken
}

/** How many keysets there may be whose tokens are taken: one ends a little after the next begins, and an operator may put new ones in force sooner. */
const maxIssuers = 3

/** The keys for access tokens of one controller: one for each keyset, each until that ends. */
export class AccessTokens {
  readonly #options: AccessTokensOptions
  readonly #challenge: Uint8Array
  readonly #challengeDigest: Uint8Array
  /** Newest first. */
  #issuers: readonly { readonly issuer: TokenIssuer; readonly endsAt: number }[] = []
  /** Since the process began. Of single tokens, and of who got them, there are no figures. */
  readonly totals = { issued: 0, spent: 0, usedTokens: 0 }

  constructor(options: AccessTokensOptions) {
    this.#options = options
    this.#challenge = challengeBytes(options.name, options.name)
    this.#challengeDigest = new Uint8Array(createHash('sha256').update(this.#challenge).digest())
  }

  /** A key for the next keyset, whose descriptor is to name it. It counts once it {@link follow}s. */
  next(): Promise<TokenIssuer> {
    return TokenIssuer.create(this.#options.requestTokens, this.#options.capacity)
  }

  /** For the descriptor of the keyset of a key. */
  extension({ terms }: TokenIssuer): { readonly [accessTokenExtension]: AccessTokenTerms } {
    return { [accessTokenExtension]: { challenge: base64Url(this.#challenge), keys: [terms] } }
  }

  /** Issues under this key from now on; its tokens are taken until `notAfter`, Unix seconds. */
  follow(issuer: TokenIssuer, notAfter: number): void {
    this.#issuers = [{ issuer, endsAt: notAfter * 1000 }, ...this.#issuers].slice(0, maxIssuers)
  }

  /** True once new keys are due. */
  get worn(): boolean {
    return this.#issuers[0]?.issuer.worn === true
  }

  /** The directory of RFC 9578 section 4 for the keyset of a key. */
  directory({ key }: TokenIssuer): string {
    return JSON.stringify({ 'issuer-request-uri': tokenIssuePath, 'token-keys': [{ 'token-type': 2, 'token-key': base64Url(key.spki) }] })
  }

  /** Whether a request comes with a token, or with what means to be one. */
  isAsked({ headers }: IncomingMessage): boolean {
    const { authorization } = headers
    return authorization !== undefined && /^PrivateToken(?: |$)/i.test(authorization)
  }

  /** The token of a request, spent or not; or the refusal (401). */
  find({ headers }: IncomingMessage): FoundToken | HttpError {
    const bytes = tokenOfAuthorization(headers.authorization ?? '')
    const token = bytes === null ? null : parseToken(bytes)
    if (token === null) return this.refuse('access_token_malformed', 'expected Authorization: PrivateToken token="...", of type 2')
    const at = this.#options.now().getTime()
    const found = this.#issuers.find(({ issuer, endsAt }) => issuer.key.id === token.keyId && at < endsAt)
    if (found === undefined)
      return this.refuse('access_token_unknown_key', 'the key of this access token is not one of this controller, or has ended')
    if (!equal(token.challengeDigest, this.#challengeDigest) || !found.issuer.isGenuine(token))
      return this.refuse('access_token_invalid', 'this access token was not issued for this controller')
    return { issuer: found.issuer, token }
  }

  /** 401, with where another token is to be had. */
  refuse(code: string, message: string): HttpError {
    return new HttpError(401, 'invalid_request_error', message, { code, headers: { 'www-authenticate': this.challenge } })
  }

  /** For `WWW-Authenticate`: of the keyset in force. */
  get challenge(): string {
    const issuer = this.#issuers[0]?.issuer
    return issuer === undefined ? 'Bearer' : `Bearer, ${tokenChallenge(this.#challenge, issuer.key.spki)}`
  }
}
