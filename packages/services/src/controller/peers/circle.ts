import type { ReplicaState } from './message.ts'

/** What of this replica the others are told; read when they are. */
export interface Own {
  state(): ReplicaState
  /** Names the store that it shares; see {@link ReplicaState.store}. It is asked for by what {@link state} may ask. */
  readonly store: string
  /** The text of the manifest in force; null without one. */
  manifest(): string | null
  /** The secret of the shared store: for a replica that joins, and nobody else. */
  storeSecret(): Uint8Array
}

/** What is done with what another replica says. It was verified; still it can only make this one know more, never less. */
export interface Learns {
  /** A list of API keys of that version exists. */
  keysVersion(version: number): void
  bans(bans: ReplicaState['bans']): void
  /** A newer manifest than the one in force, whose signatures are for the receiver to verify. */
  manifest(text: string): void
}

interface Known {
  readonly state: ReplicaState
  /** Milliseconds of the monotonic clock. */
  readonly at: number
}

/** Unheard for longer, a replica is not counted any more. */
const freshMs = 60_000
const maxKnown = 256
/** Rule S11. */
const clockToleranceSeconds = 300

/** What this replica knows of the others, by the digests of their keysets: each was verified before anything that it said got here. */
export class Circle {
  readonly #own: Own
  readonly #learns: Learns
  readonly #now: () => Date
  readonly #monotonicMs: () => number
  readonly #known = new Map<string, Known>()

  constructor(options: { readonly own: Own; readonly learns: Learns; readonly now: () => Date; readonly monotonicMs?: () => number }) {
    this.#own = options.own
    this.#learns = options.learns
    this.#now = options.now
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now())
  }

  get own(): Own {
    return this.#own
  }

  /** Takes in what the replica with this keyset says. */
  heard(keysetDigest: string, state: ReplicaState, manifest: string | null = null): void {
    const known = this.#known
    known.delete(keysetDigest)
    known.set(keysetDigest, { state, at: this.#monotonicMs() })
    const [oldest] = known.keys()
    if (known.size > maxKnown && oldest !== undefined) known.delete(oldest)
    // Of another store only the time is of use, and that is what readiness looks at.
    if (state.store !== this.#own.store) return
    this.#learns.keysVersion(state.keys_version)
    this.#learns.bans(state.bans)
    if (manifest !== null && state.manifest_version > this.#own.state().manifest_version) this.#learns.manifest(manifest)
  }

  /** What this replica answers to one with that state. */
  answerTo({ manifest_version: theirs }: ReplicaState): { readonly state: ReplicaState; readonly manifest: string | null } {
    const state = this.#own.state()
    return { state, manifest: state.manifest_version > theirs ? this.#own.manifest() : null }
  }

  /** Replicas heard of lately. */
  get peers(): readonly ReplicaState[] {
    const since = this.#monotonicMs() - freshMs
    return [...this.#known.values()].filter(({ at }) => at >= since).map(({ state }) => state)
  }

  /** Where clients find replicas that take work, this one first. Names are hints: each is verified before it is used (rule S8). */
  get urls(): readonly string[] {
    const { store } = this.#own
    const found = [this.#own.state(), ...this.peers.filter((peer) => peer.store === store)]
    return [...new Set(found.filter(({ serving }) => serving).flatMap(({ url }) => url ?? []))]
  }

  /** Rule S11: why this replica should get no requests; empty where its clock is not behind what others know. */
  clockReasons(): string[] {
    const ours = this.#now().getTime() / 1000
    const latest = Math.max(0, ...this.peers.map(({ clock_floor }) => clock_floor))
    return latest > ours + clockToleranceSeconds
      ? [`the clock is behind: another replica has seen a time signed that is ${Math.floor(latest - ours)} s later`]
      : []
  }

  /** Why what replicas have in common is not: they were given other stores. */
  storeReasons(): string[] {
    const { store } = this.#own
    return this.peers.some((peer) => peer.store !== store) ? ['another replica keeps another store: they were not begun as one'] : []
  }
}
