import { HttpError } from '../../http/errors.ts'
import { network } from '../../http/rate-limit.ts'

const most = { all: 64, address: 16 } as const

/**
 * Bounds how many requests with large bodies are held at a time: 64 of half a mebibyte each, and 16 of one network, so that one who sends slowly does not take
 * all places.
 */
export class Places {
  readonly #held = new Map<string, number>()
  #all = 0

  /** Gives what gives the place back. Throws 503 as {@link HttpError}. */
  enter(fullAddress: string): () => void {
    const address = network(fullAddress)
    const held = this.#held.get(address) ?? 0
    if (this.#all >= most.all || held >= most.address)
      throw new HttpError(503, 'server_error', 'too much evidence is being read already', { headers: { 'retry-after': '1', connection: 'close' } })
    this.#all++
    this.#held.set(address, held + 1)
    return () => {
      this.#all--
      const left = (this.#held.get(address) ?? 1) - 1
      if (left === 0) this.#held.delete(address)
      else this.#held.set(address, left)
    }
  }
}
