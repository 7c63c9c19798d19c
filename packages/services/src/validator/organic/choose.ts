import { auditSeed, isSelected } from 'veritee/beacon'
import { toHex } from 'veritee/bytes'

/** A leaf of the log that is to be audited: its place, and its RFC 6962 hash, 32 bytes hex. */
export interface OrganicLeaf {
  readonly index: number
  readonly leaf: string
}

export interface Choice {
  /** The seed that was committed to, 32 bytes. */
  readonly seed: Uint8Array
  readonly epoch: number
  /** Of the round that closed the epoch. */
  readonly randomness: Uint8Array
  /** Index of the first leaf of the epoch. */
  readonly from: number
  readonly leaves: readonly Uint8Array[]
  /** In units of 1e-18. */
  readonly probability: bigint
  /** Indices of leaves that are receipts of this validator's own traffic: audited as that already. */
  readonly own: ReadonlySet<number>
}

/** What the seed obliges a validator to audit (rule S16), by rising index: a function of what is published, so that anybody computes the same. */
export async function chosenLeaves({ seed, epoch, randomness, from, leaves, probability, own }: Choice): Promise<OrganicLeaf[]> {
  const key = await auditSeed(seed, epoch, randomness)
  const chosen: OrganicLeaf[] = []
  for (const [i, leaf] of leaves.entries())
    if (!own.has(from + i) && (await isSelected(key, leaf, probability))) chosen.push({ index: from + i, leaf: toHex(leaf) })
  return chosen
}
