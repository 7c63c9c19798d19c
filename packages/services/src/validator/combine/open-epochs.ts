import type { EpochStore } from '../store/epoch-store.ts'
import { type Peers, type Settling, settleWithPeers } from './settle.ts'

/** Marks an epoch whose own bundle is published, so that it is combined also after a crash. */
export async function markForSettling(store: EpochStore, epoch: number): Promise<void> {
  await store.keep(epoch, 'settling', 'true')
}

/** Keeps what the next epoch begins from. */
export async function keepOutcome(store: EpochStore, epoch: number, bundle: ReadonlyMap<string, string>): Promise<void> {
  await store.keep(epoch, 'scores', bundle.get('scores.json') ?? '')
  await store.keep(epoch, 'after', bundle.get('after.json') ?? '')
}

/** Combines whatever was published and not combined yet, the earliest first, and keeps what came of it. Throws what {@link settleWithPeers} throws. */
export async function settleOpenEpochs(
  store: EpochStore,
  closesOf: (epoch: number) => number,
  settling: Omit<Settling, 'epoch' | 'closes'>,
  peers: Peers,
): Promise<void> {
  for (const epoch of await store.epochs()) {
    if ((await store.fact(epoch, 'settling')) === null || (await store.fact(epoch, 'after')) !== null) continue
    await keepOutcome(store, epoch, await settleWithPeers({ ...settling, epoch, closes: closesOf(epoch) }, peers))
  }
}
