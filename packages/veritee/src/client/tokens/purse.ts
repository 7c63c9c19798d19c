import * as crypto from '#crypto'
import { concatAll } from '../../bytes/bytes.ts'
import { fail } from '../../errors.ts'
import {
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
import type { Service } from '../establish.ts'
import type { Call } from '../exchange/call.ts'
import { PlainRefusal, type Sent } from '../exchange/sending.ts'
import { fetchText, readBody, serviceMessage } from '../fetch-text.ts'
import type { Transport } from '../transport.ts'

export interface PurseOptions {
  readonly apiKey: string | null
  readonly open: (url: string, pin: string | null) => Transport
  /** Calls once after so many milliseconds, and keeps no process alive for it. */
  readonly later?: (run: () => void, delayMs: number) => void
}

/** Tokens that are asked for at a time, always as many, so that the number says nothing; fewer where the limits of the key are too low for it. */
const batch = 16
const maxDirectoryLength = 65_536
/** Attempts with tokens that a service says that it does not take; before the last of them all of their kind are thrown away. */
const attempts = 3
/** Tokens of how many keys, and for how many receipts. */
const maxPools = 4
const maxReceipts = 1024
/** More are asked for somewhere in this time after half of them are spent: not at the moment of a request, which would tell whose it was. */
const refillMs = 20_000

interface Pool {
  tokens: Uint8Array[]
  filling: Promise<void> | null
  isPlanned: boolean
  batch: number
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
  readonly #open: PurseOptions['open']
  readonly #later: NonNullable<PurseOptions['later']>
  readonly #pools = new Map<string, Pool>()
  readonly #receipts = new Map<string, string>()
  #closed = false

  /** Throws `usage` without an API key. */
  constructor({ apiKey, open, later = wait }: PurseOptions) {
    if (apiKey === null) throw fail('usage', 'accessTokens: expected an apiKey to get them with')
    this.#apiKey = apiKey
    this.#open = open
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
      const sent = await send({ ...call, headers: { ...call.headers, authorization } }).catch((error: unknown) => {
        if (left > 0 && error instanceof PlainRefusal && error.status === 401) return null
        throw error
      })
      if (sent !== null && (sent.response.status !== 401 || left === 0)) {
        this.#remember(sent.response.headers['x-receipt-id'], authorization)
        return sent
      }
      sent?.abort.abort()
      if (left === 1) pool.tokens = []
    }
  }

  /** A GET: with the token of its request where it asks for a receipt, and else with nothing that says who asks. */
  unsigned(call: Call): Call {
    const { authorization: _, ...headers } = call.headers
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
    const terms = accessTokenTerms(report.descriptor)?.keys.find(({ models }) => models === null)
    if (terms === undefined) throw fail('access_tokens_unavailable', 'expected a service that issues access tokens, found none in its descriptor')
    const pool = this.#pools.get(terms.token_key_id) ?? { tokens: [], filling: null, isPlanned: false, batch }
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
    const challenge = accessTokenTerms(service.report.descriptor)
    if (challenge === null) return
    const transport = this.#open(url, service.transport.spki)
    try {
      const key = await keyOfDirectory(await fetchText(transport, { method: 'GET', path: tokenDirectoryPath }, maxDirectoryLength), terms)
      for (;;) {
        const pending = await Promise.all(Array.from({ length: pool.batch }, () => requestToken(key, challengeOf(challenge))))
        const signed = await this.#ask(transport, concatAll(pending.map(({ request }) => request)), pool.batch * modulusBytes)
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
  async #ask(transport: Transport, body: Uint8Array, expected: number): Promise<Uint8Array | null> {
    const headers = { authorization: `Bearer ${this.#apiKey}`, 'content-type': 'application/private-token-request' }
    const response = await transport.send({ method: 'POST', path: tokenIssuePath, headers, body })
    const answer = await readBody(response, maxDirectoryLength)
    if (response.status === 200 && answer.length === expected) return answer
    const text = new TextDecoder().decode(answer)
    if (response.status === 400 && text.includes('"access_token_batch_too_large"')) return null
    const isKey = response.status === 401 || response.status === 403
    throw fail(isKey ? 'access_tokens_unavailable' : 'service_refused', `no access tokens (${response.status}): ${serviceMessage(text)}`)
  }

  #remember(receipt: string | undefined, authorization: string): void {
    if (receipt !== undefined) keep(this.#receipts, receipt, authorization, maxReceipts)
  }
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
