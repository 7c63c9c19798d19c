/** What can be in a {@link LinkedList}, in one at a time. */
export class Linked {
  list: unknown = null
  before: Linked | null = null
  after: Linked | null = null
}

/** What comes and goes with each request, in the order in which it came: who takes something out has it at hand, so there is no key to look for and no table to make anew. */
export class LinkedList<T extends Linked> {
  #first: T | null = null
  #last: T | null = null
  #length = 0

  get length(): number {
    return this.#length
  }

  get first(): T | null {
    return this.#first
  }

  /** At the end. Throws TypeError for what is in a list already. */
  add(item: T): void {
    if (item.list !== null) throw new TypeError('LinkedList: this item is in a list already')
    item.list = this
    item.before = this.#last
    if (this.#last === null) this.#first = item
    else this.#last.after = item
    this.#last = item
    this.#length++
  }

  /** Does nothing with what is not in this list. What was in it points to none of the others any more: old and dead, it would keep them alive. */
  remove(item: T): void {
    if (item.list !== this) return
    item.list = null
    const before = item.before as T | null
    const after = item.after as T | null
    if (before === null) this.#first = after
    else before.after = after
    if (after === null) this.#last = before
    else after.before = before
    item.before = null
    item.after = null
    this.#length--
  }

  find(wanted: (item: T) => boolean): T | undefined {
    for (let item = this.#first; item !== null; item = item.after as T | null) if (wanted(item)) return item
    return undefined
  }
}
