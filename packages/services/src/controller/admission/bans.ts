import type { Party } from './judge.ts'

/** Who must not be admitted, and how often it came to that. */
export interface Ban {
  /** See {@link subjectsOf}. */
  readonly subject: string
  /** Unix seconds: until then it stands. */
  readonly until: number
  /** Incidents that are remembered. */
  readonly count: number
  /** How often an operator of controllers has lifted it: what is said after a lift counts for more than all that was said before. */
  readonly lifts: number
}

const daySeconds = 86_400
/** The longest ban, and how long after its end its history counts. */
const longestSeconds = 90 * daySeconds
/** An operator's third incident is not the fault of one machine. */
const operatorIncidents = 3
const maxRecords = 100_000
/** Of one subject. The versions of its rows in the store have room for no more. */
export const maxLifts = 800

/**
 * Who lost this controller's trust for what only the enclave itself can have said: by operator and machine, which a restart does not shed, and not by the keys of
 * the enclave (rule S17). The first time it is a day, then four times as long each time, 90 days at most; who kept out of it for 90 days after begins anew.
 *
 * A machine is barred whoever runs on it; one that the manifest names shared, for the operator only. An operator is barred everywhere from its third incident on. The
 * keyset stands in where neither is known, since no manifest is in force and no operator is named; then a restart does shed it.
 */
export class Bans {
  readonly #now: () => Date
  /** The oldest first. */
  readonly #records = new Map<string, Ban>()

  constructor(now: () => Date) {
    this.#now = now
  }

  /** Something that only the enclave can have done was found out. One incident, however many requests show it, and whoever else found it out before. Gives what is new. */
  found(party: Party, keysetDigest: string): Ban[] {
    if (this.against(party, keysetDigest) !== null) return []
    const made: Ban[] = []
    const seconds = this.#seconds()
    for (const subject of subjectsOf(party, keysetDigest)) {
      const { count: before, lifts } = this.#remembered(subject, seconds) ?? { count: 0, lifts: 0 }
      const count = before + 1
      const bars = !subject.startsWith('operator:') || count >= operatorIncidents
      const nth = subject.startsWith('operator:') ? count - operatorIncidents + 1 : count
      const until = bars ? seconds + Math.min(longestSeconds, daySeconds * 4 ** Math.min(nth - 1, 8)) : seconds
      const ban = { subject, until, count, lifts }
      this.#keep(ban)
      made.push(ban)
    }
    return made
  }

  /** Why somebody is not admitted now; null where nothing stands against it. */
  against(party: Party, keysetDigest: string): string | null {
    const seconds = this.#seconds()
    for (const subject of subjectsOf(party, keysetDigest)) {
      const ban = this.#records.get(subject)
      if (ban !== undefined && seconds < ban.until)
        return `${subject.split(':')[0]} barred until ${new Date(ban.until * 1000).toISOString()}, after ${ban.count} incident${ban.count === 1 ? '' : 's'}`
    }
    return null
  }

  /** The ban of a subject that can be lifted now; null where none stands. */
  standing(subject: string): Ban | null {
    const ban = this.#records.get(subject)
    return ban === undefined || ban.until <= this.#seconds() || ban.lifts >= maxLifts ? null : ban
  }

  /**
   * Ends a ban before its time, and takes the last incident back, since it was none: for whoever answers for this controller. False where no ban of this subject stands.
   * An incident that another replica finds out in the seconds until it hears of this goes with it; the next one bars again.
   */
  lift(subject: string): boolean {
    const ban = this.standing(subject)
    if (ban === null) return false
    this.#keep({ subject, until: this.#seconds(), count: ban.count - 1, lifts: ban.lifts + 1 })
    return true
  }

  /** Takes over what another replica found out, or what was found out before this process began; true where something is new. Takes nothing back but by a lift. */
  learn(bans: readonly Ban[]): boolean {
    const seconds = this.#seconds()
    let news = false
    for (const ban of bans) {
      const { subject, until, count, lifts } = ban
      if (forgotten(ban, seconds) || until > seconds + longestSeconds + daySeconds) continue
      const known = this.#records.get(subject)
      if (known !== undefined && (lifts < known.lifts || (lifts === known.lifts && known.until >= until && known.count >= count))) continue
      const same = known?.lifts === lifts ? known : null
      this.#keep({ subject, until: Math.max(until, same?.until ?? 0), count: Math.max(count, same?.count ?? 0), lifts })
      news = true
    }
    return news
  }

  /** All that is remembered; with `most`, those found or learnt last. */
  list(most = maxRecords): Ban[] {
    const seconds = this.#seconds()
    for (const ban of this.#records.values()) if (forgotten(ban, seconds)) this.#records.delete(ban.subject)
    return [...this.#records.values()].slice(-most)
  }

  #remembered(subject: string, seconds: number): Ban | undefined {
    const ban = this.#records.get(subject)
    return ban === undefined || forgotten(ban, seconds) ? undefined : ban
  }

  #keep(ban: Ban): void {
    this.#records.delete(ban.subject)
    this.#records.set(ban.subject, ban)
    const [oldest] = this.#records.keys()
    if (this.#records.size > maxRecords && oldest !== undefined) this.#records.delete(oldest)
  }

  #seconds(): number {
    return Math.floor(this.#now().getTime() / 1000)
  }
}

function forgotten({ until }: Ban, seconds: number): boolean {
  return until + longestSeconds < seconds
}

/** Under which names what a worker did is kept. Operators and machines have names in their network only, which say nothing elsewhere. */
export function subjectsOf({ operatorId, platform, shared }: Party, keysetDigest: string): string[] {
  const machine = platform === null ? [] : shared && operatorId !== null ? [`tenant:${operatorId}:${platform}`] : [`platform:${platform}`]
  const subjects = [...machine, ...(operatorId === null ? [] : [`operator:${operatorId}`])]
  return machine.length === 0 ? [`keyset:${keysetDigest}`, ...subjects] : subjects
}
