import { randomBytes } from 'node:crypto'

/**
 * Tickets a worker gives to the controllers it registers with. A challenge that brings one back goes before those of strangers and may take the
 * place in the quote queue that is kept for admission (rule S22). Each serves once, for a minute; a stranger cannot guess 16 random bytes.
 */
export class Tickets {
  readonly #now: () => Date
  readonly #given = new Map<string, number>()

  constructor(now: () => Date) {
    this.#now = now
  }

  give(): string {
    const ticket = randomBytes(16).toString('hex')
    this.#given.set(ticket, this.#now().getTime())
    const oldest = this.#given.keys().next().value
    if (this.#given.size > 64 && oldest !== undefined) this.#given.delete(oldest)
    return ticket
  }

  take(ticket: string | undefined): boolean {
    if (ticket === undefined) return false
    const given = this.#given.get(ticket)
    this.#given.delete(ticket)
    return given !== undefined && this.#now().getTime() - given < 60_000
  }
}
