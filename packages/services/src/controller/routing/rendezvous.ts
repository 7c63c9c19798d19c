/** Secret-keyed: 64 bits of a keyed digest, as two integers. */
export interface Key {
  readonly high: number
  readonly low: number
}

/** Anything that keys are assigned to. */
export interface Node {
  readonly hash: Key
  /** Where it stands in its group. */
  inGroup: number
}

const groupCount = 64

/**
 * Rendezvous hashing in two steps: first among 64 groups, weighted by their sizes, then within the group. A node that comes or goes moves only its share
 * of the keys, as in one step, and choosing among 10,000 takes some 220 short computations instead of 10,000.
 * Keys and hashes are secret and uniform, so the mixing function needs no strength of its own.
 */
export class Rendezvous<T extends Node> {
  readonly #groups: T[][] = Array.from({ length: groupCount }, () => [])

  add(node: T): void {
    node.inGroup = this.#groupOf(node).push(node) - 1
  }

  remove(node: T): void {
    const group = this.#groupOf(node)
    if (group[node.inGroup] !== node) return
    const last = group.pop()
    if (last === undefined || last === node) return
    group[node.inGroup] = last
    last.inGroup = node.inGroup
  }

  /** The best node for a key that is `fit`, in the best group and in the one after it; null where a group has none. */
  best(key: Key, fit: (node: T) => boolean): readonly [T | null, T | null] {
    let [first, second] = [-1, -1]
    let [firstScore, secondScore] = [0, 0]
    for (let i = 0; i < groupCount; i++) {
      const size = this.#groups[i]?.length ?? 0
      if (size === 0) continue
      // Weighted rendezvous: the share of a group is its share of the nodes.
      const score = size / -Math.log((mix(key.high ^ Math.imul(i + 1, 0x9e3779b1)) + 0.5) / 2 ** 32)
      if (score > firstScore) {
        second = first
        secondScore = firstScore
        first = i
        firstScore = score
      } else if (score > secondScore) {
        second = i
        secondScore = score
      }
    }
    return [this.#bestIn(first, key, fit), this.#bestIn(second, key, fit)]
  }

  #bestIn(group: number, key: Key, fit: (node: T) => boolean): T | null {
    let best: T | null = null
    let bestScore = -1
    for (const node of this.#groups[group] ?? []) {
      const score = mix(key.low ^ node.hash.low)
      if (score > bestScore && fit(node)) {
        best = node
        bestScore = score
      }
    }
    return best
  }

  #groupOf(node: T): T[] {
    return this.#groups[(node.hash.high >>> 0) % groupCount] ?? []
  }
}

/** A bijection of 32 bits in which every bit of the input changes every bit of the result. */
function mix(value: number): number {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
