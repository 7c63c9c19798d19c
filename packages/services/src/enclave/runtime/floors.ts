/** Rows of which it is remembered how new they were. Those of one table are few, but for what keys have used. */
export const maxFloors = 65_536

/** How new the rows of one table were, as far as they were seen; those that were seen first are forgotten first. */
export class Floors {
  readonly #versions = new Map<string, number>()
  /** Goes on where it stood. One that begins anew goes over the place of each that was forgotten since the map was last made anew, tens of thousands for every row. */
  readonly #oldest = this.#versions.keys()

  /** 0 for what was not seen. */
  of(key: string): number {
    return this.#versions.get(key) ?? 0
  }

  raise(key: string, version: number): void {
    this.#versions.set(key, Math.max(version, this.of(key)))
    if (this.#versions.size <= maxFloors) return
    // There is one: only what it gave was forgotten.
    const { value } = this.#oldest.next()
    if (value !== undefined) this.#versions.delete(value)
  }
}
