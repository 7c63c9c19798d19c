/** One at a time, in the order in which they come: an engine that was opened for replays has one sequence. */
export class InTurn {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(act: () => Promise<T>): Promise<T> {
    const next = this.#last.then(act)
    this.#last = next.catch(() => undefined)
    return next
  }
}
