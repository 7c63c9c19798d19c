import type { IncomingMessage, ServerResponse } from 'node:http'
import { Linked, LinkedList } from '../../enclave/runtime/linked-list.ts'
import { network } from '../rate-limit.ts'
import { followWaiting } from '../waiting.ts'

/** The streams of one network that wait for their requester, those that have for longest first. */
interface Asker {
  readonly waiting: LinkedList<Place>
  streams: number
}

/** Of one stream, until it is closed. */
class Place extends Linked {
  readonly response: ServerResponse

  constructor(response: ServerResponse) {
    super()
    this.response = response
  }
}

/**
 * Bounds the streams of all connections of a listener, as `boundConnections` does the connections. Where there are as many as there may be, one that waits for its requester is cut for the one
 * that comes: of the network that has most of those, the one that has waited for longest. One that is being answered is never cut; where all are, the one that comes has no place.
 */
export class Places {
  readonly #most: number
  readonly #askers = new Map<string, Asker>()
  #taken = 0

  constructor(most: number) {
    this.#most = most
  }

  /** Until the response is closed. False where there is none. */
  take(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#taken >= this.#most && !this.#makeRoom()) return false
    const name = network(request.socket.remoteAddress ?? 'unknown')
    const asker = this.#askers.get(name) ?? { waiting: new LinkedList(), streams: 0 }
    this.#askers.set(name, asker)
    asker.streams++
    this.#taken++
    const place = new Place(response)
    const wait = (waits: boolean): void => {
      if (waits) asker.waiting.add(place)
      else asker.waiting.remove(place)
    }
    followWaiting(request, response, wait, () => {
      this.#taken--
      if (--asker.streams === 0) this.#askers.delete(name)
    })
    return true
  }

  #makeRoom(): boolean {
    let fullest: LinkedList<Place> | null = null
    for (const { waiting } of this.#askers.values()) if (waiting.length > (fullest?.length ?? 0)) fullest = waiting
    const victim = fullest?.first ?? null
    if (fullest === null || victim === null) return false
    // Its place is given back when its stream is closed, right after this.
    fullest.remove(victim)
    victim.response.destroy()
    return true
  }
}
