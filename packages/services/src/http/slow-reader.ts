import type { ServerResponse } from 'node:http'

/** Who writes to a response, as far as it can be stopped. */
export interface Source {
  pause(): void
  resume(): void
}

/** Holds a source up while the reader of a response takes nothing, and ends the response where that lasts. */
export class SlowReader {
  readonly #response: ServerResponse
  readonly #source: Source
  readonly #stalledMs: number
  #timer: NodeJS.Timeout | null = null

  constructor(response: ServerResponse, source: Source, stalledMs = 60_000) {
    this.#response = response
    this.#source = source
    this.#stalledMs = stalledMs
  }

  /** After a write that found no room. */
  wait(): void {
    if (this.#timer !== null) return
    this.#source.pause()
    this.#response.once('drain', this.#drained)
    this.#timer = setTimeout(() => this.#response.destroy(), this.#stalledMs)
  }

  /** The source has ended. */
  end(): void {
    this.#response.off('drain', this.#drained)
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  readonly #drained = (): void => {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    this.#source.resume()
  }
}
