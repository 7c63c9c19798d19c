import { jcsDigest } from '../bytes/digest.ts'
import { fail } from '../errors.ts'
import { type Policy, type ReleasePolicy, roles } from '../policy/policy.ts'
import { type ReleasedCode, releaseDemand, releaseSkewSeconds } from '../policy/released.ts'

/** The newest statement that a verifier has taken under one set of signers. */
export interface ReleaseSeen {
  readonly sequence: number
  /** Of the statement without signatures, so that who signs it later changes nothing. */
  readonly digest: string
}

/** By {@link releaseKeySet}. */
export type ReleasesSeen = ReadonlyMap<string, ReleaseSeen>

/**
 * The name under which the newest statement of these signers is remembered: the digest of the JCS form of
 * `{"keys","product","purpose":"veritee.release-sequence.v1","threshold"}`, keys in rising order. Neither log nor age is in it: they change with a policy, the makers do not.
 * Other keys or another threshold are other signers, so that what few of them sign never bars what enough of them do.
 */
export function releaseKeySet({ product, keys, threshold }: Pick<ReleasePolicy, 'product' | 'keys' | 'threshold'>): Promise<string> {
  return jcsDigest({ keys: [...keys].sort(), product, purpose: 'veritee.release-sequence.v1', threshold })
}

/**
 * What to remember of the statements that a policy was given: the newest of each set of signers, whether or not evidence was accepted by it. One that was issued more than
 * 5 minutes after `at` is left out: it does not count yet, and must not bar those that do.
 */
export function newestReleases(policy: Policy, at: Date): ReleasesSeen {
  const newest = new Map<string, ReleaseSeen>()
  for (const { keySet, sequence, digest, issued } of countingIn(policy)) {
    const before = newest.get(keySet)
    if (issued <= at.getTime() / 1000 + releaseSkewSeconds && (before === undefined || before.sequence < sequence))
      newest.set(keySet, { sequence, digest })
  }
  return newest
}

/**
 * The newest of the statements that a policy was given under a set of signers is the newest that was seen, or a later one. Older ones beside it are good: what it withdraws
 * and its floors count for them. Where none was given there is nothing to compare, and evidence is refused anyway. Throws `release_rolled_back`.
 */
export function checkNewest(policy: Policy, seen: ReleasesSeen): void {
  const codes = countingIn(policy)
  for (const { keySet } of codes) {
    const last = seen.get(keySet)
    if (last === undefined) continue
    const given = codes.filter((one) => one.keySet === keySet)
    if (given.some(({ sequence, digest }) => sequence > last.sequence || (sequence === last.sequence && digest === last.digest))) continue
    const newest = Math.max(...given.map(({ sequence }) => sequence))
    throw fail(
      'release_rolled_back',
      newest === last.sequence
        ? `expected statement ${last.sequence} that was seen before (${last.digest}), found another one of this number`
        : `expected statement ${last.sequence} or a later one, which was seen before; the newest that was given is ${newest}`,
    )
  }
}

function countingIn(policy: Policy): ReleasedCode[] {
  return roles.flatMap((role) => {
    const { release = 'any', released = [] } = policy.roles[role] ?? {}
    return release === 'any' ? [] : released.filter(({ demand }) => demand === releaseDemand(release))
  })
}
