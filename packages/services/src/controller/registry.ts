import type { Pool } from 'undici'
import type { Trust } from 'veritee/attestation'
import { type Json, jcs } from 'veritee/bytes'
import { connect, nodeTransport, type Service } from 'veritee/client'
import { fail } from 'veritee/errors'
import type { Policy } from 'veritee/policy'
import { type SessionDocument, sessionId } from 'veritee/receipt'
import { workerOrigin } from './address.ts'
import { pinnedPool } from './pinned-pool.ts'
import { sessionDocument } from './session.ts'

/** A worker whose evidence this process verified, with the connections pinned to its key. */
export interface AdmittedWorker {
  readonly origin: string
  readonly service: Service
  readonly session: { readonly id: string; readonly document: SessionDocument; readonly text: string }
  /** Once the worker has new keys: the connections pinned to those. */
  pool: Pool
  outstanding: number
  /** Why the worker gets no more requests; null while it may. Set by {@link Registry.quarantine}. */
  quarantine: string | null
}

export interface RegistryOptions {
  readonly policy: Policy
  readonly trust: Trust
  readonly now: () => Date
  readonly allowLoopback: boolean
  readonly maxWorkers?: number
  /** Sessions that are no longer in use and still served to who holds a receipt that cites them; the oldest go first. */
  readonly maxPastSessions?: number
  /** How long one admission may take in all, however slowly the other side speaks. */
  readonly admissionMs?: number
  /** Connections to a worker whose key is known. Tests put their own here. */
  readonly openPool?: (origin: string, spki: string) => Pool
}

const forgetSeconds = 3600

/**
 * The workers of this controller. Only what this process verified itself, against a nonce of its own, is ever routed to (rule S3);
 * nothing here is read from a store.
 */
export class Registry {
  readonly #options: RegistryOptions
  readonly #workers = new Map<string, AdmittedWorker>()
  /** Sessions outlive workers: receipts cite them (aci/1 section 8, retention). */
  readonly #sessions = new Map<string, AdmittedWorker['session']>()
  readonly #admitting = new Map<string, Promise<AdmittedWorker>>()
  /** Keysets that lost this controller's trust: registering again does not bring it back. The oldest are forgotten; keysets die within a day. */
  readonly #quarantined = new Set<string>()

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  /**
   * Challenges the worker at `url` with a fresh nonce, verifies and evaluates its evidence, pins its TLS key and opens a session.
   * `keysetDigest` is what the worker said of itself; another keyset there is a refusal. `ticket` is what the worker wants to see on the challenge,
   * so that it keeps a place for it.
   * Throws `address_refused`, `registry_full`, `keyset_changed`, `worker_quarantined`, `worker_duplicate` and every code of `connect`.
   */
  admit(url: string, keysetDigest: string, ticket?: string): Promise<AdmittedWorker> {
    const origin = workerOrigin(url, this.#options.allowLoopback)
    const running = this.#admitting.get(origin)
    if (running !== undefined) return running
    this.#forgetWorkers()
    const maxWorkers = this.#options.maxWorkers ?? 10_000
    if (!this.#workers.has(origin) && this.#workers.size + this.#admitting.size >= maxWorkers)
      throw fail('registry_full', `this controller takes at most ${maxWorkers} workers`)
    const admission = this.#admit(origin, keysetDigest, ticket).finally(() => this.#admitting.delete(origin))
    this.#admitting.set(origin, admission)
    return admission
  }

  async #admit(origin: string, keysetDigest: string, ticket: string | undefined): Promise<AdmittedWorker> {
    const { policy, trust, now, openPool = pinnedPool, admissionMs = 30_000 } = this.#options
    const transport = nodeTransport(origin)
    // Whoever drips bytes would hold a place among the admissions for ever.
    const deadline = setTimeout(() => transport.close(), admissionMs)
    try {
      const service = await connect(transport, { policy, trust, role: 'worker', now, ...(ticket === undefined ? {} : { admissionTicket: ticket }) })
      if (service.report.keysetDigest !== keysetDigest)
        throw fail('keyset_changed', `the worker registered ${keysetDigest}, its evidence binds ${service.report.keysetDigest}`)
      if (this.#quarantined.has(keysetDigest)) throw fail('worker_quarantined', 'this keyset was quarantined; a worker starts anew with new keys')
      // Whoever relays to a worker could otherwise take as many shares of its traffic as he has addresses.
      const twin = this.#current().find((other) => other.origin !== origin && other.service.report.keysetDigest === keysetDigest)
      if (twin !== undefined) throw fail('worker_duplicate', `this keyset serves as ${twin.origin} already; one enclave is one worker`)
      const document = await sessionDocument(service, `worker ${origin}`)
      const session = { id: await sessionId(document), document, text: jcs(document as unknown as Json) }
      const before = this.#workers.get(origin)
      // The same keys are the same worker: answers under way still need its connections, for the receipt that comes after them.
      const kept = before?.service.report.keysetDigest === keysetDigest && spkiOf(before.session) === spkiOf(session) ? before.pool : null
      const pool = kept ?? openPool(origin, spkiOf(session))
      const worker: AdmittedWorker = { origin, service, session, pool, outstanding: 0, quarantine: null }
      this.#workers.set(origin, worker)
      this.#sessions.set(session.id, session)
      this.#forgetSessions()
      if (before !== undefined && kept === null) {
        // Requests under way on the old connections end on them. Their receipts are then fetched from where they are now; what counts is the signature.
        const old = before.pool
        before.pool = pool
        old.close().catch(() => undefined)
      }
      return worker
    } finally {
      clearTimeout(deadline)
      transport.close()
    }
  }

  /** Workers whose session ran out an hour ago and who have not come back are gone. */
  #forgetWorkers(): void {
    const gone = this.#options.now().getTime() / 1000 - forgetSeconds
    for (const [origin, worker] of this.#workers) {
      if (worker.session.document.expires_at > gone || worker.outstanding > 0) continue
      this.#workers.delete(origin)
      worker.pool.close().catch(() => undefined)
    }
  }

  #current(): AdmittedWorker[] {
    const now = this.#options.now().getTime() / 1000
    return this.serving().filter((worker) => worker.session.document.expires_at > now)
  }

  /** Registering costs nothing, and each registration leaves a session: only so many that are not in use are kept. */
  #forgetSessions(): void {
    const { maxPastSessions = 1024 } = this.#options
    let past = this.#sessions.size - this.#workers.size
    if (past <= maxPastSessions) return
    const inUse = new Set([...this.#workers.values()].map((worker) => worker.session.id))
    for (const id of this.#sessions.keys()) {
      if (past <= maxPastSessions) return
      if (inUse.has(id)) continue
      this.#sessions.delete(id)
      past--
    }
  }

  /**
   * Ends a worker's service, with the reason. `keyset`: for what only the enclave itself can have said over its pinned channel; the keyset does not
   * come back. `session`: for what anybody on the wire can bring about (rule S5); a fresh challenge brings the worker back.
   */
  quarantine(worker: AdmittedWorker, reason: string, scope: 'keyset' | 'session'): void {
    worker.quarantine = reason
    if (scope === 'session') return
    this.#quarantined.add(worker.service.report.keysetDigest)
    const oldest = this.#quarantined.values().next().value
    if (this.#quarantined.size > 100_000 && oldest !== undefined) this.#quarantined.delete(oldest)
  }

  /** Workers that may serve a model now, the least busy first. */
  candidates(model: string): AdmittedWorker[] {
    return this.#current()
      .filter((worker) => worker.service.report.descriptor.models.some(({ name }) => name === model))
      .sort((a, b) => a.outstanding - b.outstanding)
  }

  serving(): AdmittedWorker[] {
    return [...this.#workers.values()].filter((worker) => worker.quarantine === null)
  }

  all(): AdmittedWorker[] {
    return [...this.#workers.values()]
  }

  models(): string[] {
    return [...new Set(this.serving().flatMap((worker) => worker.service.report.descriptor.models.map(({ name }) => name)))].sort()
  }

  session(id: string): AdmittedWorker['session'] | undefined {
    return this.#sessions.get(id)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker.pool.destroy().catch(() => undefined)))
  }
}

function spkiOf(session: AdmittedWorker['session']): string {
  return session.document.channel_binding[0]?.spki_sha256 ?? ''
}
