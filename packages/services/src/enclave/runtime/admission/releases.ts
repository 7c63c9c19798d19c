import { type Policy, roles } from 'veritee/policy'
import { HeldReleases, type ReleaseDocument, withWantedReleases } from 'veritee/release'
import type { FlooredClock } from './clock.ts'

/** Clocks of makers and of this machine may differ by this. */
const skewMs = 300_000

/**
 * The release statements by which a service judges its peers, where its rules demand some (rule S25): those that its operator gave it and, for sections without any of these, those that peers show.
 * The host brings both, and neither is believed: each is verified under the makers that the manifest or the measured policy names, and none is older than the newest that was seen.
 */
export class PeerReleases {
  /** For whoever connects to a peer. */
  readonly held: HeldReleases
  readonly #listeners: (() => void)[] = []
  readonly #now: () => Date
  readonly #raise: FlooredClock['raise']
  #changes = 0
  #given: readonly ReleaseDocument[] = []

  constructor({ now, raise }: Pick<FlooredClock, 'now'> & Partial<Pick<FlooredClock, 'raise'>>) {
    this.#now = now
    this.#raise = raise ?? (() => undefined)
    this.held = new HeldReleases({ now, onChange: () => this.#tell() })
  }

  /** Counts what {@link onChange} tells. */
  get changes(): number {
    return this.#changes
  }

  /** Calls when other statements count than before, and those admitted are to be judged again. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener)
  }

  /**
   * Statements of the operator, in the place of those before. They are verified for `policy` first, with nothing changed where one fails; those of products that it does not name are passed over.
   * `policy` is null where it is not there yet: they are verified with each use anyway. Throws as `HeldReleases.judging`.
   */
  async give(documents: readonly ReleaseDocument[], policy: Policy | null): Promise<void> {
    const verified = policy === null ? null : (await withWantedReleases(policy, documents)).policy
    const before = this.#given
    // Before what was seen is raised, so that nobody is judged by the new number and the old statement.
    this.#given = documents
    try {
      if (verified !== null) await this.held.judging(verified)
    } catch (error) {
      this.#given = before
      throw error
    }
    this.#tell()
  }

  /** A policy with what was given, and with what is held beside it; `offered` as there. Throws as `HeldReleases.judging`. */
  async judging(policy: Policy, offered: readonly ReleaseDocument[] = []): Promise<{ readonly asking: Policy; readonly policy: Policy }> {
    const { policy: asking } = this.#given.length === 0 ? { policy } : await withWantedReleases(policy, this.#given)
    const judging = await this.held.judging(asking, offered)
    // A signed time (rule S11): a host that sets the clock back must not make an old statement young again. One of the future is somebody's mistake, and no time.
    const ahead = this.#now().getTime() + skewMs
    for (const { issued } of roles.flatMap((role) => judging.roles[role]?.released ?? []))
      if (issued * 1000 <= ahead) this.#raise(new Date(issued * 1000))
    return { asking, policy: judging }
  }

  #tell(): void {
    this.#changes++
    for (const listener of this.#listeners) listener()
  }
}
