import { beforeAll, describe, expect, it } from 'vitest'
import type { EvidencePolicy, Policy, ReleasePolicy, Role } from '../../src/policy/index.ts'
import {
  HeldReleases,
  lacksRelease,
  newestReleases,
  type ReleaseDocument,
  type ReleaseMemory,
  type ReleaseSeen,
  releaseKeySet,
  withReleases,
} from '../../src/release/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createMakers, enclaveOf, type Makers } from './makers.ts'

/** The newest statement that was seen, and statements that services show. */

const issued = 1_800_000_000
const at = new Date((issued + 60) * 1000)
const now = (): Date => at
let makers: Makers
beforeAll(async () => {
  makers = await createMakers(issued)
})

const policyOf = (sections: { readonly [R in Role]?: ReleasePolicy | 'any' }): Policy => ({
  version: 'veritee.policy.v1',
  roles: Object.fromEntries(Object.entries(sections).map(([role, release]) => [role, { release } as EvidencePolicy])),
})
const plain = async (...args: Parameters<Makers['statement']>): Promise<ReleaseDocument> => ({
  statement: await makers.statement(...args),
  proof: null,
})
const worker = (): Policy => policyOf({ worker: makers.demand })
/** Remembers in a map, and how often it was asked. */
function memory(
  entries: readonly (readonly [string, ReleaseSeen])[] = [],
): ReleaseMemory & { readonly kept: Map<string, ReleaseSeen>; asked: number } {
  const kept = new Map(entries)
  const made = {
    kept,
    asked: 0,
    get: async (keySet: string) => {
      made.asked++
      return kept.get(keySet) ?? null
    },
    put: async (keySet: string, seen: ReleaseSeen) => void kept.set(keySet, seen),
  }
  return made
}
const numbers = (policy: Policy): number[] | undefined => policy.roles.worker?.released?.map(({ sequence }) => sequence)

describe('S25: an older statement than was seen is refused', () => {
  it('older, another of the same number; not the same one, whoever signed it since, nor a later one, nor an older one beside it', async () => {
    const seen = newestReleases(await withReleases(worker(), [await plain()]), at)
    expect([...seen.values()]).toMatchObject([{ sequence: 7 }])
    const outcome = async (...documents: ReleaseDocument[]): Promise<string> => refusal(() => withReleases(worker(), documents, seen))
    expect(await outcome(await plain({ sequence: 6 }))).toBe('release_rolled_back')
    expect(await outcome(await plain({ withdrawn: ['0.0.1'] }))).toBe('release_rolled_back')
    expect(await outcome(await plain({}, 3))).toBe('accepted')
    expect(await outcome(await plain({ sequence: 8 }))).toBe('accepted')
    expect(await outcome(await plain({ sequence: 6 }), await plain())).toBe('accepted')
    // That nothing was given is not a rollback: evidence is refused for it.
    expect(await outcome()).toBe('accepted')
  })

  it('of the same signers only, in whatever order they stand, under whatever log and age', async () => {
    const { demand, logged } = makers
    const turned: ReleasePolicy = { ...logged, maxReleaseAge: 1, keys: [...demand.keys].reverse() }
    expect(await releaseKeySet(turned)).toBe(await releaseKeySet(demand))
    const others: readonly Partial<ReleasePolicy>[] = [{ product: 'other' }, { threshold: 1 }, { keys: demand.keys.slice(1) }]
    for (const change of others) expect(await releaseKeySet({ ...demand, ...change })).not.toBe(await releaseKeySet(demand))
    const seen = new Map([[await releaseKeySet({ ...demand, threshold: 1 }), { sequence: 99, digest: `sha256:${'00'.repeat(32)}` }]])
    expect(await refusal(async () => withReleases(worker(), [await plain()], seen))).toBe('accepted')
  })

  it('what is of the future does not bar what counts now', async () => {
    const policy = await withReleases(worker(), [
      await plain({ sequence: 9, issued: issued + 361 }),
      await plain({ sequence: 8, issued: issued + 360 }),
    ])
    expect([...newestReleases(policy, at).values()]).toMatchObject([{ sequence: 8 }])
  })
})

describe('S25: what services show is verified, held and remembered', () => {
  it('goes to sections that were given none; a statement by hand stands alone', async () => {
    const held = new HeldReleases({ now })
    expect([lacksRelease(worker()), lacksRelease(policyOf({ worker: 'any' }))]).toEqual([true, false])
    const judged = await held.judging(worker(), [await plain(), await plain({ product: 'other' })])
    expect([numbers(judged), lacksRelease(judged)]).toEqual([[7], false])
    const given = await withReleases(worker(), [await plain({ sequence: 8 })])
    expect(numbers(await held.judging(given, [await plain({ sequence: 9 })]))).toEqual([8])
    // What was given was seen all the same.
    expect(await refusal(() => new HeldReleases({ now }).judging(given))).toBe('accepted')
    expect(await refusal(() => held.judging(worker()))).toBe('release_rolled_back')
  })

  it('is held for the next: an older statement then counts beside the newer one, with all that this withdraws', async () => {
    const held = new HeldReleases({ now })
    await held.judging(worker(), [
      await plain({ sequence: 9, release: '0.2.0', withdrawn: ['0.1.0'], enclaves: [enclaveOf({ mrenclave: 'a2'.repeat(32) })] }),
    ])
    const judged = await held.judging(worker(), [await plain()])
    expect(numbers(judged)).toEqual([9, 7])
    expect(judged.roles.worker?.released?.[0]?.withdrawn).toEqual(['0.1.0'])
    // The same one twice is one.
    expect(numbers(await held.judging(worker(), [await plain()]))).toEqual([9, 7])
  })

  it('holds the newest eight of one set of signers', async () => {
    const held = new HeldReleases({ now })
    for (let sequence = 20; sequence > 5; sequence--) await held.judging(worker(), [await plain({ sequence })])
    expect(numbers(await held.judging(worker()))).toEqual([20, 19, 18, 17, 16, 15, 14, 13])
  })

  it('what was held for other signers is nothing to those that a newer policy names', async () => {
    const held = new HeldReleases({ now })
    await held.judging(worker(), [await plain()])
    const stranger = { ...makers.demand, keys: ['11'.repeat(32), '22'.repeat(32)] }
    expect(numbers(await held.judging(policyOf({ worker: stranger })))).toEqual([])
    expect(numbers(await held.judging(worker()))).toEqual([7])
  })

  it('is remembered beyond the process, and asked of the memory once', async () => {
    const kept = memory()
    const first = new HeldReleases({ now, memory: kept })
    await first.judging(worker(), [await plain({ sequence: 9 })])
    await first.judging(worker(), [await plain({ sequence: 8 })])
    expect([[...kept.kept.values()].map(({ sequence }) => sequence), kept.asked]).toEqual([[9], 1])
    const next = new HeldReleases({ now, memory: kept })
    expect(await refusal(async () => next.judging(worker(), [await plain({ sequence: 8 })]))).toBe('release_rolled_back')
    // What was refused is not held, and raises nothing.
    expect(numbers(await next.judging(worker()))).toEqual([])
    expect(numbers(await next.judging(worker(), [await plain({ sequence: 10 })]))).toEqual([10])
    expect([...kept.kept.values()].map(({ sequence }) => sequence)).toEqual([10])
  })

  it('a memory that comes later counts with what was seen before', async () => {
    const held = new HeldReleases({ now })
    await held.judging(worker(), [await plain()])
    const keySet = await releaseKeySet(makers.demand)
    held.remember(memory([[keySet, { sequence: 8, digest: `sha256:${'00'.repeat(32)}` }]]))
    expect(await refusal(() => held.judging(worker()))).toBe('release_rolled_back')
    const older = memory([[keySet, { sequence: 6, digest: `sha256:${'00'.repeat(32)}` }]])
    const other = new HeldReleases({ now })
    await other.judging(worker(), [await plain()])
    other.remember(older)
    expect(await refusal(async () => other.judging(worker(), [await plain({ sequence: 6 })]))).toBe('accepted')
    expect(numbers(await other.judging(worker()))).toEqual([7, 6])
  })

  it('what cannot be kept is seen all the same: whoever was judged before is judged again, and the older one refused', async () => {
    let told = 0
    let failing = true
    const kept = memory()
    const put: ReleaseMemory['put'] = (keySet, seen) => (failing ? Promise.reject(new TypeError('no disk')) : kept.put(keySet, seen))
    const held = new HeldReleases({ now, memory: { get: (keySet) => kept.get(keySet), put }, onChange: () => void told++ })
    await expect(held.judging(worker(), [await plain({ sequence: 9 })])).rejects.toThrow('no disk')
    await expect(held.judging(worker())).rejects.toThrow('no disk')
    expect(told).toBe(1)
    failing = false
    expect(numbers(await held.judging(worker(), [await plain({ sequence: 8 })]))).toEqual([9, 8])
    expect([...kept.kept.values()].map(({ sequence }) => sequence)).toEqual([9])
  })

  it('a memory that fails is no memory of nothing', async () => {
    const broken: ReleaseMemory = {
      get: () => Promise.reject(new TypeError('no disk')),
      put: () => Promise.resolve(),
    }
    await expect(new HeldReleases({ now, memory: broken }).judging(worker(), [await plain()])).rejects.toThrow('no disk')
    // Nobody asks for a policy that demands nothing.
    expect(await new HeldReleases({ now, memory: broken }).judging(policyOf({ worker: 'any' }))).toEqual(policyOf({ worker: 'any' }))
  })
})

describe('S25: hostile statements that a service shows', () => {
  const hostile: readonly (readonly [string, string, () => Promise<ReleaseDocument>])[] = [
    ['too few signatures', 'release_signatures_missing', () => plain({}, 1)],
    ['an older one', 'release_rolled_back', () => plain({ sequence: 6 })],
    ['another one of the same number', 'release_rolled_back', () => plain({ release: '0.3.0' })],
    [
      'a changed one',
      'release_signature_invalid',
      async () => ({ statement: (await plain({ sequence: 8 })).statement.replace('0.1.0', '0.1.1'), proof: null }),
    ],
    [
      'signers that nobody knows',
      'release_signatures_missing',
      async () => ({ statement: await (await createMakers(issued)).statement(), proof: null }),
    ],
    ['something else', 'release_statement_malformed', async () => ({ statement: '{}', proof: null })],
    [
      'one that is too long',
      'release_statement_malformed',
      async () => ({ statement: `${(await plain()).statement}${' '.repeat(1 << 18)}`, proof: null }),
    ],
  ]
  it.each(hostile)('%s: %s', async (_, code, make) => {
    const keySet = await releaseKeySet(makers.demand)
    const kept = memory([
      [keySet, { sequence: 7, digest: [...newestReleases(await withReleases(worker(), [await plain()]), at).values()][0]?.digest ?? '' }],
    ])
    const held = new HeldReleases({ now, memory: kept })
    expect(await refusal(async () => held.judging(worker(), [await make()]))).toBe(code)
    expect([numbers(await held.judging(worker())), [...kept.kept.values()].map(({ sequence }) => sequence)]).toEqual([[], [7]])
  })

  it('one of another product is no statement, and one that is logged nowhere none where a log is demanded', async () => {
    const held = new HeldReleases({ now })
    expect(numbers(await held.judging(worker(), [await plain({ product: 'other' })]))).toEqual([])
    expect(await refusal(async () => held.judging(policyOf({ worker: makers.logged }), [await plain()]))).toBe('log_entry_missing')
  })
})
