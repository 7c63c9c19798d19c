import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { fail } from 'veritee/errors'

const lifeMs = 60_000
/** Registrations within a minute that are remembered, so that none serves twice. */
const maxUsed = 100_000

/**
 * Nonces for registrations. Asking for one leaves nothing behind: a nonce holds its time and a code that only this process can make, so nobody can push out those
 * of others. Each serves once, within a minute.
 */
export class RegistrationNonces {
  readonly #now: () => Date
  readonly #secret = randomBytes(32)
  /** With the time from which they would be too old anyway, the oldest first. */
  readonly #used = new Map<string, number>()

  constructor(now: () => Date) {
    this.#now = now
  }

  /** 32 bytes hex: time, randomness, code. */
  give(): string {
    const head = Buffer.alloc(16)
    head.writeBigUInt64BE(BigInt(this.#now().getTime()))
    randomBytes(8).copy(head, 8)
    return Buffer.concat([head, this.#code(head)]).toString('hex')
  }

  /** Throws `registration_replayed` for a nonce that is not of this process, too old, or used; `registry_full` where too many were used within a minute. */
  take(nonce: string): void {
    const bytes = Buffer.from(nonce, 'hex')
    const head = bytes.subarray(0, 16)
    const own = bytes.length === 32 && timingSafeEqual(bytes.subarray(16), this.#code(head))
    const now = this.#now().getTime()
    const age = own ? now - Number(head.readBigUInt64BE()) : Number.POSITIVE_INFINITY
    if (age < 0 || age >= lifeMs) throw fail('registration_replayed', 'expected a nonce that this controller gave out within the last minute')
    for (const [old, until] of this.#used) {
      if (until > now) break
      this.#used.delete(old)
    }
    if (this.#used.has(nonce)) throw fail('registration_replayed', 'this nonce has served already')
    if (this.#used.size >= maxUsed) throw fail('registry_full', 'too many registrations within a minute; retry later')
    this.#used.set(nonce, now + lifeMs)
  }

  #code(head: Uint8Array): Buffer {
    return createHmac('sha256', this.#secret).update(head).digest().subarray(0, 16)
  }
}
