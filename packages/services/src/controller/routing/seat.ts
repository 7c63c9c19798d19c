import type { AdmittedWorker } from '../registry.ts'
import type { Breaker } from './breaker.ts'
import type { Place } from './pool.ts'

/** Whether a worker takes a request now: `full` has as many as it may have, `held` is kept out by its breaker. */
export type SeatState = 'free' | 'full' | 'held'

/** An admitted worker in the pools of all its models, from its admission until it is withdrawn. */
export class Seat {
  readonly worker: AdmittedWorker
  readonly breaker: Breaker
  readonly #places: Place[] = []
  #state: SeatState = 'held'
  /** Models take turns. */
  #turn = 0

  constructor(worker: AdmittedWorker, breaker: Breaker) {
    this.worker = worker
    this.breaker = breaker
  }

  add(place: Place): void {
    this.#places.push(place)
    place.pool.add(place)
  }

  get state(): SeatState {
    return this.#state
  }

  placeFor(model: string): Place | null {
    return this.#places.find(({ pool }) => pool.model === model) ?? null
  }

  /** Works out again whether it takes a request. It costs something only where that has changed; who waits is then served. */
  refresh(workerRequests: number): void {
    const { load } = this.worker
    const state = !this.breaker.passes ? 'held' : load.hasRoom(workerRequests) ? 'free' : 'full'
    if (state === this.#state) return
    this.#become(state)
    if (state === 'free') this.#serve()
  }

  /** Out of all pools. Where a pool is left without a worker, nobody waits any longer. */
  withdraw(): void {
    this.#become('held')
    for (const place of this.#places) {
      place.pool.remove(place)
      if (place.pool.members.size === 0) place.pool.queue.refuseAll()
    }
  }

  #become(state: SeatState): void {
    const before = this.#state
    this.#state = state
    for (const place of this.#places) {
      if (before === 'full') place.pool.full--
      if (state === 'full') place.pool.full++
      if (state === 'free') place.pool.enter(place)
      else place.pool.leave(place)
    }
  }

  #serve(): void {
    const places = this.#places
    let idle = 0
    while (this.#state === 'free' && idle < places.length) {
      const place = places[this.#turn++ % places.length]
      idle = place !== undefined && place.pool.queue.length > 0 && place.pool.queue.serve(place) ? 0 : idle + 1
    }
  }
}
