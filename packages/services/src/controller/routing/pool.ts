import type { AdmittedWorker } from '../registry.ts'

/** A worker in the pool of one model. */
export interface Place {
  readonly worker: AdmittedWorker
  readonly pool: Pool
  /** Where it stands in {@link Pool.places}; -1 where it does not. */
  at: number
}

/** The workers of one model. Entering, leaving and choosing take the same time however many they are. */
export class Pool {
  readonly model: string
  /** Those that may get requests, in no order. */
  readonly places: Place[] = []
  /** Workers that have the model, those that may get no requests now among them. */
  known = 0

  constructor(model: string) {
    this.model = model
  }

  enter(place: Place): void {
    if (place.at >= 0) return
    place.at = this.places.push(place) - 1
  }

  leave(place: Place): void {
    if (place.at < 0) return
    const last = this.places.pop()
    if (last !== undefined && last !== place) {
      this.places[place.at] = last
      last.at = place.at
    }
    place.at = -1
  }
}
