/**
 * The clock of the demo's validator, and with it of its beacon, its log and the witness: that of the machine, put forward where an epoch would have to be waited for. Enclaves and client go by the machine's.
 */
export class DemoClock {
  #ahead = 0
  readonly now = (): Date => new Date(Date.now() + this.#ahead)

  /** Never back. */
  putForward(unixSeconds: number): void {
    this.#ahead = Math.max(this.#ahead, unixSeconds * 1000 - Date.now())
  }
}
