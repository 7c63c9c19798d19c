import { type BeaconRound, beaconRoundFromJson, verifyBeaconRound } from 'veritee/beacon'
import { type Json, jcs, parseJson } from 'veritee/bytes'
import type { EpochStore } from '../store/epoch-store.ts'
import { awaitRound, type BeaconSource } from './beacon-source.ts'

export interface RoundSetting {
  readonly epoch: number
  readonly store: EpochStore
  readonly beacon: BeaconSource
  readonly now: () => Date
  readonly signal: AbortSignal
}

/** A round of the beacon: as it was fetched before, verified once more, or waited for and kept. Throws what `awaitRound` throws. */
export async function keptRound(
  setting: RoundSetting,
  name: 'opened' | 'closed',
  number: number,
): Promise<{ readonly round: BeaconRound; readonly randomness: Uint8Array }> {
  const { store, epoch, beacon } = setting
  const kept = await store.fact(epoch, name)
  if (kept !== null) {
    const round = beaconRoundFromJson(parseJson(kept, { maxLength: 4096, maxDepth: 2 }))
    return { round, randomness: await verifyBeaconRound(beacon.chain, round) }
  }
  const found = await awaitRound(beacon, number, setting)
  await store.keep(epoch, name, jcs(found.round as unknown as Json))
  return found
}
