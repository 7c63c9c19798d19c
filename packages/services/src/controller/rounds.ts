/** Work that is done again and again, and on demand: one round at a time, and who asks during one gets that one. */
export class Rounds {
  readonly #round: () => Promise<void>
  readonly #timer: NodeJS.Timeout
  #running: Promise<void> | null = null

  /** Whatever a round of the timer throws is for the next one to do better; who asks for one is told. */
  constructor(round: () => Promise<void>, everyMs: number) {
    this.#round = round
    this.#timer = setInterval(() => void this.now().catch(() => undefined), everyMs)
    this.#timer.unref()
  }

  now(): Promise<void> {
    this.#running ??= this.#round().finally(() => {
      this.#running = null
    })
    return this.#running
  }

  /** A round that begins after this was called, for what has changed just now. */
  async anew(): Promise<void> {
    if (this.#running !== null) await this.#running.catch(() => undefined)
    await this.now()
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
