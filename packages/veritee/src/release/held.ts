import type { Policy } from '../policy/policy.ts'
import { type ReleasePolicy, roles } from '../policy/policy.ts'
import type { ReleaseDocument } from './demanded.ts'
import { checkNewest, newestReleases, type ReleaseSeen, releaseKeySet } from './seen.ts'

/** Remembers the newest statement of each set of signers, longer than a process lives. Where it cannot, both throw: what is forgotten can be rolled back. */
export interface ReleaseMemory {
  /** `keySet` is of `releaseKeySet`; null where nothing is remembered. */
  get(keySet: string): Promise<ReleaseSeen | null>
  /** What is there with a higher sequence stays. */
  put(keySet: string, seen: ReleaseSeen): Promise<void>
}

export interface HeldReleasesOptions {
  readonly now: () => Date
  /** Without one, what was seen is remembered for as long as this object lives. */
  readonly memory?: ReleaseMemory | null
  /** Told when others than before count: what was judged before is then to be judged again. It must not throw. */
  readonly onChange?: () => void
}

/** Of one set of signers, and of all together: whoever judges evidence verifies them each time. */
const mostHeld = 8
const mostHeldInAll = 32

/** Read where a policy demands statements, and not before: a browser is spared the statement's and the log's code otherwise. */
const withWantedReleases: typeof import('./demanded.ts').withWantedReleases = async (policy, documents) =>
  (await import('./demanded.ts')).withWantedReleases(policy, documents)

interface Held {
  readonly document: ReleaseDocument
  readonly keySet: string
  readonly sequence: number
}

/**
 * The statements that one verifier holds, and the newest that it has seen (rule S25): what services show beside their evidence is a hint, which counts once it is verified,
 * and from then on for everybody's evidence, with all that it withdraws. A caller makes one and passes it to whatever judges.
 */
export class HeldReleases {
  readonly #now: () => Date
  #memory: ReleaseMemory | null
  readonly #onChange: () => void
  #held: readonly Held[] = []
  readonly #seen = new Map<string, ReleaseSeen>()
  /** What the memory does not have yet. */
  readonly #unkept = new Map<string, ReleaseSeen>()
  /** Sets of signers of which the memory was asked. */
  readonly #known = new Set<string>()

  constructor({ now, memory = null, onChange = () => undefined }: HeldReleasesOptions) {
    this.#now = now
    this.#onChange = onChange
    this.#memory = memory
  }

  /** A memory that was not there from the beginning: what it knows and what was seen meanwhile both count. */
  remember(memory: ReleaseMemory): void {
    this.#memory = memory
    this.#known.clear()
  }

  /**
   * The policy with what is held and with `offered`, for the sections that demand statements and were given none by hand; and with what was given. Each of `offered` that is of a product
   * such a section names is verified as `withReleases` does, the newest of all is compared with the newest seen, and both are kept. Those of other products are passed over.
   *
   * Throws as `withReleases`, but for `usage` and `release_product`, and what the memory throws; then nothing is held or seen that was not before.
   */
  async judging(policy: Policy, offered: readonly ReleaseDocument[] = []): Promise<Policy> {
    const demands = demandsOf(policy)
    if (demands.length === 0) return policy
    for (const keySet of new Set(await Promise.all(demands.map(releaseKeySet)))) await this.#recall(keySet)
    const held = await this.#stillGood(policy)
    const fresh = offered.filter((one) => !held.some(({ document }) => same(document, one)))
    const { policy: judged, used } = await withWantedReleases(policy, [...held.map(({ document }) => document), ...fresh])
    checkNewest(judged, this.#seen)
    let raised = false
    for (const [keySet, newest] of newestReleases(judged, this.#now())) {
      const before = this.#seen.get(keySet)
      if (before !== undefined && before.sequence >= newest.sequence) continue
      this.#seen.set(keySet, newest)
      this.#unkept.set(keySet, newest)
      raised = true
    }
    const before = this.#held
    for (const document of fresh) if (used.has(document)) await this.#hold(policy, document)
    // Also where it cannot be kept: what was admitted by older statements must not outlast the newer one within this process.
    if (raised || this.#held !== before) this.#onChange()
    await this.#keep()
    return judged
  }

  /** One that fails is kept the next time, and nobody is judged before. */
  async #keep(): Promise<void> {
    for (const [keySet, newest] of this.#unkept) {
      await this.#memory?.put(keySet, newest)
      if (this.#unkept.get(keySet) === newest) this.#unkept.delete(keySet)
    }
  }

  async #recall(keySet: string): Promise<void> {
    if (this.#known.has(keySet)) return
    const found = (await this.#memory?.get(keySet)) ?? null
    const before = this.#seen.get(keySet)
    if (found !== null && (before === undefined || before.sequence < found.sequence)) this.#seen.set(keySet, found)
    else if (before !== undefined) this.#unkept.set(keySet, before)
    this.#known.add(keySet)
  }

  /** What is held was verified for some policy. One with other makers or another log may not take all of it: that is then no statement for it. */
  async #stillGood(policy: Policy): Promise<readonly Held[]> {
    const good: Held[] = []
    for (const one of this.#held)
      if (
        await withWantedReleases(policy, [one.document]).then(
          ({ used }) => used.size > 0,
          () => false,
        )
      )
        good.push(one)
    return good
  }

  async #hold(policy: Policy, document: ReleaseDocument): Promise<void> {
    const { policy: alone } = await withWantedReleases(policy, [document])
    for (const [keySet, { sequence }] of newestReleases(alone, this.#now())) {
      const others = this.#held.filter((one) => one.keySet !== keySet)
      const own = this.#held.filter((one) => one.keySet === keySet && !same(one.document, document))
      // The newest ones: what an older one withdraws, a newer one withdraws too.
      const newest = [...own, { document, keySet, sequence }].sort((a, b) => b.sequence - a.sequence).slice(0, mostHeld)
      // Where all of it is older than what is held, nothing changes.
      if (newest.some((one) => one.document === document)) this.#held = [...others, ...newest].slice(-mostHeldInAll)
    }
  }
}

function demandsOf(policy: Policy): ReleasePolicy[] {
  return roles.flatMap((role) => {
    const { release = 'any' } = policy.roles[role] ?? {}
    return release === 'any' ? [] : [release]
  })
}

function same(a: ReleaseDocument, b: ReleaseDocument): boolean {
  return a.statement === b.statement && a.proof === b.proof
}
