import { epochWindow, type ScoringPolicy } from 'veritee/scoring'
import type { EpochStore } from '../store/epoch-store.ts'
import { type Peers, type Settling, settleWithPeers } from './settle.ts'

/**
 * From when validators show what they have of an epoch, Unix seconds: its end; with a log and others, an epoch later, when all have committed to their records or count for
 * nothing. Nobody can copy what nobody has shown.
 */
export function shownFrom(policy: Pick<ScoringPolicy, 'epoch' | 'log' | 'validators'>, epoch: number): number {
  const { closes } = epochWindow(policy, epoch)
  return policy.log !== 'any' && policy.validators.length > 1 ? closes + policy.epoch.length : closes
}

/** Marks an epoch whose own bundle is published, so that it is combined also after a crash. */
export async function markForSettling(store: EpochStore, epoch: number): Promise<void> {
  await store.keep(epoch, 'settling', 'true')
}

/** Keeps what the next epoch begins from. */
export async function keepOutcome(store: EpochStore, epoch: number, bundle: ReadonlyMap<string, string>): Promise<void> {
  await store.keep(epoch, 'scores', bundle.get('scores.json') ?? '')
  await store.keep(epoch, 'after', bundle.get('after.json') ?? '')
}

/** The state that an epoch begins from: after the last one before it that was not left out, so that bans and histories outlive an outage. Null for the first. */
export async function stateBefore(store: Pick<EpochStore, 'epochs' | 'fact'>, epoch: number): Promise<string | null> {
  for (const before of (await store.epochs()).filter((one) => one < epoch).reverse()) {
    const state = await store.fact(before, 'after')
    if (state !== null) return state
  }
  return null
}

/** Combines whatever was published and not combined yet, the earliest first, and keeps what came of it. Throws what {@link settleWithPeers} throws. */
export async function settleOpenEpochs(
  store: EpochStore,
  policy: Pick<ScoringPolicy, 'epoch' | 'log' | 'validators'>,
  settling: Omit<Settling, 'epoch' | 'shown'>,
  peers: Peers,
): Promise<void> {
  for (const epoch of await store.epochs()) {
    if ((await store.fact(epoch, 'settling')) === null || (await store.fact(epoch, 'after')) !== null) continue
    await keepOutcome(store, epoch, await settleWithPeers({ ...settling, epoch, shown: shownFrom(policy, epoch) }, peers))
  }
}
