import { type Json, jcs } from 'veritee/bytes'
import { connect, type Service } from 'veritee/client'
import { fail, VeriteeError } from 'veritee/errors'
import { policyFor, releasedUntil } from 'veritee/policy'
import { type SessionDocument, sessionId } from 'veritee/receipt'
import type { AdmissionRules } from '../enclave/runtime/admission/rules.ts'
import { unverifiedHeader } from '../http/chat-request.ts'
import { workerOrigin } from './address.ts'
import { type Ban, Bans } from './admission/bans.ts'
import { challengeTransport } from './admission/challenge-transport.ts'
import { judgeAgain, judgeParty, type Party } from './admission/judge.ts'
import { Tenants } from './admission/tenants.ts'
import { Cancellation, type CancelSignal } from './cancellation.ts'
import { pinnedWorker, type TlsKey } from './pinned-pool.ts'
import { Roster } from './roster.ts'
import { Router } from './routing/router.ts'
import { WorkerLoad } from './routing/worker-load.ts'
import { sessionDocument } from './session.ts'
import { callWorker, readWhole } from './worker-answer.ts'
import type { WorkerConnections } from './worker-pool/pool.ts'

/** A worker whose evidence this process verified, with the connections pinned to its key. */
export interface AdmittedWorker {
  readonly origin: string
  readonly service: Service
  readonly session: { readonly id: string; readonly document: SessionDocument; readonly text: string }
  /** Once the worker has new keys: the connections pinned to those. */
  pool: WorkerConnections
  /** What it has under way. */
  readonly load: WorkerLoad
  readonly party: Party
  readonly claimed: Claimed
  /** Under which of this controller's keys its connections are, as far as it knows them. */
  readonly ownKeys: string | null
  /** Why the worker gets no more requests; null while it may. Set by {@link Registry.quarantine}. */
  quarantine: string | null
}

/** What a worker says of itself beside where it is and which keys it has. */
export interface Claimed {
  /** What it wants to see on the challenge, so that it keeps a place for it. */
  readonly ticket?: string
  /** Its operator's, over its keyset digest. */
  readonly operatorSignature?: string
  /** Digest of this controller's keys that the worker has verified, where it registers: its connections are then under those. */
  readonly ownKeys?: string
  /** It did not come by itself: whether it serves this controller is found out before it gets requests. */
  readonly hinted?: true
}

export interface RegistryOptions {
  /** What is demanded of workers. */
  readonly rules: AdmissionRules
  /** The key by which workers know this controller; without it it shows none. */
  readonly ownTls?: () => TlsKey
  /** Told of times that the vendor has signed, as far as verified evidence holds them. */
  readonly sawSignedTime?: (at: Date) => void
  /** Told of a worker that was admitted, and of one that was quarantined; it must not throw. */
  readonly onWorker?: (worker: AdmittedWorker) => void
  /** Told of every ban that this controller makes, with what was found out; it must not throw. */
  readonly onBan?: (bans: readonly Ban[], reason: string) => void
  readonly now: () => Date
  readonly allowLoopback: boolean
  readonly maxWorkers?: number
  /** Sessions that are no longer in use and still served to who holds a receipt that cites them; the oldest go first. */
  readonly maxPastSessions?: number
  /** How long one admission may take in all, however slowly the other side speaks. */
  readonly admissionMs?: number
  /** Told of every worker that comes and goes; one with the usual limits where none is given. */
  readonly routing?: Router
  /** Connections to a worker whose key is known. Tests put their own here. */
  readonly openPool?: (origin: string, spki: string) => WorkerConnections
}

const forgetSeconds = 3600
const maxHealthBytes = 65_536

/**
 * The workers of this controller. Only what this process verified itself, against a nonce of its own, is ever routed to (rule S3);
 * nothing here is read from a store.
 */
export class Registry {
  /** Who may serve a model: told of every worker that comes and goes. */
  readonly routing: Router
  readonly #options: RegistryOptions
  readonly #roster: Roster
  readonly #workers: Roster['workers']
  readonly #keysets: Roster['keysets']
  readonly #admitting = new Map<string, Promise<AdmittedWorker>>()
  /** Of those being admitted, who has said meanwhile that it goes. */
  readonly #gone = new Set<string>()
  /** Who lost this controller's trust: neither registering again nor new keys bring it back. */
  readonly #bans: Bans
  readonly #tenants = new Tenants()
  /** Who has said that it goes, and has requests under way. */
  readonly #leaving = new Set<AdmittedWorker>()

  /** A few more than it has requests, for receipts of answers that are over. */
  readonly #openPool = (origin: string, spki: string): WorkerConnections =>
    pinnedWorker(origin, spki, this.routing.limits.workerRequests + 4, this.#options.ownTls?.() ?? null)

  constructor(options: RegistryOptions) {
    this.#options = options
    this.#bans = new Bans(options.now)
    this.routing = options.routing ?? new Router({ now: options.now })
    this.#roster = new Roster(this.routing, options.maxPastSessions ?? 1024)
    this.#workers = this.#roster.workers
    this.#keysets = this.#roster.keysets
    options.rules.releases.onChange(() => void this.judgeAgain())
  }

  /**
   * Challenges the worker at `url` with a fresh nonce, verifies and evaluates its evidence, pins its TLS key and opens a session.
   * `keysetDigest` is what the worker said of itself; another keyset there is a refusal.
   * Throws `address_refused`, `registry_full`, `keyset_changed`, `worker_quarantined`, `worker_duplicate`, `admission_manifest_expired`, `admission_platform`,
   * `operator_signature_missing`, `operator_signature_invalid`, `controller_not_verified` and every code of `connect`.
   */
  admit(url: string, keysetDigest: string, claimed: Claimed = {}): Promise<AdmittedWorker> {
    const origin = workerOrigin(url, this.#options.allowLoopback)
    // By keyset too: whoever registers keys of his own at the address of another does not keep that other out meanwhile.
    const name = admissionName(origin, keysetDigest)
    const running = this.#admitting.get(name)
    if (running !== undefined) return running
    this.#forgetWorkers()
    const maxWorkers = this.#options.maxWorkers ?? 10_000
    if (!this.#workers.has(origin) && this.#workers.size + this.#admitting.size >= maxWorkers)
      throw fail('registry_full', `this controller takes at most ${maxWorkers} workers`)
    const admission = this.#admit(origin, keysetDigest, claimed).finally(() => {
      this.#admitting.delete(name)
      this.#gone.delete(name)
    })
    this.#admitting.set(name, admission)
    return admission
  }

  /**
   * Challenges an admitted worker again, as {@link admit} does, with what it said when it registered. Throws the same, and `worker_quarantined` where the worker was
   * set aside, or another took its place, meanwhile.
   */
  verifyAgain(worker: AdmittedWorker): Promise<AdmittedWorker> {
    return this.#admit(worker.origin, worker.service.report.keysetDigest, worker.claimed, worker)
  }

  async #admit(origin: string, keysetDigest: string, claimed: Claimed, again: AdmittedWorker | null = null): Promise<AdmittedWorker> {
    const { rules, now, sawSignedTime, openPool = this.#openPool, admissionMs = 30_000 } = this.#options
    const { ticket, operatorSignature = null, ownKeys } = claimed
    let { changes } = rules.releases
    const demands = await rules.current()
    const { asking: policy, trust } = demands
    const { held: releases } = rules.releases
    const transport = challengeTransport(origin, this.#options.ownTls?.() ?? null)
    // Whoever drips bytes would hold a place among the admissions for ever.
    const late = new Cancellation()
    const deadline = setTimeout(() => {
      transport.close()
      late.abort(new Error(`the admission took longer than ${admissionMs} ms`))
    }, admissionMs)
    try {
      const service = await connect(transport, {
        policy,
        releases,
        trust,
        role: 'worker',
        now,
        ...(ticket === undefined ? {} : { admissionTicket: ticket }),
      })
      if (service.report.keysetDigest !== keysetDigest)
        throw fail('keyset_changed', `the worker registered ${keysetDigest}, its evidence binds ${service.report.keysetDigest}`)
      sawSignedTime?.(service.report.claims.collateral.latestIssue)
      let party = await judgeParty(demands, service.report, operatorSignature)
      const ends = Math.min(
        demands.manifest?.manifest.expires ?? Number.MAX_SAFE_INTEGER,
        releasedUntil(service.report.claims, policyFor(service.options.policy, 'worker')),
      )
      const document = await sessionDocument(service, `worker ${origin}`, ends)
      const session = { id: await sessionId(document), document, text: jcs(document as unknown as Json) }
      // A manifest or a release statement that came into force meanwhile has judged those who were in, and not this one.
      for (let digest = demands.manifest?.digest; digest !== rules.described?.digest || changes !== rules.releases.changes; ) {
        changes = rules.releases.changes
        const newer = await rules.current()
        party = await judgeAgain(newer, service.report, operatorSignature, now())
        digest = newer.manifest?.digest
      }
      if (claimed.hinted === true) await demandServes(openPool(origin, spkiOf(session)), origin, late)
      // Nothing is awaited from here on: what is found now holds when the worker enters.
      const barred = this.#bans.against(party, keysetDigest)
      if (barred !== null) throw fail('worker_quarantined', barred)
      if (this.#gone.has(admissionName(origin, keysetDigest))) throw fail('worker_quarantined', 'it has left while it was verified')
      // Whoever relays to a worker could otherwise take as many shares of its traffic as he has addresses.
      const twin = this.#keysets.get(keysetDigest)
      if (twin !== undefined && twin.origin !== origin && twin.quarantine === null && !this.#over(twin, 0))
        throw fail('worker_duplicate', `this keyset serves as ${twin.origin} already; one enclave is one worker`)
      const before = this.#workers.get(origin)
      if (again !== null && (before !== again || again.quarantine !== null)) throw fail('worker_quarantined', 'set aside while it was verified again')
      this.#tenants.check(party, before?.party ?? null)
      // The same keys are the same worker: answers under way still need its connections, for the receipt that comes after them.
      // And as long as the worker knows this side by the same keys.
      const same = before?.service.report.keysetDigest === keysetDigest && spkiOf(before.session) === spkiOf(session)
      const kept = before !== undefined && same && (ownKeys === undefined || before.ownKeys === ownKeys) ? before.pool : null
      const pool = kept ?? openPool(origin, spkiOf(session))
      const load = before !== undefined && same ? before.load : new WorkerLoad()
      const worker: AdmittedWorker = {
        origin,
        service,
        session,
        pool,
        load,
        party,
        ownKeys: ownKeys ?? before?.ownKeys ?? null,
        claimed: operatorSignature === null ? {} : { operatorSignature },
        quarantine: null,
      }
      if (before !== undefined) this.#remove(before)
      this.#add(worker)
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

  #add(worker: AdmittedWorker): void {
    this.#roster.add(worker)
    this.#tenants.enter(worker.party)
    this.#options.onWorker?.(worker)
  }

  #remove(worker: AdmittedWorker): void {
    this.#roster.remove(worker)
    this.#tenants.leave(worker.party)
  }

  /**
   * Judges every worker again under what is demanded now, by the evidence that was verified when it was admitted: whoever no longer satisfies gets no more
   * requests. Where nobody may be admitted any more, nobody is served by.
   */
  async judgeAgain(): Promise<void> {
    const { rules, now } = this.#options
    const demands = await rules.current().catch((error: unknown) => (error instanceof VeriteeError ? error : Promise.reject(error)))
    for (const worker of this.serving()) {
      try {
        if (demands instanceof VeriteeError) throw demands
        await judgeAgain(demands, worker.service.report, worker.claimed.operatorSignature ?? null, now())
      } catch (error) {
        if (!(error instanceof VeriteeError)) throw error
        this.quarantine(worker, `${error.code}: ${error.message}`, 'session')
      }
    }
  }

  /** The worker with this keyset gets no more requests, and is forgotten once those under way have ended; one that is being admitted is not. False where there is neither. */
  leave(keysetDigest: string): boolean {
    const coming = [...this.#admitting.keys()].filter((name) => name.endsWith(` ${keysetDigest}`))
    for (const name of coming) this.#gone.add(name)
    const worker = this.withKeyset(keysetDigest)
    if (worker === undefined) return coming.length > 0
    this.quarantine(worker, 'it has left', 'session')
    this.#leaving.add(worker)
    this.forgetLeft()
    return true
  }

  /** Those who have left and have nothing under way any more are gone. */
  forgetLeft(): void {
    for (const worker of this.#leaving) {
      if (worker.load.outstanding > 0) continue
      this.#leaving.delete(worker)
      // It may have come back.
      if (this.#workers.get(worker.origin) === worker) this.#forget(worker)
    }
  }

  #forget(worker: AdmittedWorker): void {
    this.#remove(worker)
    worker.pool.close().catch(() => undefined)
  }

  /** Workers whose session ran out an hour ago and who have not come back are gone. Those admitted first end first, but for the few whose keyset ends before. */
  #forgetWorkers(): void {
    this.forgetLeft()
    for (const worker of this.#workers.values()) {
      if (!this.#over(worker, forgetSeconds)) return
      if (worker.load.outstanding > 0) continue
      this.#forget(worker)
    }
  }

  /** True where a session ended that many seconds ago. */
  #over({ session }: AdmittedWorker, seconds: number): boolean {
    return session.document.expires_at + seconds <= this.#options.now().getTime() / 1000
  }

  /**
   * Ends a worker's service, with the reason. `party`: for what only the enclave itself can have said over its pinned channel; it is held against operator and machine
   * ({@link Bans}), and ends the service of every worker of theirs that it bars. `session`: for what anybody on the wire can bring about (rule S5); a fresh challenge brings the worker back.
   */
  quarantine(worker: AdmittedWorker, reason: string, scope: 'party' | 'session'): void {
    const known = worker.quarantine !== null
    this.#roster.quarantine(worker, reason)
    if (!known) this.#options.onWorker?.(worker)
    if (scope === 'session') return
    const made = this.#bans.found(worker.party, worker.service.report.keysetDigest)
    if (made.length > 0) this.#options.onBan?.(made, reason)
    this.#enforce(reason)
  }

  /** Who is barred, and whose history is remembered; with `most`, those of late. */
  bans(most?: number): Ban[] {
    return this.#bans.list(most)
  }

  /** Takes over what somebody that this controller believes has found out; see {@link Bans.learn}. */
  learnBans(bans: readonly Ban[]): boolean {
    const news = this.#bans.learn(bans)
    if (news) this.#enforce('another controller, or this one before it started anew, has found it out')
    return news
  }

  /** See {@link Bans.standing}. */
  standingBan(subject: string): Ban | null {
    return this.#bans.standing(subject)
  }

  /** See {@link Bans.lift}. Whoever it was about comes back with a challenge, as from any other quarantine. */
  liftBan(subject: string): boolean {
    return this.#bans.lift(subject)
  }

  #enforce(reason: string): void {
    for (const worker of this.serving()) {
      const barred = this.#bans.against(worker.party, worker.service.report.keysetDigest)
      if (barred !== null) this.quarantine(worker, `${reason}; ${barred}`, 'session')
    }
  }

  /** The worker with this keyset, unless it is quarantined. */
  withKeyset(digest: string): AdmittedWorker | undefined {
    const worker = this.#keysets.get(digest)
    return worker?.quarantine === null ? worker : undefined
  }

  serving(): AdmittedWorker[] {
    return this.all().filter((worker) => worker.quarantine === null)
  }

  all(): AdmittedWorker[] {
    return [...this.#workers.values()]
  }

  /** How many there are, without a list of them. */
  get counts(): { readonly serving: number; readonly quarantined: number } {
    return this.#roster.counts
  }

  session(id: string): AdmittedWorker['session'] | undefined {
    return this.#roster.sessions.get(id)
  }

  async close(): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker.pool.destroy().catch(() => undefined)))
  }
}

const admissionName = (origin: string, keysetDigest: string): string => `${origin} ${keysetDigest}`

function spkiOf(session: AdmittedWorker['session']): string {
  return session.document.channel_binding[0]?.spki_sha256 ?? ''
}

/** A worker that serves verified controllers only says so on every answer. Throws `controller_not_verified`, and what the connection throws. Closes the pool. */
async function demandServes(pool: WorkerConnections, origin: string, signal: CancelSignal): Promise<void> {
  try {
    const answer = await callWorker(pool, { method: 'GET', path: '/healthz', headers: {}, body: null }, signal)
    await readWhole(answer, maxHealthBytes)
    if (answer.headers[unverifiedHeader] !== undefined)
      throw fail('controller_not_verified', `the worker at ${origin} has not verified this controller; it does so when it registers here`)
  } catch (cause) {
    throw cause instanceof VeriteeError ? cause : fail('service_unavailable', `${origin} does not answer`, cause)
  } finally {
    await pool.destroy()
  }
}
