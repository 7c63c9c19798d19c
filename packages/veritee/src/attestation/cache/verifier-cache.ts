import { sameBytes } from '#crypto'
import { PoolShelves } from '../pki/pool.ts'
import type { Root } from '../roots/intel.ts'
import type { KnownCollateral } from './known-collateral.ts'
import { Shelf } from './shelf.ts'
import { Slab } from './slab.ts'

/** What verifications under one list of roots share. */
export interface CacheCompartment {
  readonly roots: readonly Root[]
  readonly pool: PoolShelves
  readonly collateral: Shelf<string, KnownCollateral>
  readonly slab: Slab
}

const defaultMaxEntries = 256
// A verifier has one list of roots, a test or a demo two or three.
const maxCompartments = 8

/** A cache for `verifyQuote`; made by {@link createVerifierCache}. */
export class VerifierCache {
  readonly #maxEntries: number
  #compartments: readonly CacheCompartment[] = []

  constructor(maxEntries: number) {
    this.#maxEntries = maxEntries
  }

  /** What is kept for exactly these roots in this order. For `verifyQuote`. */
  compartment(roots: readonly Root[]): CacheCompartment {
    const known = this.#compartments.find((one) => sameRoots(one.roots, roots))
    if (known !== undefined && known === this.#compartments[0]) return known
    const found = known ?? {
      roots: roots.map((root) => new Uint8Array(root)),
      pool: new PoolShelves(this.#maxEntries),
      collateral: new Shelf(this.#maxEntries),
      slab: new Slab(),
    }
    this.#compartments = [found, ...this.#compartments.filter((one) => one !== found)].slice(0, maxCompartments)
    return found
  }

  /** Forgets everything. */
  clear(): void {
    this.#compartments = []
  }
}

function sameRoots(a: readonly Root[], b: readonly Root[]): boolean {
  return a.length === b.length && a.every((root, index) => sameBytes(root, b[index] as Root))
}

/**
 * Makes an empty cache for `verifyQuote`: it spares the parsing of certificates, lists and documents that were seen before, the import of their keys,
 * and the verification of signatures that held before.
 *
 * *What makes a hit sound.* Kept are only results that follow from bytes alone: what a text parses to, that this key signed these bytes, that this
 * chain obeys the rules on names, constraints and signatures. Every check is taken again on every call with what was kept: trusted roots, windows of
 * certificates, lists and documents against `at`, revocation, the match of quote, platform and collateral, the TCB level. So a kept result never
 * outlives a window or a revocation, and `verifyQuote` returns with a cache exactly what it returns without.
 *
 * *Keys.* Everything is found by its whole content, never by a name in it (P20) and never by object identity, since byte arrays can be written to.
 * A set of collateral is looked up by its TCB info and then compared in all of its nine pieces, every character and byte of them, so one that differs
 * in one piece is another set; of certificates, names, keys and signatures a few bytes are looked up and then all compared, with copies that nobody
 * else holds. That is stricter than comparing SHA-256 of the same bytes, and for the 20 KB of one verification several times faster: a text that is
 * the same string object is known by its address.
 *
 * *Roots.* Each list of trusted roots, compared byte by byte, has a compartment of its own: nothing met under one is found under another.
 *
 * *Bounds.* At most `maxEntries` (default 256) of each kind in a compartment, and 8 compartments; the least recently used go first. Only what passes
 * is added, so failures are not remembered and refused evidence pushes out nothing. The cache is memory of this process and has no
 * stored form, so nothing in it stems from another version of the verifier.
 *
 * One cache may serve any number of concurrent calls. `maxEntries` that is no positive integer is a `TypeError`.
 *
 * @example
 * const cache = createVerifierCache()
 * await verifyQuote(bytes, collateral, trust, at, { cache })
 */
export function createVerifierCache(options: { readonly maxEntries?: number } = {}): VerifierCache {
  const { maxEntries = defaultMaxEntries } = options
  if (!Number.isSafeInteger(maxEntries) || maxEntries < 1) throw new TypeError('createVerifierCache: expected maxEntries of 1 or more')
  return new VerifierCache(maxEntries)
}
