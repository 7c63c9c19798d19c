import * as crypto from '#crypto'
import { concatAll, fromUtf8 } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import {
  type AccessTokenTerms,
  accessTokenTerms,
  challengeOf,
  keyOfDirectory,
  modulusBytes,
  requestToken,
  type TokenKeyTerms,
  tokenAuthorization,
  tokenDirectoryPath,
  tokenIssuePath,
} from '../../tokens/index.ts'
import type { sendVerified } from '../connection/carrying.ts'
import type { ServiceKeeper } from '../connection/keeper.ts'
import type { Settled } from '../connection/options.ts'
import type { Service } from '../establish.ts'
import type { Call } from '../exchange/call.ts'
import type { Sent } from '../exchange/sending.ts'
import type { readBody, serviceMessage } from '../fetch-text.ts'
import type { Transport } from '../transport.ts'

export interface PurseOptions {
  readonly readBody: typeof readBody
  readonly serviceMessage: typeof serviceMessage
  readonly apiKey: string | null
  /** Milliseconds that getting tokens may take in all. */
  readonly timeoutMs: number
  readonly open: (url: string, pin: string | null) => Transport
  /** Calls once after so many milliseconds, and keeps no process alive for it. */
  readonly later?: (run: () => void, delayMs: number) => void
}

/** Tokens that are asked for at a time, always as many, so that the number says nothing; fewer where the limits of the key are too low for it. */
const batch = 16
const maxDirectoryLength = 65_536
/** Attempts with tokens that a service says that it does not take; before the last of them all of their kind are thrown away, once: whoever can refuse them all could use up what the key may have. */
const attempts = 3
/** Tokens of how many keys, and for how many receipts. */
const maxPools = 4
const maxReceipts = 1024
/** More are asked for somewhere in this time after half of them are spent: not at the moment of a request, which would tell whose it was. */
const refillMs = 20_000
/**
 * What goes on of the headers of a caller. SDKs send more, which names an account (`openai-organization`, another header for the key), ties requests together (`traceparent`), or tells one
 * program and machine from another.
 */
const kept = ['accept', 'content-type']

interface Pool {
  tokens: Uint8Array[]
  filling: Promise<void> | null
  isPlanned: boolean
  isThrownAway: boolean
  batch: number
}

/**
 * Opens a purse for a service, with the first tokens in it. The functions are handed over and not imported: of what both sides import, bundlers may make a file of its own, and every page would read
 * that. Throws as {@link TokenPurse.ready}; the keeper is closed then.
 */
export async function openPurse(
  keeper: ServiceKeeper,
  { apiKey, proofTimeoutMs }: Pick<Settled, 'apiKey' | 'proofTimeoutMs'>,
  open: PurseOptions['open'],
  send: typeof sendVerified,
  readAll: typeof readBody,
  messageOf: typeof serviceMessage,
): Promise<TokenPurse> {
  try {
    const purse = new TokenPurse({ apiKey, timeoutMs: proofTimeoutMs, open, readBody: readAll, serviceMessage: messageOf })
    const { release } = await send(keeper, AbortSignal.timeout(proofTimeoutMs), (_, held) => purse.ready(held))
    release()
    return purse
  } catch (error) {
    keeper.close()
    throw error
  }
}

/** A verified service, and where it is. */
interface At {
  readonly service: Service
  readonly url: string
}

/**
 * Access tokens of one API key (spec/access-tokens.md): got ahead, each over a connection that carries nothing else, verified, held in memory only, and spent one for each request. Keys and
 * challenge come from the attested descriptor; the API key goes nowhere but to where tokens are issued.
 */
export class TokenPurse {
  readonly #apiKey: string
  readonly #options: PurseOptions
  readonly #later: NonNullable<PurseOptions['later']>
  readonly #pools = new Map<string, Pool>()
  readonly #receipts = new Map<string, string>()
  #closed = false

  /** Throws `usage` without an API key. */
  constructor(options: PurseOptions) {
    const { apiKey, later = wait } = options
    if (apiKey === null) throw fail('usage', 'accessTokens: expected an apiKey to get them with')
    this.#apiKey = apiKey
    this.#options = options
    this.#later = later
  }

  /** Gets tokens where there are none. Throws `access_tokens_unavailable`, `access_token_invalid`, `service_refused`, and what the transport throws. */
  async ready(at: At): Promise<void> {
    const { terms, pool } = this.#poolOf(at.service)
    if (pool.tokens.length === 0) await this.#fill(at, terms, pool)
  }

  /** Sends one request with a token in the place of whatever its caller had put there; with another one where the service says that this is none. Throws as {@link ready}. */
  async send(at: At, call: Call, send: (paid: Call) => Promise<Sent>): Promise<Sent> {
    for (let left = attempts - 1; ; left--) {
      const { terms, pool } = this.#poolOf(at.service)
      const authorization = tokenAuthorization(await this.#take(at, terms, pool))
      const sent = await send({ ...call, headers: { ...bare(call), authorization } }).catch((error: unknown) => {
        // A `PlainRefusal`.
        if (left > 0 && error instanceof Error && 'status' in error && error.status === 401) return null
        throw error
      })
      if (sent !== null && (sent.response.status !== 401 || left === 0)) {
        this.#remember(sent.response.headers['x-receipt-id'], authorization)
        return sent
      }
      sent?.abort.abort()
      if (left > 1 || pool.isThrownAway) continue
      pool.isThrownAway = true
      pool.tokens = []
    }
  }

  /** A GET: with the token of its request where it asks for a receipt, and else with nothing that says who asks. */
  unsigned(call: Call): Call {
    const headers = bare(call)
    const receipt = /\/receipts\/([\w-]+)/.exec(call.path)?.[1]
    const authorization = receipt === undefined ? undefined : this.#receipts.get(receipt)
    return { ...call, headers: authorization === undefined ? headers : { ...headers, authorization } }
  }

  close(): void {
    this.#closed = true
    this.#pools.clear()
    this.#receipts.clear()
  }

  #poolOf({ report }: Service): { readonly terms: TokenKeyTerms; readonly pool: Pool } {
    const terms = issuedBy(report).keys.find(({ models }) => models === null)
    if (terms === undefined) throw noTokens()
    const pool = this.#pools.get(terms.token_key_id) ?? { tokens: [], filling: null, isPlanned: false, isThrownAway: false, batch }
    keep(this.#pools, terms.token_key_id, pool, maxPools)
    return { terms, pool }
  }

  async #take(at: At, terms: TokenKeyTerms, pool: Pool): Promise<Uint8Array> {
    for (;;) {
      const token = pool.tokens.shift()
      if (pool.tokens.length < pool.batch / 2) this.#plan(at, terms, pool)
      if (token !== undefined) return token
      await this.#fill(at, terms, pool)
    }
  }

  #plan(at: At, terms: TokenKeyTerms, pool: Pool): void {
    if (pool.isPlanned || pool.filling !== null) return
    pool.isPlanned = true
    const [a = 0, b = 0] = crypto.randomBytes(2)
    this.#later(
      () => {
        pool.isPlanned = false
        const isWanted = !this.#closed && this.#pools.get(terms.token_key_id) === pool && pool.tokens.length < pool.batch / 2
        // A failure shows to whoever finds none left.
        if (isWanted) this.#fill(at, terms, pool).catch(() => undefined)
      },
      (refillMs * (256 * a + b)) / 65_536,
    )
  }

  #fill(at: At, terms: TokenKeyTerms, pool: Pool): Promise<void> {
    pool.filling ??= this.#issue(at, terms, pool).finally(() => {
      pool.filling = null
    })
    return pool.filling
  }

  async #issue({ service, url }: At, terms: TokenKeyTerms, pool: Pool): Promise<void> {
    if (this.#closed) throw new TypeError('the connection was closed')
    const challenge = issuedBy(service.report)
    const transport = this.#options.open(url, service.transport.spki)
    // Every request waits for it where there are no tokens left, and a service that says nothing must not hold them for ever.
    const signal = AbortSignal.timeout(this.#options.timeoutMs)
    try {
      const directory = await transport.send({ method: 'GET', path: tokenDirectoryPath, signal })
      const text = fromUtf8(await this.#options.readBody(directory, maxDirectoryLength))
      if (directory.status !== 200) throw this.#refused(directory.status, text)
      const key = await keyOfDirectory(text, terms)
      for (;;) {
        const pending = await Promise.all(Array.from({ length: pool.batch }, () => requestToken(key, challengeOf(challenge))))
        const signed = await this.#ask(transport, concatAll(pending.map(({ request }) => request)), pool.batch * modulusBytes, signal)
        if (signed !== null) {
          pool.tokens.push(...pending.map(({ finalize }, i) => finalize(signed.subarray(i * modulusBytes, (i + 1) * modulusBytes))))
          return
        }
        if (pool.batch === 1) throw fail('access_tokens_unavailable', 'the limits of this API key are lower than what one access token costs')
        pool.batch /= 2
      }
    } finally {
      transport.close()
    }
  }

  /** Null where the limits of the key do not allow so many at a time. */
  async #ask(transport: Transport, body: Uint8Array, expected: number, signal: AbortSignal): Promise<Uint8Array | null> {
    const headers = { authorization: `Bearer ${this.#apiKey}`, 'content-type': 'application/private-token-request' }
    const response = await transport.send({ method: 'POST', path: tokenIssuePath, headers, body, signal })
    const answer = await this.#options.readBody(response, maxDirectoryLength)
    if (response.status === 200 && answer.length === expected) return answer
    const text = new TextDecoder().decode(answer)
    if (response.status === 400 && text.includes('"access_token_batch_too_large"')) return null
    throw this.#refused(response.status, text)
  }

  /** 401 and 403 are about the API key. */
  #refused(status: number, text: string): Error {
    const code = status === 401 || status === 403 ? 'access_tokens_unavailable' : 'service_refused'
    return fail(code, `no access tokens (${status}): ${this.#options.serviceMessage(text)}`)
  }

  #remember(receipt: string | undefined, authorization: string): void {
    if (receipt !== undefined) keep(this.#receipts, receipt, authorization, maxReceipts)
  }
}

/** Throws `access_tokens_unavailable` where the service issues none. */
function issuedBy({ descriptor }: Service['report']): AccessTokenTerms {
  const terms = accessTokenTerms(descriptor)
  if (terms === null) throw noTokens()
  return terms
}

function noTokens(): Error {
  return fail('access_tokens_unavailable', 'expected a service that issues access tokens, found none')
}

function bare({ headers }: Call): { readonly [name: string]: string } {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => kept.includes(name)))
}

function keep<T>(map: Map<string, T>, name: string, value: T, max: number): void {
  map.delete(name)
  map.set(name, value)
  const [oldest] = map.keys()
  if (map.size > max && oldest !== undefined) map.delete(oldest)
}

function wait(run: () => void, delayMs: number): void {
  const timer: unknown = setTimeout(run, delayMs)
  if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref(): void }).unref()
}
