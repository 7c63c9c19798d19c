import * as crypto from '#crypto'
import { fromHex, toHex } from '../../bytes/hex.ts'
import { encodeG1, encodeG2, g1, g2, multiply } from './curve.ts'
import { type BeaconChain, type BeaconRound, beaconChainHash, beaconMessage, beaconTag } from './drand.ts'
import { order } from './field.ts'
import { hashToG1 } from './hash-to-g1.ts'

/** What its name begins with, so that nobody takes it for a beacon of the world. */
export const localBeaconName = 'LOCAL-NOT-RANDOM'

/** A beacon with one key, held by this process, which therefore knows every round before it is due: for demonstrations and tests only. */
export interface LocalBeacon {
  readonly chain: BeaconChain
  /** Any round, past or to come. */
  round(round: number): Promise<BeaconRound>
}

/**
 * Makes a local beacon from 32 random bytes. Its rounds verify like drand's; they prove nothing about chance. The arithmetic is not constant-time, which
 * does not matter for a key that protects nothing.
 */
export async function createLocalBeacon(seed: Uint8Array, { period, genesisTime }: { period: number; genesisTime: number }): Promise<LocalBeacon> {
  const secret = (BigInt(`0x${toHex(await crypto.sha256(seed))}`) % (order - 1n)) + 1n
  const facts = {
    public_key: toHex(encodeG2(multiply(g2, g2.base, secret))),
    period,
    genesis_time: genesisTime,
    groupHash: toHex(await crypto.sha256(fromHex('00'))),
    schemeID: 'bls-unchained-g1-rfc9380' as const,
    metadata: { beaconID: localBeaconName },
  }
  const chain: BeaconChain = { ...facts, hash: await beaconChainHash(facts) }
  return {
    chain,
    round: async (round) => {
      const signature = encodeG1(multiply(g1, await hashToG1(await beaconMessage(round), beaconTag), secret))
      return { round, randomness: toHex(await crypto.sha256(signature)), signature: toHex(signature) }
    },
  }
}
