import * as crypto from '#crypto'
import type { MaybePromise } from '../crypto/types.ts'
import { concat, equal } from './bytes.ts'

/** The hash tree of RFC 6962 section 2.1 (RFC 9162 section 2.1) with SHA-256. Leaves are passed as their hashes. */

const leafPrefix = 0
const nodePrefix = Uint8Array.of(1)

/** SHA-256(0x00 || data). */
export function leafHash(data: Uint8Array): MaybePromise<Uint8Array> {
  return crypto.sha256Behind(leafPrefix, data)
}

/** Leaf hashes that lie one behind the other, each by itself; they share its memory. */
export function leavesOf(packed: Uint8Array): Uint8Array[] {
  return Array.from({ length: packed.length / 32 }, (_, i) => packed.subarray(32 * i, 32 * i + 32))
}

function nodeHash(left: Uint8Array, right: Uint8Array): MaybePromise<Uint8Array> {
  return crypto.sha256(concat(nodePrefix, left, right))
}

/** The largest power of two below n, n > 1. */
function split(n: number): number {
  return 2 ** Math.floor(Math.log2(n - 1))
}

/** MTH over leaf hashes; SHA-256 of nothing for an empty list. */
export async function merkleRoot(leaves: readonly Uint8Array[], from = 0, to: number = leaves.length): Promise<Uint8Array> {
  if (to === from) return crypto.sha256(new Uint8Array(0))
  // Level by level, with what is left over going up as it is: the same tree as that of the recursion in the RFC, without a promise for each node.
  let level = leaves.slice(from, to)
  while (level.length > 1) {
    const above: Uint8Array[] = []
    for (let i = 0; i + 1 < level.length; i += 2) {
      const node = nodeHash(level[i] as Uint8Array, level[i + 1] as Uint8Array)
      above.push(node instanceof Promise ? await node : node)
    }
    if (level.length % 2 === 1) above.push(level[level.length - 1] as Uint8Array)
    level = above
  }
  return level[0] as Uint8Array
}

/** Consistency proof PROOF(first, D[n]) of RFC 6962 section 2.1.2, for 0 < first <= n; empty where first equals n. */
export async function consistencyProof(leaves: readonly Uint8Array[], first: number): Promise<Uint8Array[]> {
  if (!Number.isSafeInteger(first) || first < 1 || first > leaves.length) throw new TypeError('consistencyProof: first is out of range')
  return consistencyPath(leaves.length, first, (from, to) => merkleRoot(leaves, from, to))
}

/** {@link consistencyProof} of a tree of `size` leaves of which `rootOf` gives MTH(D[from:to]). */
export async function consistencyPath(size: number, first: number, rootOf: (from: number, to: number) => Promise<Uint8Array>): Promise<Uint8Array[]> {
  const sub = async (m: number, from: number, to: number, whole: boolean): Promise<Uint8Array[]> => {
    const n = to - from
    if (m === n) return whole ? [] : [await rootOf(from, to)]
    const k = split(n)
    if (m <= k) return [...(await sub(m, from, from + k, whole)), await rootOf(from + k, to)]
    return [...(await sub(m - k, from + k, to, false)), await rootOf(from, from + k)]
  }
  return sub(first, 0, size, true)
}

/**
 * True where `proof` shows that the tree of `first` leaves with `firstRoot` is a prefix of the tree of `second` leaves with `secondRoot`
 * (RFC 9162 section 2.1.4.2). False for anything malformed, including an empty first tree: that proves nothing.
 */
export async function verifyConsistency(
  first: number,
  firstRoot: Uint8Array,
  second: number,
  secondRoot: Uint8Array,
  proof: readonly Uint8Array[],
): Promise<boolean> {
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(second) || first < 1 || first > second) return false
  if (proof.length > 64 || proof.some((hash) => hash.length !== 32)) return false
  if (first === second) return proof.length === 0 && equal(firstRoot, secondRoot)
  const path = Number.isInteger(Math.log2(first)) && 2 ** Math.round(Math.log2(first)) === first ? [firstRoot, ...proof] : [...proof]
  let node = first - 1
  let last = second - 1
  while (node % 2 === 1) {
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  const start = path.shift()
  if (start === undefined) return false
  let left = start
  let right = start
  for (const hash of path) {
    if (last === 0) return false
    if (node % 2 === 1 || node === last) {
      left = await nodeHash(hash, left)
      right = await nodeHash(hash, right)
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2)
        last = Math.floor(last / 2)
      }
    } else {
      right = await nodeHash(right, hash)
    }
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equal(left, firstRoot) && equal(right, secondRoot)
}
