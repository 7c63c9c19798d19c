import type { AdmittedWorker } from './registry.ts'
import type { Router } from './routing/router.ts'

/**
 * Who is here, under each name by which somebody is looked for. Nobody is judged here: the registry says who comes and who goes. No step takes longer for
 * more workers.
 */
export class Roster {
  /** By origin, those that were admitted last at the end. */
  readonly workers = new Map<string, AdmittedWorker>()
  /** By keyset digest, the one that was admitted last. */
  readonly keysets = new Map<string, AdmittedWorker>()
  /** Sessions outlive workers: receipts cite them (aci/1 section 8, retention). */
  readonly sessions = new Map<string, AdmittedWorker['session']>()
  /** Ids of sessions that are no longer in use, the oldest first. */
  readonly #past = new Set<string>()
  readonly #maxPastSessions: number
  readonly #routing: Router
  #serving = 0

  constructor(routing: Router, maxPastSessions: number) {
    this.#routing = routing
    this.#maxPastSessions = maxPastSessions
  }

  add(worker: AdmittedWorker): void {
    this.workers.set(worker.origin, worker)
    this.keysets.set(worker.service.report.keysetDigest, worker)
    this.sessions.set(worker.session.id, worker.session)
    this.#past.delete(worker.session.id)
    this.#serving++
    this.#routing.admitted(worker)
  }

  /** Registering costs nothing, and each registration leaves a session: only so many that are not in use are kept. */
  remove(worker: AdmittedWorker): void {
    const { origin, service, session } = worker
    this.workers.delete(origin)
    if (this.keysets.get(service.report.keysetDigest) === worker) this.keysets.delete(service.report.keysetDigest)
    if (worker.quarantine === null) this.#serving--
    this.#routing.forgotten(worker)
    this.#past.add(session.id)
    const [oldest] = this.#past
    if (this.#past.size <= this.#maxPastSessions || oldest === undefined) return
    this.#past.delete(oldest)
    this.sessions.delete(oldest)
  }

  /** Ends a worker's service, with the reason. A request may still end on a worker whose place another has taken. */
  quarantine(worker: AdmittedWorker, reason: string): void {
    if (worker.quarantine === null && this.workers.get(worker.origin) === worker) this.#serving--
    worker.quarantine = reason
    this.#routing.withdrawn(worker)
  }

  /** How many there are, without a list of them. */
  get counts(): { readonly serving: number; readonly quarantined: number } {
    return { serving: this.#serving, quarantined: this.workers.size - this.#serving }
  }
}
