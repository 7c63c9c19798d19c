import { beforeAll, describe, expect, it, vi } from 'vitest'
import { concatAll, leafHash, merkleRoot, toHex, utf8 } from '../../src/bytes/index.ts'
import { type GetLogFile, parseTilePath } from '../../src/log/index.ts'
import { type EpochContext, type EpochVerdict, readFrom, verifyEpoch, type WrittenEpoch, writeEpoch } from '../../src/scoring/index.ts'
import { loggedReceipt } from '../fraud/logged.ts'
import { createEnclave } from '../receipt/enclaves.ts'
import { checkpoint, type Dishonest, makeEpoch, makeWorld, type World } from './epoch-world.ts'

// Two pairings for each bundle, on machines that others use too.
vi.setConfig({ testTimeout: 180_000 })
const time = 1_005_000
let world: World
let written: WrittenEpoch
beforeAll(async () => {
  world = await makeWorld()
  // More than a tile before, so that places there are in another one.
  for (let i = 0; i < 300; i++) world.leaves.push(await leafHash(utf8(`before ${i}`)))
  written = await writeEpoch(await makeEpoch(world, 5, { outside: [] }), world.keys)
}, 120_000)

type Source = NonNullable<EpochContext['log']>

/** The files of a log that has these leaves. */
function filesOf(leaves: readonly Uint8Array[], note: () => Promise<string>): GetLogFile {
  return async (path) => {
    if (path === 'checkpoint') return utf8(await note())
    const tile = parseTilePath(path)
    if (tile === null || tile.level === 'entries') throw new Error(`not in this log: ${path}`)
    const each = 256 ** tile.level
    const from = tile.index * 256 * each
    if (from + tile.width * each > leaves.length) return null
    const places = Array.from({ length: tile.width }, (_, i) => from + i * each)
    return concatAll(await Promise.all(places.map((at) => merkleRoot(leaves, at, at + each))))
  }
}

const logOf = (of: World, leaves = of.leaves, size = leaves.length): GetLogFile =>
  filesOf(leaves, () => checkpoint({ ...of, leaves: [...leaves] }, size, time))
const source = (get: GetLogFile, changes: Partial<Source> = {}): Source => ({ get, views: null, closedAt: null, ...changes })
const verify = ({ bundle }: WrittenEpoch, log: Source): Promise<EpochVerdict> =>
  verifyEpoch(readFrom(bundle), { trust: null, verifyProof: null, roster: null, previous: null, log })
const itself = ({ checks }: EpochVerdict) => checks.find(({ id }) => id === 'log-itself')
const from = (): number => 300 + world.keys.length

describe('S21: an epoch against the log itself', () => {
  it('verifies where the log shows the same, and tells what it was compared with', async () => {
    const found = await verify(written, source(logOf(world)))
    expect([found.verdict, itself(found)]).toMatchObject([
      'verified',
      { status: 'pass', detail: expect.stringContaining('37 leaves are those of the log') },
    ])
  })

  it('a log that has grown since then is the same log', async () => {
    const grown = [...world.leaves, ...(await Promise.all(Array.from({ length: 700 }, (_, i) => leafHash(utf8(`later ${i}`)))))]
    expect((await verify(written, source(logOf(world, grown)))).verdict).toBe('verified')
  })

  it('a log that shows others another leaf in the place of one of the epoch is another history, by which it is convicted', async () => {
    const other = world.leaves.with(from() + 4, await leafHash(utf8('another')))
    const found = await verify(written, source(logOf(world, other)))
    expect(found).toMatchObject({ verdict: 'rejected', first: { file: 'log.json', code: 'log_consistency_invalid' } })
    const size = from() + 37
    const fork = await verify(written, source(logOf(world, other.slice(0, size))))
    expect(fork.first?.code).toBe('log_fork')
  })

  it('nor are files of the log that are not those which it signed taken for it', async () => {
    const spoiled = world.leaves.with(from() + 4, new Uint8Array(32))
    const get = filesOf(spoiled, () => checkpoint(world, world.leaves.length, time))
    const found = await verify(written, source(get))
    expect([found.verdict, ['log_consistency_invalid', 'epoch_log_invalid'].includes(found.first?.code ?? '')]).toEqual(['rejected', true])
  })

  it('a log that is behind the bundle, or away, leaves it unjudged', async () => {
    const short = world.leaves.slice(0, from() + 10)
    await expect(verify(written, source(logOf(world, short)))).rejects.toMatchObject({ code: 'log_entry_missing' })
    await expect(
      verify(
        written,
        source(async () => null),
      ),
    ).rejects.toMatchObject({ code: 'log_entry_missing' })
  })

  it('a checkpoint without the quorum is none', async () => {
    const note = await checkpoint(world, world.leaves.length, time)
    const alone = note
      .split('\n')
      .filter((line) => !line.startsWith('— second-witness'))
      .join('\n')
    const right = logOf(world)
    const found = await verify(
      written,
      source(async (path) => (path === 'checkpoint' ? utf8(alone) : right(path))),
    )
    expect(found.first?.code).toBe('log_quorum_missing')
  })

  it('leaves out no duty: one that the bundle drops is the bundle`s fault, whatever leaves it shows', async () => {
    const skipping = await makeWorld()
    const bundle = await writeEpoch(await makeEpoch(skipping, 5, { outside: [], skipChosen: true }), skipping.keys)
    const found = await verify(bundle, source(logOf(skipping)))
    expect([found.verdict, found.missed.map(({ duty }) => duty)]).toEqual(['verified', ['organic_missing']])
    // Leaves that lack the one which was chosen are not those of the log.
    const leaves = (bundle.bundle.get('leaves.txt') ?? '').split('\n').slice(0, -1)
    const cut = new Map([...bundle.bundle, ['leaves.txt', `${leaves.slice(0, -1).join('\n')}\n`]])
    expect((await verifyEpoch(readFrom(cut), { trust: null, verifyProof: null, roster: null, previous: null })).verdict).toBe('rejected')
  })

  it('tells how many leaves lie between the epoch before and this one', async () => {
    for (const [closedAt, count] of [
      [from() - 7, 7],
      [from(), 0],
      [from() + 3, 0],
    ] as const)
      expect(itself(await verify(written, source(logOf(world), { closedAt })))?.detail).toContain(`${count} leaves lie between`)
  })
})

describe('S21: places outside the epoch that records of own traffic name', () => {
  async function verdictWith(outside: (of: World) => NonNullable<Dishonest['outside']>): Promise<EpochVerdict> {
    const of = await makeWorld()
    for (let i = 0; i < 300; i++) of.leaves.push(await leafHash(utf8(`before ${i}`)))
    const bundle = await writeEpoch(await makeEpoch(of, 5, { outside: outside(of) }), of.keys)
    return verify(bundle, source(logOf(of)))
  }
  const at = (of: World, index: number) => ({ index, leaf: toHex(of.leaves[index] as Uint8Array) })

  it('are those that the log has', async () => {
    const found = await verdictWith((of) => [at(of, 3), at(of, 280)])
    expect([found.verdict, itself(found)?.detail]).toEqual(['verified', expect.stringContaining('2 records name places outside')])
  })

  it.each<[string, (of: World) => NonNullable<Dishonest['outside']>, string]>([
    ['another leaf than stands there', () => [{ index: 5, leaf: 'aa'.repeat(32) }], 'another than it names'],
    ['a place that the log does not have', () => [{ index: 9999, leaf: 'aa'.repeat(32) }], 'of a log that has'],
    ['one place twice', (of) => [at(of, 3), at(of, 3)], 'in two records'],
  ])('and not %s', async (_, outside, why) => {
    const { verdict, first } = await verdictWith(outside)
    expect([verdict, first?.code, first?.record?.line, first?.message]).toEqual([
      'rejected',
      'epoch_log_invalid',
      why === 'in two records' ? 1 : 0,
      expect.stringContaining(why),
    ])
  })
})

describe('S21: chains by the views of the log', () => {
  async function told(sequences: readonly number[], change: (lines: string[]) => string[] = (lines) => lines): Promise<string> {
    const [of, enclave] = [await makeWorld(), await createEnclave('worker')]
    const receipts = await Promise.all(sequences.map((place) => loggedReceipt(enclave, place)))
    const edited = await makeEpoch(
      of,
      1,
      { outside: [] },
      receipts.map(({ leaf }) => leaf),
    )
    const { bundle } = await writeEpoch(edited, of.keys)
    const first = of.keys.length
    const lines = change([...Array.from({ length: first }, () => ''), ...receipts.map(({ view }) => view)])
    const views = async (index: number): Promise<readonly string[] | null> => (index === 0 ? lines : null)
    const found = await verify({ bundle } as WrittenEpoch, source(logOf(of), { views }))
    expect(found.verdict).toBe('verified')
    return itself(found)?.detail ?? ''
  }

  it('have no gap where none is', async () => {
    expect(await told([4, 5, 6])).toContain('chains of 1 keysets: no place is missing')
  })

  it('are told where places are missing between views that stand in order', async () => {
    expect(await told([4, 6, 9])).toMatch(/3 places are missing, first 5 to 5 of sha256:/)
  })

  it('are made of views that hash to their leaf, and of nothing else', async () => {
    expect(await told([4, 6], (lines) => [...lines.slice(0, -1), 'x'])).toContain('no place is missing')
    expect(await told([4, 6], (lines) => lines.toReversed())).toContain('chains of 0 keysets')
  })
})
