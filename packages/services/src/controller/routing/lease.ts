import type { AdmittedWorker } from '../registry.ts'
import type { Usage } from '../stages/access.ts'
import type { Place } from './pool.ts'
import type { WorkerLoad } from './worker-load.ts'

/** A request's hold on a worker, from before it is sent until its answer has ended. */
export class Lease {
  readonly worker: AdmittedWorker
  readonly #place: Place
  readonly #load: WorkerLoad
  readonly #work: number
  readonly #changed: (load: WorkerLoad) => void
  #ended = false
  #probe = false

  /** `changed` is told when the worker may take more or less than before. */
  constructor(place: Place, work: number, changed: (load: WorkerLoad) => void) {
    const { seat, pool, load } = place
    this.worker = seat.worker
    this.#place = place
    this.#load = seat.worker.load
    this.#work = work
    this.#changed = changed
    this.#load.outstanding++
    this.#load.work += work
    load.requests++
    pool.requests++
    if (seat.breaker.state === 'half_open') {
      this.#probe = true
      seat.breaker.probing = true
    }
    changed(this.#load)
  }

  /** The worker has begun to answer. */
  began(): void {
    this.#probe = false
    this.#place.seat.breaker.began()
  }

  /** The worker has answered, and not by failing. */
  succeeded(): void {
    this.#probe = false
    this.#load.answered()
    this.#place.seat.breaker.succeeded()
  }

  /** The worker has no room for this one. */
  refusedForWantOfRoom(): void {
    this.#probe = false
    this.#place.seat.breaker.began()
    this.#load.refusedForWantOfRoom()
  }

  failed(): void {
    this.#probe = false
    this.#place.seat.breaker.failed()
  }

  /** What an answer took. Counts that a worker signed are bounded by the bytes that went over the wire: it cannot have read or written more tokens than those. */
  measured({ promptTokens, completionTokens }: Usage, bytes: { readonly sent: number; readonly received: number }, seconds: number): void {
    this.#place.pool.measure(
      this.#place.load.speed,
      Math.min(promptTokens, bytes.sent),
      Math.min(completionTokens, bytes.received),
      seconds,
      performance.now(),
    )
  }

  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#load.outstanding--
    this.#load.work = this.#load.outstanding === 0 ? 0 : this.#load.work - this.#work
    this.#place.load.requests--
    this.#place.pool.requests--
    // A probe that told nothing, because the requester left: the next request is the probe.
    if (this.#probe) this.#place.seat.breaker.probing = false
    this.#changed(this.#load)
  }
}
