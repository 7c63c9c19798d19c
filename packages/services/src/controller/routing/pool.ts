import { Queue } from './queue.ts'
import { type Key, Rendezvous } from './rendezvous.ts'
import type { Seat } from './seat.ts'
import type { Speed } from './speed.ts'
import { workOf } from './speed.ts'
import type { ModelLoad } from './worker-load.ts'

/** A worker in the pool of one model. */
export interface Place {
  readonly seat: Seat
  readonly pool: Pool
  readonly load: ModelLoad
  readonly hash: Key
  inGroup: number
  /** Where it stands in {@link Pool.free}; -1 where it does not. */
  at: number
}

/** Weight of a new measurement in the means of a pool. */
const weight = 0.05
/** A worker whose requests begin alike takes this much more than its share of the model's requests before they go elsewhere. */
const loadFactor = 1.25

/** The workers of one model. Entering, leaving and choosing take the same time however many they are. */
export class Pool {
  readonly model: string
  /** Those that take a request now, in no order. */
  readonly free: Place[] = []
  /** Those whose session is in force, whether they take a request now or not. */
  readonly members = new Set<Place>()
  readonly rendezvous = new Rendezvous<Place>()
  readonly queue: Queue<Place>
  /** Workers that have the model, those that may get no requests among them. */
  known = 0
  /** Members that would take a request if they had not as many as they may have. */
  full = 0
  /** Requests for the model under way. */
  requests = 0
  /** Work per second that a request usually gets. */
  #speed = 1
  #tokens = 256
  #seconds = 1
  #measured = false

  constructor(model: string, queueRequests: number) {
    this.model = model
    this.queue = new Queue(queueRequests)
  }

  add(place: Place): void {
    this.members.add(place)
    this.rendezvous.add(place)
  }

  remove(place: Place): void {
    this.members.delete(place)
    this.rendezvous.remove(place)
  }

  enter(place: Place): void {
    if (place.at < 0) place.at = this.free.push(place) - 1
  }

  leave(place: Place): void {
    if (place.at < 0) return
    const last = this.free.pop()
    if (last !== undefined && last !== place) {
      this.free[place.at] = last
      last.at = place.at
    }
    place.at = -1
  }

  /** What a request will probably take. A worker is not asked for its tokenizer: four bytes are about a token. */
  estimate(promptBytes: number, maxTokens: number | null): number {
    return workOf(promptBytes / 4, Math.min(maxTokens ?? Number.POSITIVE_INFINITY, this.#tokens))
  }

  measure(speed: Speed, promptTokens: number, completionTokens: number, seconds: number, now: number): void {
    const work = workOf(promptTokens, completionTokens)
    speed.measure(work, seconds, now)
    const share = this.#measured ? weight : 1
    this.#measured = true
    this.#speed += share * (work / Math.max(seconds, 0.001) - this.#speed)
    this.#tokens += share * (completionTokens - this.#tokens)
    this.#seconds += share * (seconds - this.#seconds)
  }

  /** Seconds until a place would be done with its work and some more: what is least, is best. */
  cost({ seat, load }: Place, work: number, now: number): number {
    return (seat.worker.load.work + work) / load.speed.against(this.#speed, now)
  }

  /** False where a worker has more than its share of the model's requests; a faster one's share is larger. */
  hasRoom({ load }: Place, now: number): boolean {
    const relative = load.speed.against(this.#speed, now) / this.#speed
    return load.requests < 1 + (loadFactor * relative * (this.requests + 1)) / this.members.size
  }

  /** When somebody who is not taken now might be. */
  retryAfter(workerRequests: number): string {
    const places = Math.max(1, this.members.size * workerRequests)
    return String(Math.min(60, Math.max(1, Math.ceil((this.#seconds * (this.queue.length + 1)) / places))))
  }
}
