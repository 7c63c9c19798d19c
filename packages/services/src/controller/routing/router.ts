import { HttpError } from '../../http/errors.ts'
import { unverifiedSuffix } from '../../http/unverified.ts'
import type { CancelSignal } from '../cancellation.ts'
import type { AdmittedWorker } from '../registry.ts'
import { Affinity } from './affinity.ts'
import type { BreakerState } from './breaker.ts'
import { type Chosen, RoutingFigures } from './figures.ts'
import { Lease } from './lease.ts'
import { defaultLimits, type RoutingLimits } from './limits.ts'
import { type Place, Pool } from './pool.ts'
import type { Waiting } from './queue.ts'
import { Seat } from './seat.ts'
import type { WorkerLoad } from './worker-load.ts'

export interface RouterOptions {
  readonly now: () => Date
  readonly limits?: Partial<RoutingLimits>
  /** From 0 up to 1, without it. It spreads load and is no secret. */
  readonly random?: () => number
  /** Told how long each request waited for a worker that got one after it had to wait. It must not throw. */
  readonly onWaited?: (model: string, seconds: number) => void
}

/** Whose request it is. */
export interface Asker {
  /** Who waits in whose turn. */
  readonly tenant: string
  /** With whom it may share what an engine has evaluated: who knows this text. */
  readonly salt: string
}

/** What a request asks of routing. */
export interface Wanted extends Asker {
  readonly model: string
  /** Sessions that the requester pins; null where it pins none. */
  readonly sessionIds: readonly string[] | null
  /** The request, for how it begins; null where that makes no difference to a worker. */
  readonly body: Readonly<Record<string, unknown>> | null
  readonly promptBytes: number
  readonly maxTokens: number | null
}

/**
 * Why there is no worker: none has the model, none that has it is verified, none of the pinned sessions is in force, all that are left have as many
 * requests as they may have, all that are left fail or were tried.
 */
export type Lacking = 'unknown' | 'unverified' | 'unpinned' | 'busy' | 'unreachable'

/**
 * Who may serve a model, and who does. Fed by the registry, which alone decides who is admitted (rule S3): nobody enters here but by
 * {@link Router.admitted}, and nobody is chosen after {@link Router.withdrawn} or after the end of the session.
 *
 * Among those: the worker to which requests that begin alike go, unless it has more than its share; else the one of two drawn at random that would be
 * done first. No step takes longer for more workers.
 */
export class Router {
  readonly #limits: RoutingLimits
  readonly figures = new RoutingFigures()
  readonly #options: RouterOptions
  readonly #random: () => number
  readonly #affinity = new Affinity()
  readonly #pools = new Map<string, Pool>()
  /** Every worker that was admitted and not forgotten, with the models it has. */
  readonly #known = new Map<AdmittedWorker, readonly Pool[]>()
  readonly #seats = new Map<WorkerLoad, Seat>()
  /** Those whose session is in force, by it. */
  readonly #sessions = new Map<string, Seat>()
  readonly #changed = (load: WorkerLoad): void => this.#seats.get(load)?.refresh(this.limits.workerRequests)

  constructor(options: RouterOptions) {
    this.#options = options
    this.#random = options.random ?? Math.random
    this.#limits = { ...defaultLimits, ...options.limits }
  }

  get limits(): RoutingLimits {
    return this.#limits
  }

  /**
   * Other limits from now on, in a running controller. Requests that are with a worker, or wait, keep what they have; connections to workers that were
   * admitted before stay as many as they are until those come anew.
   */
  adjust(limits: Partial<RoutingLimits>): void {
    // The same object: circuit breakers look at it.
    Object.assign(this.#limits, limits)
    for (const pool of this.#pools.values()) pool.queue.most = this.limits.queueRequests
    for (const seat of this.#seats.values()) seat.refresh(this.limits.workerRequests)
  }

  /** From now on the worker may get requests for its models. */
  admitted(worker: AdmittedWorker): void {
    const { report } = worker.service
    const breaker = worker.load.breaker(this.limits, (state) => this.#turned(worker.load, state))
    const seat = new Seat(worker, breaker)
    const hash = this.#affinity.ofWorker(report.keysetDigest)
    // Rule S22: a name is served by attested workers or by others, and this one by others.
    const names = report.descriptor.models.map(({ name }) => name).filter((name) => !name.endsWith(unverifiedSuffix))
    const pools = [...new Set(names)].map((model) => {
      const pool = this.#pools.get(model) ?? new Pool(model, this.limits.queueRequests)
      this.#pools.set(model, pool)
      pool.known++
      seat.add({ seat, pool, load: worker.load.of(model), hash, inGroup: -1, at: -1 })
      return pool
    })
    this.#known.set(worker, pools)
    this.#seats.set(worker.load, seat)
    this.#sessions.set(worker.session.id, seat)
    seat.refresh(this.limits.workerRequests)
  }

  /** No requests from now on; its models stay known. */
  withdrawn(worker: AdmittedWorker): void {
    const seat = this.#seats.get(worker.load)
    if (seat?.worker !== worker) return
    this.#seats.delete(worker.load)
    if (this.#sessions.get(worker.session.id) === seat) this.#sessions.delete(worker.session.id)
    seat.withdraw()
  }

  /** The worker is gone, or another session has taken its place. */
  forgotten(worker: AdmittedWorker): void {
    this.withdrawn(worker)
    for (const pool of this.#known.get(worker) ?? []) {
      pool.known--
      if (pool.known === 0) this.#pools.delete(pool.model)
    }
    this.#known.delete(worker)
  }

  /** Models that some worker may serve now, sorted. */
  models(): string[] {
    return [...this.#pools.values()]
      .filter((pool) => pool.members.size > 0)
      .map(({ model }) => model)
      .sort()
  }

  /** Workers that may serve a model now. For lists, not for requests. */
  serving(model: string): AdmittedWorker[] {
    const now = this.#seconds()
    return [...(this.#pools.get(model)?.members ?? [])].map(({ seat }) => seat.worker).filter(({ session }) => session.document.expires_at > now)
  }

  /** The worker of a session, where it may get requests now. */
  ofSession(id: string): AdmittedWorker | null {
    const worker = this.#sessions.get(id)?.worker
    return worker !== undefined && worker.session.document.expires_at > this.#seconds() ? worker : null
  }

  /** A hold on the worker of a session for a request that nobody else could serve, and whose model nobody here knows; or why there is none now. */
  takeSession(id: string): { readonly worker: AdmittedWorker; end(): void } | 'unpinned' | 'busy' {
    const worker = this.ofSession(id)
    if (worker === null) return 'unpinned'
    const { load } = worker
    if (!load.hasRoom(this.limits.workerRequests)) return 'busy'
    let held = 1
    load.outstanding++
    this.#changed(load)
    const end = (): void => {
      load.outstanding -= held
      held = 0
      this.#changed(load)
    }
    return { worker, end }
  }

  /** For metrics. */
  *load(): Iterable<{ readonly model: string; readonly running: number; readonly waiting: number; readonly members: number }> {
    for (const { model, requests, queue, members } of this.#pools.values())
      yield { model, running: requests, waiting: queue.length, members: members.size }
  }

  /** Null for a worker that gets no requests at all. For operators. */
  breakerOf(worker: AdmittedWorker): BreakerState | null {
    const seat = this.#sessions.get(worker.session.id)
    return seat?.worker === worker ? seat.breaker.state : null
  }

  /** How many workers each breaker state keeps. For metrics. */
  breakers(): Readonly<Record<BreakerState, number>> {
    const counts = { closed: 0, open: 0, half_open: 0 }
    for (const { breaker } of this.#seats.values()) counts[breaker.state]++
    return counts
  }

  /** A hold on a worker that is not one of those `tried`, or why there is none now. */
  take(wanted: Wanted, tried: readonly AdmittedWorker[]): Lease | Lacking {
    const pool = this.#pools.get(wanted.model)
    if (wanted.sessionIds !== null) return this.#takePinned(wanted.sessionIds, wanted, tried)
    if (pool === undefined) return 'unknown'
    const now = this.#seconds()
    const fit = ({ seat, at }: Place): boolean =>
      at >= 0 && seat.worker.session.document.expires_at > now && !(tried.length > 0 && tried.includes(seat.worker))
    const work = pool.estimate(wanted.promptBytes, wanted.maxTokens)
    const place = this.#affine(pool, wanted, fit) ?? this.#ofTwo(pool, work, tried, now)
    if (place !== null) return this.#lease(place, work)
    if (pool.members.size === 0) return 'unverified'
    const triedAndFull = tried.filter(({ load }) => this.#seats.get(load)?.state === 'full').length
    return pool.full > triedAndFull ? 'busy' : 'unreachable'
  }

  /**
   * A hold on a worker as soon as one has room. Throws {@link HttpError}: 429 `queue_full`, 503 `queue_timeout`, 503 where the last verified worker went,
   * and what `signal` gives as its reason.
   */
  wait(wanted: Wanted, tried: readonly AdmittedWorker[], signal: CancelSignal): Promise<Lease> {
    const { queueMs, workerRequests } = this.limits
    const pool = this.#pools.get(wanted.model)
    if (pool === undefined) return Promise.reject(unverified())
    const headers = { 'retry-after': pool.retryAfter(workerRequests) }
    const { promise, resolve, reject } = Promise.withResolvers<Lease>()
    const since = performance.now()
    const over = (end: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', left)
      end()
    }
    const one: Waiting<Place> = {
      tenant: wanted.tenant,
      takes: ({ seat: { worker } }) =>
        !tried.includes(worker) &&
        worker.session.document.expires_at > this.#seconds() &&
        (wanted.sessionIds === null || wanted.sessionIds.includes(worker.session.id)),
      give: (place) =>
        over(() => {
          this.#options.onWaited?.(wanted.model, (performance.now() - since) / 1000)
          resolve(this.#lease(place, pool.estimate(wanted.promptBytes, wanted.maxTokens)))
        }),
      refuse: () => over(() => reject(unverified())),
    }
    const left = (): void => {
      pool.queue.remove(one)
      this.figures.left('requester_left')
      over(() => reject(signal.reason))
    }
    const timer = setTimeout(() => {
      pool.queue.remove(one)
      this.figures.left('timeout')
      const message = `no worker had room for this request within ${queueMs / 1000} s; retry later`
      over(() => reject(new HttpError(503, 'server_error', message, { code: 'queue_timeout', headers })))
    }, queueMs)
    if (signal.aborted) left()
    else if (!pool.queue.add(one)) {
      this.figures.left('full')
      const message = 'as many requests as may wait for this model are waiting already; retry later'
      over(() => reject(new HttpError(429, 'rate_limit_error', message, { code: 'queue_full', headers })))
    } else signal.addEventListener('abort', left)
    return promise
  }

  #lease(place: Place, work: number): Lease {
    return new Lease(place, work, this.#changed)
  }

  /** Where requests that begin like this one go, as long as that worker, or the one after it, has room. */
  #affine(pool: Pool, { salt, body }: Wanted, fit: (place: Place) => boolean): Place | null {
    if (body === null || pool.members.size < 2) return null
    const key = this.#affinity.of(salt, body)
    if (key === null) return null
    const now = performance.now()
    const [first, second] = pool.rendezvous.best(key, fit)
    if (first !== null && pool.hasRoom(first, now)) return this.#count('affinity', first)
    if (second !== null && pool.hasRoom(second, now)) return this.#count('affinity_second', second)
    return null
  }

  #ofTwo(pool: Pool, work: number, tried: readonly AdmittedWorker[], seconds: number): Place | null {
    const first = this.#draw(pool, tried, seconds, null)
    if (first === null) return null
    const second = this.#draw(pool, tried, seconds, first)
    const now = performance.now()
    return this.#count('two_choices', second !== null && pool.cost(second, work, now) < pool.cost(first, work, now) ? second : first)
  }

  /** One at random. Only the few that are to be left out are stepped over; whose session has ended leaves the pool. */
  #draw({ free }: Pool, tried: readonly AdmittedWorker[], seconds: number, other: Place | null): Place | null {
    let at = Math.floor(this.#random() * free.length)
    for (let left = tried.length + 1; left >= 0 && free.length > 0; ) {
      if (at >= free.length) at = 0
      const place = free[at]
      if (place === undefined) return null
      const { worker } = place.seat
      if (worker.session.document.expires_at <= seconds) {
        this.withdrawn(worker)
        continue
      }
      if (place !== other && !tried.includes(worker)) return place
      at++
      left--
    }
    return null
  }

  #takePinned(ids: readonly string[], wanted: Wanted, tried: readonly AdmittedWorker[]): Lease | Lacking {
    const seconds = this.#seconds()
    const now = performance.now()
    let lacking: Lacking = 'unpinned'
    let best: Place | null = null
    let [bestWork, bestCost] = [0, Number.POSITIVE_INFINITY]
    for (const id of ids) {
      const place = this.#sessions.get(id)?.placeFor(wanted.model) ?? null
      if (place === null || place.seat.worker.session.document.expires_at <= seconds) continue
      const { state, worker } = place.seat
      const left = !tried.includes(worker)
      if (lacking !== 'busy') lacking = left && state === 'full' ? 'busy' : 'unreachable'
      if (!left || state !== 'free') continue
      const work = place.pool.estimate(wanted.promptBytes, wanted.maxTokens)
      const cost = place.pool.cost(place, work, now)
      if (cost < bestCost) [best, bestWork, bestCost] = [place, work, cost]
    }
    return best === null ? lacking : this.#lease(this.#count('pinned', best), bestWork)
  }

  #turned(load: WorkerLoad, state: BreakerState): void {
    this.figures.turned(state)
    this.#changed(load)
  }

  #count(how: Chosen, place: Place): Place {
    this.figures.chosen(how)
    return place
  }

  #seconds(): number {
    return this.#options.now().getTime() / 1000
  }
}

/** Aci/1 section 5.3: what nobody verified may serve is refused. */
export function unverified(): HttpError {
  return new HttpError(503, 'upstream_verification_failed', 'no verified worker serves this model now', { headers: { 'retry-after': '5' } })
}
