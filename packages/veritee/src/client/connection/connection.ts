import * as crypto from '#crypto'
import { platform } from '#platform'
import { toHex } from '../../bytes/hex.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { fail, VeriteeError } from '../../errors.ts'
import { policyFor } from '../../policy/index.ts'
import { evaluateReport, maxReportBytes, maxSessionBytes, parseReport, parseSession, verifyReport } from '../../receipt/index.ts'
import { ehbpWorkerKey } from '../../seal/ehbp/index.ts'
import { keysetChanged, type Service } from '../establish.ts'
import { type Answering, answerTo, openedHeaders } from '../exchange/answering.ts'
import { type Call, modelOf, readCall } from '../exchange/call.ts'
import { KnownSessions, receiptIdOf } from '../exchange/documents.ts'
import type { Mode } from '../exchange/holding.ts'
import type { Judged, Proving } from '../exchange/proving.ts'
import { passedOn, plainRefusal } from '../exchange/refusal.ts'
import { PlainRefusal, type Recipient, type Sent, sendCall } from '../exchange/sending.ts'
import { fetchText, readBody, serviceMessage } from '../fetch-text.ts'
import { RejectedError, typedError } from '../proof/errors.ts'
import type { Proof } from '../proof/proof.ts'
import type { WorkerKeys } from '../sealed/worker-keys.ts'
import type { TokenPurse } from '../tokens/purse.ts'
import { documentsFrom, sendVerified } from './carrying.ts'
import { type Held, ServiceKeeper } from './keeper.ts'
import { type ConnectionOptions, type ProofListener, type Settled, settle } from './options.ts'

/** A service that was verified, as a drop-in for SDKs: `new OpenAI({ baseURL: c.baseURL, apiKey, fetch: c.fetch })`. */
export interface Connection {
  /**
   * A `fetch` for this service and nothing else. Nothing is sent before the service is verified, here and now. GET requests pass over the verified connection and have no
   * proof; each POST is sent with a nonce, its answer is verified, and given as `mode` says. Errors are of the four classes of `ClientError`; where the proof
   * fails after the answer began, reading its body throws.
   */
  readonly fetch: typeof fetch
  /** What SDKs of OpenAI's API take: ends in `/v1`. */
  readonly baseURL: string
  /** The service as verified last. */
  readonly service: Service
  /**
   * What came of verifying the answer. Never rejects for what is wrong with the answer: `status` and `error` say it. Of an error that names a receipt: `unproven` with `service_refused` and that receipt, where the
   * service signed just that. Throws `usage` for a response that is not of this connection's POST, and for an error that names no receipt.
   */
  proofOf(response: Response): Promise<Proof>
  /** Calls for each proof from now on, until the function returned is called. */
  onProof(listener: ProofListener): () => void
  /** Verifies the service again, now. Throws every code of `establish`. */
  verify(): Promise<Service>
  close(): void
}

/**
 * Verifies a service and returns what talks to it (rules S4, S9, S10). `url` with or without `/v1`. Throws `ConfigurationError`, `UnavailableError`, `UntrustedError`,
 * `RejectedError`, with the codes of `parsePolicy`, `establish` and `usage`.
 *
 * @example const c = await openConnection('https://api.example.com', { policy: await readFile('policy.json', 'utf8') })
 */
export async function openConnection(url: string | URL, options: ConnectionOptions): Promise<Connection> {
  try {
    const { openTransport = platform.openTransport, cache } = options
    const settled = settle(options, platform.defaultEncryptTo, options.releases ?? (cache === undefined ? null : platform.keepReleases(cache)))
    const base = baseOf(url)
    const keeper = new ServiceKeeper({
      url: base,
      connect: settled.connect,
      open: openTransport,
      keep: cache === undefined ? null : platform.keepReports(cache, settled.connect.now),
    })
    await keeper.current()
    const purse = options.accessTokens
      ? await (await import('../tokens/purse.ts')).openPurse(keeper, settled, openTransport, sendVerified, readBody, serviceMessage)
      : null
    return new OpenConnection(base, settled, keeper, purse, options.onProof)
  } catch (error) {
    throw typedError(error)
  }
}

/** Throws `usage`. */
function baseOf(url: string | URL): string {
  const text = String(url)
  if (!URL.canParse(text)) throw fail('usage', `expected an http or https URL, found ${JSON.stringify(text.slice(0, 200))}`)
  const parsed = new URL(text)
  if (parsed.search !== '' || parsed.hash !== '') throw fail('usage', 'expected no query and no fragment')
  parsed.pathname = parsed.pathname.replace(/\/+$/, '').replace(/\/v1$/, '')
  return parsed.href.replace(/\/$/, '')
}

class OpenConnection implements Connection {
  readonly baseURL: string
  readonly #base: string
  readonly #settled: Settled
  readonly #keeper: ServiceKeeper
  /** Of access tokens, where those are asked with. */
  readonly #purse: TokenPurse | null
  readonly #answers = new WeakMap<Response, Answering>()
  readonly #listeners = new Set<ProofListener>()
  readonly #sessions = new KnownSessions()
  #workers: WorkerKeys | undefined

  constructor(base: string, settled: Settled, keeper: ServiceKeeper, purse: TokenPurse | null, onProof: ProofListener | undefined) {
    this.#base = base
    this.baseURL = `${base}/v1`
    this.#settled = settled
    this.#keeper = keeper
    this.#purse = purse
    if (onProof !== undefined) this.#listeners.add(onProof)
  }

  get service(): Service {
    const { last } = this.#keeper
    if (last === null) throw new TypeError('a connection has a service')
    return last
  }

  readonly fetch = async (input: Request | URL | string, init?: RequestInit): Promise<Response> => {
    let signal: AbortSignal | null = null
    try {
      const call = await readCall(input, init, this.#base)
      signal = call.signal
      if (call.method === 'GET') return await this.#get(call)
      // Browsers read it where something is asked, not before the service is verified.
      return await this.#post(this.#settled.freshSeed ? (await import('../exchange/seed.ts')).seeded(call) : call)
    } catch (error) {
      // Callers know their own abort by its reason.
      if (signal?.aborted === true) throw signal.reason
      throw typedError(error)
    }
  }

  async proofOf(response: Response): Promise<Proof> {
    const answering = this.#answers.get(response)
    if (answering === undefined) throw typedError(fail('usage', 'expected the response to a POST of this connection'))
    answering.hurry()
    return (await answering.judged).proof
  }

  onProof(listener: ProofListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async verify(): Promise<Service> {
    try {
      return (await this.#keeper.renew()).service
    } catch (error) {
      throw typedError(error)
    }
  }

  close(): void {
    this.#keeper.close()
    this.#purse?.close()
  }

  async #get(call: Call): Promise<Response> {
    const { method, path, headers, signal } = this.#purse?.unsigned(call) ?? call
    const { result, release } = await sendVerified(this.#keeper, signal, (service) => service.transport.send({ method, path, headers, signal }))
    return passedOn(result.body, result, release)
  }

  async #post(call: Call): Promise<Response> {
    const outcome = await sendVerified(this.#keeper, call.signal, (service, held) =>
      this.#purse === null ? this.#send(service, call) : this.#purse.send(held, call, (paid) => this.#send(service, paid)),
    ).catch((error: unknown) => {
      if (error instanceof PlainRefusal) return plainRefusal(error)
      throw error
    })
    if (outcome instanceof Response) return outcome
    const { result, held, release } = outcome
    const { status, headers } = result.response
    // It stops, or has no workers: whoever tries again is led to another replica, where there is one.
    if (status === 503) this.#keeper.suspect(held)
    // An error of the service is its word over the verified channel, or encrypted by it, and no answer. Where it names a receipt, that says whether it was signed too.
    if (status < 200 || status > 299)
      return headers['x-receipt-id'] === undefined
        ? passedOn(result.body, { status, headers: openedHeaders(result) }, release)
        : this.#answer(result, null, held, release)
    try {
      // A `Response` of these has no body: readers would take nothing for the whole answer, and where bodies are encrypted anybody on the way can write the status.
      if (status === 204 || status === 205) throw fail('receipt_response_mismatch', `expected an answer with a body, found status ${status}`)
      const sent = await this.#underKeyset(held, result)
      receiptIdOf(sent.response.headers)
      return this.#answer(sent, this.#settled.mode, held, release)
    } catch (error) {
      result.abort.abort()
      release()
      throw error
    }
  }

  #answer(sent: Sent, mode: Mode | null, held: Held, release: () => void): Response {
    const answering = answerTo(sent, mode, () => this.#proving(held, sent.call))
    this.#answers.set(answering.response, answering)
    answering.judged
      .then((judged) => this.#tell(judged))
      .finally(release)
      .catch(() => undefined)
    return answering.response
  }

  async #send(service: Service, call: Call): Promise<Sent> {
    const { encryptTo } = this.#settled
    if (encryptTo === 'none') return sendCall(service, call, { to: 'none' })
    if (encryptTo === 'controller' || service.report.descriptor.role === 'worker') return sendCall(service, call, { to: 'service' })
    const model = modelOf(call.body ?? new Uint8Array(0))
    // Nobody needs it for that, and a token would tell that its request is of whoever asked for the worker's evidence.
    const authorization = this.#purse === null ? this.#authorization(call) : {}
    const workers = await this.#workersBehind()
    const recipient = async (): Promise<Recipient & { to: 'worker' }> => ({
      to: 'worker',
      worker: await workers.of(service, model, authorization),
    })
    const first = await recipient()
    try {
      return await sendCall(service, call, first)
    } catch (error) {
      // Its session has ended, or it has new keys: it read nothing. Another one, or the same one verified anew.
      const gone = error instanceof VeriteeError && (error.code === 'ehbp_stale_key' || (error instanceof PlainRefusal && error.status === 412))
      if (!gone) throw error
      await workers.drop(first.worker)
      return sendCall(service, call, await recipient())
    }
  }

  /** Read where bodies are sealed to a worker, and not before; see `Tools` of `exchange/failing.ts`. */
  async #workersBehind(): Promise<WorkerKeys> {
    const { WorkerKeys } = await import('../sealed/worker-keys.ts')
    this.#workers ??= new WorkerKeys([
      fail,
      VeriteeError,
      RejectedError,
      Shape,
      parseDocument,
      fetchText,
      parseSession,
      parseReport,
      verifyReport,
      evaluateReport,
      policyFor,
      ehbpWorkerKey,
      (bytes) => toHex(crypto.randomBytes(bytes)),
      maxReportBytes,
      maxSessionBytes,
    ])
    return this.#workers
  }

  /**
   * An answer that names another keyset than the verified one is of a service that has new keys, or of somebody else: the service is verified again over the same kind of
   * channel, and must then be who answered. Throws `keyset_changed`.
   */
  async #underKeyset(held: Held, sent: Sent): Promise<Sent> {
    const { report, transport } = sent.service
    const stated = sent.response.headers['x-aci-keyset-digest'] ?? 'none'
    if (stated === report.keysetDigest) return sent
    // A body sealed to the former key was opened under the former keyset, if by anybody.
    const next = sent.sealed === null ? await this.#keeper.refresh(held).catch(() => null) : null
    if (next?.service.report.keysetDigest === stated && next.service.transport.spki === transport.spki) return { ...sent, service: next.service }
    throw keysetChanged(report.keysetDigest, stated)
  }

  #proving(held: Held, call: Call): Proving {
    const { proofTimeoutMs } = this.#settled
    const signal = AbortSignal.timeout(proofTimeoutMs)
    const authorization = this.#authorization(call)
    return { get: documentsFrom(this.#keeper, held, authorization, signal, proofTimeoutMs), sessions: this.#sessions, signal, authorization }
  }

  /** Receipts are given to whoever made the request. */
  #authorization({ headers }: Call): { readonly [name: string]: string } {
    const { apiKey } = this.#settled
    if (headers.authorization !== undefined) return { authorization: headers.authorization }
    return apiKey === null || this.#purse !== null ? {} : { authorization: `Bearer ${apiKey}` }
  }

  #tell({ proof, evidence }: Judged): void {
    for (const listener of this.#listeners) {
      try {
        listener(proof, evidence)
      } catch {
        // A listener's own failure must not undo a proof.
      }
    }
  }
}
