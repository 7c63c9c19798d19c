import { randomBytes } from 'node:crypto'
import { fail } from 'veritee/errors'
import type { Attested } from './attested.ts'

export interface Challenge {
  readonly id: string
  /** Base64 of 32 random bytes. */
  readonly nonce: string
  readonly tee: 'sgx' | 'tdx'
  readonly drawnAt: Date
  /** The same on the clock of what goes by, in milliseconds. */
  readonly drawnMs: number
  readonly expires: Date
}

/** How long a nonce waits for its evidence, and how long evidence stands for requests. Trustee allows 5 minutes for both. */
export const challengeSeconds = 60
export const attestedSeconds = 300
/** An attested session holds claims, checks and a descriptor: some 50 KiB at most. */
const most = { challenges: 4096, attested: 1024 } as const

/**
 * The sessions of a broker, in memory only: a restart ends them. A nonce serves once, whatever comes of it. Both kinds are bounded, the oldest go first; a
 * challenge costs its asker nothing, so whoever floods shortens the time others have, and the limit by address stands before this.
 */
export class Sessions {
  readonly #now: () => Date
  readonly #elapsedMs: () => number
  readonly #challenges = new Map<string, Challenge>()
  readonly #attested = new Map<string, Attested>()
  readonly #byToken = new Map<string, Attested>()

  /** `elapsedMs`: milliseconds of a clock that nobody sets back. */
  constructor(now: () => Date, elapsedMs: () => number) {
    this.#now = now
    this.#elapsedMs = elapsedMs
  }

  /**
   * The time as a session has it: enclave time or, where that is later, when its nonce was drawn and what has gone by since. A host that sets its clock back so makes no session and no
   * evidence younger, and one that sets it forward ends them.
   */
  timeOf({ drawnAt, drawnMs }: Pick<Challenge, 'drawnAt' | 'drawnMs'>): Date {
    return new Date(Math.max(this.#now().getTime(), drawnAt.getTime() + this.#elapsedMs() - drawnMs))
  }

  challenge(tee: Challenge['tee']): Challenge {
    const drawnAt = this.#now()
    const challenge = {
      id: randomBytes(16).toString('hex'),
      nonce: randomBytes(32).toString('base64'),
      tee,
      drawnAt,
      drawnMs: this.#elapsedMs(),
      expires: new Date(drawnAt.getTime() + challengeSeconds * 1000),
    }
    keep(this.#challenges, challenge.id, challenge, most.challenges)
    return challenge
  }

  /** The challenge of a session, for the only time. Throws `kbs_session_unknown`. */
  take(id: string | null): Challenge {
    const found = id === null ? undefined : this.#challenges.get(id)
    if (found !== undefined) this.#challenges.delete(found.id)
    if (found === undefined || found.expires <= this.timeOf(found))
      throw fail('kbs_session_unknown', 'expected a session that waits for its evidence')
    return found
  }

  /** From here on the session of this id is attested. */
  attest(attested: Omit<Attested, 'tokenId' | 'expires'>): Attested {
    const whole = {
      ...attested,
      tokenId: randomBytes(16).toString('hex'),
      expires: new Date(this.timeOf(attested).getTime() + attestedSeconds * 1000),
    }
    keep(this.#attested, whole.id, whole, most.attested)
    keep(this.#byToken, whole.tokenId, whole, most.attested)
    return whole
  }

  /** By the session's id. Throws `kbs_session_unknown` where there is none, or its time is over. */
  ofSession(id: string): Attested {
    const found = this.#attested.get(id)
    if (found === undefined || found.expires <= this.timeOf(found))
      throw fail('kbs_session_unknown', 'expected a session that has shown its evidence')
    return found
  }

  /** By the token's id. Throws `kbs_token_invalid` likewise. */
  ofToken(id: string): Attested {
    const found = this.#byToken.get(id)
    if (found === undefined || found.expires <= this.timeOf(found)) throw fail('kbs_token_invalid', 'the attestation of this token is over')
    return found
  }
}

function keep<T>(map: Map<string, T>, id: string, value: T, most: number): void {
  map.set(id, value)
  const oldest = map.keys().next().value
  if (map.size > most && oldest !== undefined) map.delete(oldest)
}
