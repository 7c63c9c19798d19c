import type { Pool } from 'undici'
import { fromUtf8, parseJson, Shape } from 'veritee/bytes'
import { nodeTransport } from 'veritee/client'
import { type ErrorCode, fail, isErrorCode } from 'veritee/errors'
import type { AdmissionRules } from '../../enclave/runtime/admission/rules.ts'
import { verifyController } from '../../enclave/runtime/admission/verify-controller.ts'
import type { Identity } from '../../enclave/runtime/identity.ts'
import { pinnedPool } from '../pinned-pool.ts'
import {
  checkProof,
  type Joined,
  joinText,
  maxMessageLength,
  parseJoined,
  parseTold,
  proofOf,
  type ReplicaState,
  stateText,
  type Told,
} from './message.ts'

export interface LinkOptions {
  /** Where the other replica listens for its like: https. */
  readonly url: string
  /** By which this side shows itself. */
  readonly identity: () => Identity
  readonly rules: AdmissionRules
  readonly secret: string
  readonly now: () => Date
}

interface Open {
  readonly pool: Pool
  /** Whom it was verified to be, and as whom this side is known there. */
  readonly keysetDigest: string
  readonly ownDigest: string
  /** Unix seconds. */
  readonly until: number
}

const shape = new Shape('replica_malformed')
/** Of the time for which a verification is good, so much is left when it is made again. */
const renewSeconds = 300
const requestMs = 15_000

/**
 * One other replica, as this one sees it. Before anything is said it is verified over a nonce of this side, and the connections that follow end in the TLS key which
 * that evidence binds; then it verifies this side the same way (rules S8 and S13).
 */
export class PeerLink {
  readonly #options: LinkOptions
  #open: Open | null = null

  constructor(options: LinkOptions) {
    this.#options = options
  }

  get url(): string {
    return this.#options.url
  }

  /**
   * Both sides verify each other; with `wantsKey` the other then gives the secret of the store. Throws every code of {@link verifyController}, `channel_mismatch`, `replica_proof_invalid`,
   * `replica_malformed`, `service_unavailable`, and with its own code what the other side refuses.
   */
  async join(state: ReplicaState, wantsKey: boolean): Promise<Joined & { readonly keysetDigest: string }> {
    this.close()
    const { url, identity, rules, secret, now } = this.#options
    const own = identity()
    const transport = nodeTransport(url)
    try {
      const { report, until } = await verifyController(transport, rules, now)
      const { spki } = transport
      // Whatever the name under which it is reached here: the key is what counts.
      if (spki === null || !report.keyset.tls_public_keys.some(({ spki_sha256 }) => spki_sha256 === spki))
        throw fail('channel_mismatch', `the connection to ${url} ends in TLS key ${spki ?? 'of no kind'}, which the evidence there does not bind`)
      const pool = pinnedPool(transport.origin, spki, 1, own.tls)
      this.#open = { pool, keysetDigest: report.keysetDigest, ownDigest: own.keysetDigest, until }
      const given = shape.record(parseJson(await this.#post('nonce', ''), { maxLength: 4096, maxDepth: 2 }), 'answer')
      const nonce = shape.hex(given.nonce, 'nonce', 32)
      const proof = proofOf(secret, { purpose: 'veritee.replicas.join.v1', from: own.keysetDigest, to: report.keysetDigest, nonce })
      const text = joinText({ nonce, report: await own.report(nonce, { priority: 'admission' }), proof, wantsKey, state })
      const joined = parseJoined(await this.#post('join', text))
      checkProof(secret, { purpose: 'veritee.replicas.joined.v1', from: report.keysetDigest, to: own.keysetDigest, nonce }, joined.proof)
      return { ...joined, keysetDigest: report.keysetDigest }
    } catch (error) {
      this.close()
      throw error
    } finally {
      transport.close()
    }
  }

  /** Tells what this side knows, and gives what the other does; both are verified again where it is time. Throws as {@link join}. */
  async tell(state: ReplicaState): Promise<Told & { readonly keysetDigest: string }> {
    const open = this.#open
    const seconds = this.#options.now().getTime() / 1000
    if (open === null || open.ownDigest !== this.#options.identity().keysetDigest || seconds + renewSeconds >= open.until)
      return this.join(state, false)
    try {
      return { ...parseTold(await this.#post('state', stateText(state))), keysetDigest: open.keysetDigest }
    } catch {
      // It may have started anew, or have new keys.
      return this.join(state, false)
    }
  }

  close(): void {
    const open = this.#open
    this.#open = null
    open?.pool.destroy().catch(() => undefined)
  }

  async #post(name: 'nonce' | 'join' | 'state', body: string): Promise<string> {
    const pool = this.#open?.pool
    if (pool === undefined) throw fail('service_unavailable', `${this.url}: closed`)
    const answer = await pool
      .request({
        method: 'POST',
        path: `/v1/veritee/peers/${name}`,
        headers: { 'content-type': 'application/json' },
        body,
        headersTimeout: requestMs,
        bodyTimeout: requestMs,
      })
      .catch((cause: unknown) => {
        throw cause instanceof Error && 'code' in cause && cause.code === 'channel_mismatch'
          ? cause
          : fail('service_unavailable', `${this.url} does not answer`, cause)
      })
    const parts: Buffer[] = []
    let length = 0
    for await (const part of answer.body as AsyncIterable<Buffer>) {
      length += part.length
      if (length > maxMessageLength) throw fail('response_too_large', `expected at most ${maxMessageLength} bytes`)
      parts.push(part)
    }
    const text = fromUtf8(Buffer.concat(parts))
    if (answer.statusCode === 200) return text
    throw refusalOf(this.url, answer.statusCode, text)
  }
}

/** With the code of the other side, where it is one that this side knows. */
function refusalOf(url: string, status: number, text: string): Error {
  const found = /"code":"([a-z_]{1,64})"/.exec(text)?.[1]
  const known = found !== undefined && isErrorCode(found) ? (found as ErrorCode) : 'service_refused'
  return fail(known, `${url} refused this replica with status ${status}`)
}
