/** A request that waits for a worker. */
export interface Waiting<W> {
  readonly tenant: string
  /** Tells it that it has a worker. */
  give(to: W): void
  /** Tells it that it will have none. */
  refuse(): void
  /** True where this worker may serve it. */
  takes(worker: W): boolean
}

/**
 * Requests that wait for one model, bounded. Tenants take turns, and one has half of the places at most: whoever floods waits behind himself.
 */
export class Queue<W> {
  /** Places; those that wait beyond a lower number keep theirs. */
  most: number
  readonly #tenants = new Map<string, Set<Waiting<W>>>()
  #length = 0

  constructor(most: number) {
    this.most = most
  }

  get length(): number {
    return this.#length
  }

  /** False where there is no room. */
  add(one: Waiting<W>): boolean {
    const own = this.#tenants.get(one.tenant) ?? new Set()
    if (this.#length >= this.most || own.size >= Math.ceil(this.most / 2)) return false
    own.add(one)
    this.#tenants.set(one.tenant, own)
    this.#length++
    return true
  }

  remove(one: Waiting<W>): void {
    const own = this.#tenants.get(one.tenant)
    if (own?.delete(one) !== true) return
    this.#length--
    if (own.size === 0) this.#tenants.delete(one.tenant)
  }

  /** The worker goes to who has waited longest of the tenant whose turn it is. False where nobody takes it. */
  serve(worker: W): boolean {
    for (const [tenant, own] of this.#tenants)
      for (const one of own) {
        if (!one.takes(worker)) continue
        this.remove(one)
        // To the end of the line.
        if (own.size > 0) {
          this.#tenants.delete(tenant)
          this.#tenants.set(tenant, own)
        }
        one.give(worker)
        return true
      }
    return false
  }

  refuseAll(): void {
    for (const own of [...this.#tenants.values()])
      for (const one of [...own]) {
        this.remove(one)
        one.refuse()
      }
  }
}
