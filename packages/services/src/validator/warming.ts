import { createHash, createHmac, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SigningKey } from 'veritee/crypto'
import type { Earlier } from './probes/conversation.ts'
import { type Probe, type ProbePlan, planProbes } from './probes/probe.ts'
import type { EpochStore } from './store/epoch-store.ts'

/** Accounts that serve in an epoch to come, and meanwhile ask as anybody (rule S20): one that is new when it is probed with is known by that. */
export interface Warming {
  readonly store: EpochStore
  readonly epoch: number
  /** Unix seconds. */
  readonly begins: number
  readonly plan: Omit<ProbePlan, 'seed' | 'clients' | 'persons' | 'ahead'>
  /** How long an epoch is, days. */
  readonly epochDays: number
  /** For each epoch to come, the first of them the next, its clients. */
  readonly generations: readonly Persons[]
  readonly secret: Uint8Array
  /** Epochs in which an account asks, the one in which it serves included. */
  readonly parts: number
  /** Asks one thing, and gives what came of it; null where nothing did. Whatever it is, nobody is charged with it. */
  readonly send: (generation: number, probe: Probe, earlier: Earlier | null) => Promise<Earlier | null>
  readonly now: () => Date
  readonly signal: AbortSignal
}

/** The clients of an epoch by their names, which they have in every epoch. */
export interface Persons {
  readonly names: readonly string[]
}

/**
 * Of which habits the clients of a validator are: known to whoever has its key, and the same for all processes. It is never opened, since an account keeps its habit
 * from its first request to its last, in epochs that open one after the other.
 */
export async function personsSecret(key: SigningKey): Promise<Uint8Array> {
  const signature = await key.sign(new TextEncoder().encode('veritee.probe-persons.v1\n'))
  return new Uint8Array(createHash('sha256').update(signature).digest())
}

/** Clients by number, as `Paths` gives them targets and keys. */
export function personsOf(keys: readonly string[], targets: number, count: number): Persons {
  return {
    names: Array.from({ length: count }, (_, i) => {
      const key = keys[Math.floor(i / targets) % keys.length] ?? ''
      return `${i} ${createHash('sha256').update(key).digest('hex')}`
    }),
  }
}

interface Due {
  readonly atMs: number
  readonly generation: number
  readonly probe: Probe
}

/**
 * Asks until the epoch is over or the signal comes. Each request is made once, by whichever process claims it; what was missed while none ran is left out. Throws what the
 * store throws, and what `send` does.
 */
export async function warmUp({ store, epoch, begins, plan, epochDays, generations, secret, parts, send, now, signal }: Warming): Promise<void> {
  const own = randomUUID()
  const startMs = now().getTime()
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const said = new Map<string, Promise<Earlier | null>>()
  const running: Promise<unknown>[] = []
  for (const { atMs, generation, probe } of duesOf({ epoch, begins, plan, epochDays, generations, secret, parts })) {
    if (atMs < startMs) continue
    while (now().getTime() < atMs) await sleep(Math.min(500, Math.max(1, atMs - now().getTime())), undefined, { signal: either })
    either.throwIfAborted()
    if ((await store.keep(epoch, `warmed ${generation} ${probe.index}`, own)) !== own) continue
    // Others do not wait for a slow answer; who goes on with it does.
    const before = probe.follows === null ? null : (said.get(`${generation} ${probe.follows.index}`) ?? null)
    const answer = Promise.resolve(before).then((earlier) => send(generation, probe, earlier))
    answer.catch((error: unknown) => failed.abort(error))
    running.push(answer)
    if (probe.isFollowed) said.set(`${generation} ${probe.index}`, answer)
  }
  await Promise.all(running)
}

function duesOf({
  epoch,
  begins,
  plan,
  epochDays,
  generations,
  secret,
  parts,
}: Pick<Warming, 'epoch' | 'begins' | 'plan' | 'epochDays' | 'generations' | 'secret' | 'parts'>): readonly Due[] {
  return generations
    .flatMap(({ names }, generation) => {
      const seed = new Uint8Array(createHmac('sha256', secret).update(`warm ${epoch} ${generation}`).digest())
      // Where a recording says how old accounts are, each begins to ask as long before its epoch as that of its habit was old: a network sees ages as it is used to.
      const ahead = (generation + 0.5) * epochDays
      const probes =
        names.length === 0
          ? []
          : planProbes({ ...plan, seed, clients: names.length, persons: { secret, names }, ahead, part: { index: generation + 1, of: parts } })
      return probes.map((probe) => ({ atMs: Math.round((begins + probe.after) * 1000), generation, probe }))
    })
    .sort((a, b) => a.atMs - b.atMs)
}
