import * as crypto from '#crypto'
import { concatAll, utf8 } from '../../bytes/bytes.ts'
import { jcsDigest } from '../../bytes/digest.ts'
import { toHex } from '../../bytes/hex.ts'
import { type BeaconChain, roundAt } from './drand.ts'

/**
 * The randomness of an epoch (rule S16). A validator draws 32 bytes, commits to them before the epoch opens, and reveals them after it. Two seeds come of them,
 * each with a round of a public beacon that nobody knew when the commitment was made:
 *
 * - of probes, with the first round at or after the beginning of the epoch: nobody, the validator included, could choose its probes;
 * - of organic audits, with the first round at least a minute after the checkpoint that closes the epoch: nobody, the validator included, knew while receipts
 *   were made which ones would be looked at.
 */

/** The commitment to a seed: SHA-256 over the JCS form of these four members. `validator` and `seed` are 32 bytes, hex. */
export function seedCommitment({ epoch, seed, validator }: { epoch: number; seed: Uint8Array; validator: string }): Promise<string> {
  return jcsDigest({ epoch, purpose: 'veritee.seed.v1', seed: toHex(bytes32(seed, 'seed')), validator })
}

/** S_p: HMAC-SHA-256 under the seed over `probe`, the epoch as 8 bytes big-endian, and the randomness of the round. */
export function probeSeed(seed: Uint8Array, epoch: number, randomness: Uint8Array): Promise<Uint8Array> {
  return derived(seed, 'probe', epoch, randomness)
}

/** S_a: the same over `audit`. */
export function auditSeed(seed: Uint8Array, epoch: number, randomness: Uint8Array): Promise<Uint8Array> {
  return derived(seed, 'audit', epoch, randomness)
}

async function derived(seed: Uint8Array, purpose: 'probe' | 'audit', epoch: number, randomness: Uint8Array): Promise<Uint8Array> {
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new TypeError('seeds: expected the number of an epoch')
  const number = new Uint8Array(8)
  new DataView(number.buffer).setBigUint64(0, BigInt(epoch))
  return crypto.hmacSha256(bytes32(seed, 'seed'), concatAll([utf8(purpose), number, bytes32(randomness, 'randomness')]))
}

function bytes32(bytes: Uint8Array, what: string): Uint8Array {
  if (bytes.length !== 32) throw new TypeError(`seeds: expected 32 bytes of ${what}`)
  return bytes
}

/**
 * Whether a leaf of the log (its RFC 6962 hash, 32 bytes) is to be audited: the first 8 bytes of HMAC-SHA-256(S_a, leaf), big-endian, as a part of 2^64, are
 * below the probability. `probability` is in units of 1e-18, from 0 to 10^18.
 */
export async function isSelected(seed: Uint8Array, leaf: Uint8Array, probability: bigint): Promise<boolean> {
  const tag = await crypto.hmacSha256(bytes32(seed, 'seed'), bytes32(leaf, 'leaf'))
  const drawn = new DataView(tag.buffer, tag.byteOffset).getBigUint64(0)
  return drawn * 10n ** 18n < probability << 64n
}

/** The round that opens an epoch which begins at this time, Unix seconds. */
export function openingRound(chain: Pick<BeaconChain, 'genesis_time' | 'period'>, begins: number): number {
  return roundAt(chain, begins)
}

/** Seconds between the checkpoint that closes an epoch and the earliest round that may choose among its receipts. */
export const closingDelay = 60

/** The round that chooses among the receipts up to a checkpoint that existed by this time, Unix seconds. */
export function closingRound(chain: Pick<BeaconChain, 'genesis_time' | 'period'>, existed: number): number {
  return roundAt(chain, existed + closingDelay)
}
