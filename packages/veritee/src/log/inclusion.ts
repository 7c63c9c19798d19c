import * as crypto from '#crypto'
import { concat, equal } from '../bytes/bytes.ts'
import { merkleRoot } from '../bytes/merkle.ts'

/** Audit paths of RFC 6962 section 2.1.1. Indices and sizes up to 2^53 - 1: halved by division, since bit operations have 32 bits. */

const nodePrefix = Uint8Array.of(1)

/** The audit path of the leaf at `index` in the tree over all these leaf hashes, from its sibling up. */
export async function inclusionProof(leaves: readonly Uint8Array[], index: number): Promise<Uint8Array[]> {
  return inclusionPath(leaves.length, index, (from, to) => merkleRoot(leaves, from, to))
}

/** {@link inclusionProof} in a tree of `size` leaves of which `rootOf` gives MTH(D[from:to]). */
export async function inclusionPath(size: number, index: number, rootOf: (from: number, to: number) => Promise<Uint8Array>): Promise<Uint8Array[]> {
  if (!Number.isSafeInteger(index) || index < 0 || index >= size) throw new TypeError('inclusionPath: index is out of range')
  const path: Uint8Array[] = []
  let from = 0
  let to = size
  while (to - from > 1) {
    const middle = from + 2 ** Math.floor(Math.log2(to - from - 1))
    if (index < middle) {
      path.push(await rootOf(middle, to))
      to = middle
    } else {
      path.push(await rootOf(from, middle))
      from = middle
    }
  }
  return path.reverse()
}

/** True where `proof` shows that `leaf` (its hash, 32 bytes) is at `index` of the tree of `size` leaves with `root` (RFC 9162 section 2.1.3.2). False for anything malformed. */
export async function verifyInclusionProof(
  index: number,
  size: number,
  leaf: Uint8Array,
  root: Uint8Array,
  proof: readonly Uint8Array[],
): Promise<boolean> {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false
  if (proof.length > 64 || leaf.length !== 32 || proof.some((hash) => hash.length !== 32)) return false
  let node = index
  let last = size - 1
  let hash = leaf
  for (const sibling of proof) {
    if (last === 0) return false
    if (node % 2 === 1 || node === last) {
      hash = await crypto.sha256(concat(nodePrefix, sibling, hash))
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2)
        last = Math.floor(last / 2)
      }
    } else hash = await crypto.sha256(concat(nodePrefix, hash, sibling))
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equal(hash, root)
}
