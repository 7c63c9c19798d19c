import type { AdmittedWorker } from '../registry.ts'
import { type Place, Pool } from './pool.ts'

export interface RouterOptions {
  readonly now: () => Date
  /** From 0 up to 1, without it. It spreads load and is no secret. */
  readonly random?: () => number
}

/** What a request asks of routing. */
export interface Wanted {
  readonly model: string
  /** Sessions that the requester pins; null where it pins none. */
  readonly sessionIds: readonly string[] | null
}

/**
 * Who may serve a model, and who does. Fed by the registry, which alone decides who is admitted (rule S3): nobody enters here but by
 * {@link Router.admitted}, and nobody is chosen after {@link Router.withdrawn} or after the end of the session.
 */
export class Router {
  readonly #now: () => Date
  readonly #random: () => number
  readonly #pools = new Map<string, Pool>()
  readonly #places = new Map<AdmittedWorker, readonly Place[]>()
  /** Those that may get requests, by session. */
  readonly #sessions = new Map<string, AdmittedWorker>()

  constructor({ now, random = Math.random }: RouterOptions) {
    this.#now = now
    this.#random = random
  }

  /** From now on the worker may get requests for its models. */
  admitted(worker: AdmittedWorker): void {
    const places = [...new Set(worker.service.report.descriptor.models.map(({ name }) => name))].map((model): Place => {
      const pool = this.#pools.get(model) ?? new Pool(model)
      this.#pools.set(model, pool)
      pool.known++
      const place = { worker, pool, at: -1 }
      pool.enter(place)
      return place
    })
    this.#places.set(worker, places)
    this.#sessions.set(worker.session.id, worker)
  }

  /** No requests from now on; its models stay known. */
  withdrawn(worker: AdmittedWorker): void {
    for (const place of this.#places.get(worker) ?? []) place.pool.leave(place)
    if (this.#sessions.get(worker.session.id) === worker) this.#sessions.delete(worker.session.id)
  }

  /** The worker is gone, or another session has taken its place. */
  forgotten(worker: AdmittedWorker): void {
    this.withdrawn(worker)
    for (const { pool } of this.#places.get(worker) ?? []) {
      pool.known--
      if (pool.known === 0) this.#pools.delete(pool.model)
    }
    this.#places.delete(worker)
  }

  /** True where some worker has the model, even if none may serve it now. */
  knows(model: string): boolean {
    return this.#pools.has(model)
  }

  /** Models that some worker may serve now, sorted. */
  models(): string[] {
    return [...this.#pools.values()]
      .filter((pool) => pool.places.length > 0)
      .map(({ model }) => model)
      .sort()
  }

  /** Workers that may serve a model now. For lists, not for requests. */
  serving(model: string): AdmittedWorker[] {
    const now = this.#seconds()
    return (this.#pools.get(model)?.places ?? []).map(({ worker }) => worker).filter((worker) => worker.session.document.expires_at > now)
  }

  /** A worker for a request, not one of those that were `tried`; null where there is none. */
  choose(wanted: Wanted, tried: readonly AdmittedWorker[]): AdmittedWorker | null {
    const now = this.#seconds()
    return wanted.sessionIds === null ? this.#leastBusyOfTwo(wanted.model, tried, now) : this.#pinned(wanted.sessionIds, wanted.model, tried, now)
  }

  #leastBusyOfTwo(model: string, tried: readonly AdmittedWorker[], now: number): AdmittedWorker | null {
    const pool = this.#pools.get(model)
    if (pool === undefined) return null
    const first = this.#pick(pool, tried, now)
    const second = this.#pick(pool, tried, now, first)
    if (first === null || second === null) return first
    return second.load.outstanding < first.load.outstanding ? second : first
  }

  /** One at random. Only the few that are to be left out are stepped over; whose session has ended leaves the pool. */
  #pick(pool: Pool, tried: readonly AdmittedWorker[], now: number, other: AdmittedWorker | null = null): AdmittedWorker | null {
    const { places } = pool
    let at = Math.floor(this.#random() * places.length)
    for (let left = tried.length + 1; left >= 0 && places.length > 0; ) {
      at = at < places.length ? at : 0
      const worker = places[at]?.worker
      if (worker === undefined) return null
      if (worker.session.document.expires_at <= now) {
        this.withdrawn(worker)
        continue
      }
      if (worker !== other && !tried.includes(worker)) return worker
      at++
      left--
    }
    return null
  }

  #pinned(ids: readonly string[], model: string, tried: readonly AdmittedWorker[], now: number): AdmittedWorker | null {
    let best: AdmittedWorker | null = null
    for (const id of ids) {
      const worker = this.#sessions.get(id)
      if (worker === undefined || tried.includes(worker) || worker.session.document.expires_at <= now) continue
      if (this.#places.get(worker)?.some(({ pool }) => pool.model === model) !== true) continue
      if (best === null || worker.load.outstanding < best.load.outstanding) best = worker
    }
    return best
  }

  #seconds(): number {
    return this.#now().getTime() / 1000
  }
}
