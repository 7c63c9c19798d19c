import { spawn } from 'node:child_process'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { fromHex, leafHash, merkleRoot, toHex, utf8, verifyConsistency } from 'veritee/bytes'
import {
  parseEntryBundle,
  parseTilePath,
  parseTlogProof,
  type SignedCheckpoint,
  TreeEdge,
  tilePath,
  verifyCheckpointOfLog,
  verifyInclusionProof,
} from 'veritee/log'
import { describe, expect, it } from 'vitest'
import { type Addition, Sequencer, viewsPath } from '../../src/log/sequencer.ts'
import { TileFiles } from '../../src/log/tile-files.ts'
import { filesIn, logSigner, numbered, scratch } from './logs.ts'

const leavesOf = (additions: readonly Addition[]): Promise<Uint8Array[]> => Promise.all(additions.map(({ entry }) => leafHash(entry)))
const codeOf = (run: Promise<unknown>): Promise<string> =>
  run.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? 'no code',
  )

/** Two whose leaves begin with the same 32 bits: of 2^18 there are some eight such pairs. */
async function alikePair(): Promise<readonly [Addition, Addition]> {
  const seen = new Map<string, Addition>()
  for (const addition of numbered(0, 1 << 18, 'alike')) {
    const bits = toHex((await leafHash(addition.entry)).subarray(0, 4))
    const other = seen.get(bits)
    if (other !== undefined) return [other, addition]
    seen.set(bits, addition)
  }
  throw new Error('no pair')
}

describe('a sequencer', () => {
  it('gives places, and the root of every size is that of the tree over the leaves', async () => {
    const directory = await scratch()
    const signer = await logSigner()
    const sequencer = await Sequencer.open({ ...filesIn(directory), signer })
    const all = numbered(0, 700)
    const leaves = await leavesOf(all)
    let at = 0
    for (const count of [1, 1, 253, 1, 1, 100, 300, 43]) {
      expect(await sequencer.append(all.slice(at, at + count))).toEqual(Array.from({ length: count }, (_, i) => at + i))
      at += count
      expect(sequencer.head.size).toBe(at)
      expect(toHex(sequencer.head.root)).toBe(toHex(await merkleRoot(leaves.slice(0, at))))
      expect(toHex(await sequencer.tree(at).root())).toBe(toHex(sequencer.head.root))
      // What a part of the log is shown to stand on: with the leaves added that come then, it has the root of the whole.
      const edge = new TreeEdge(at, await sequencer.tree(at).subtrees())
      for (const leaf of leaves.slice(at)) await edge.add(leaf)
      expect(toHex(await edge.root())).toBe(toHex(await merkleRoot(leaves)))
      await verifyCheckpointOfLog(sequencer.head.note, { origin: signer.verifier.name, key: signer.verifier })
    }
    // What a whole tile made needless is gone; all else is whole.
    const there = (await readdir(join(directory, 'public'), { recursive: true, withFileTypes: true })).filter((file) => file.isFile())
    expect(there.every(({ parentPath, name }) => parseTilePath(join(parentPath, name).slice(join(directory, 'public').length + 1)) !== null)).toBe(
      true,
    )
    expect(there.filter(({ parentPath }) => /\/0\/00[01]\.p$/.test(parentPath))).toEqual([])
  })

  it('keeps entries and the views behind them, in order', async () => {
    const { files, state } = filesIn(await scratch())
    const sequencer = await Sequencer.open({ files, state, signer: await logSigner() })
    await sequencer.append(numbered(0, 300))
    const bundle = await files.read(tilePath({ level: 'entries', index: 1, width: 44 }))
    expect(parseEntryBundle(bundle as Uint8Array, 44).map((entry) => Buffer.from(entry).toString())).toEqual(
      Array.from({ length: 44 }, (_, i) => `entry ${256 + i}`),
    )
    const lines = Buffer.from((await state.read(viewsPath(1))) as Uint8Array)
      .toString()
      .split('\n')
    expect([lines.length, lines[1], lines[2]]).toEqual([45, '', '{"view":258}'])
  })

  it('does not append twice what comes twice, at once or later', async () => {
    const options = { ...filesIn(await scratch()), signer: await logSigner() }
    const sequencer = await Sequencer.open(options)
    const [first] = numbered(0, 1) as [Addition]
    const [a, b] = await Promise.all([sequencer.append([first]), sequencer.append([first, ...numbered(5, 1)])])
    expect([a, b]).toEqual([[0], [0, 1]])
    expect(await sequencer.append([first])).toEqual([0])
    const again = await Sequencer.open(options)
    expect(await again.append([...numbered(5, 1), first, ...numbered(9, 1)])).toEqual([1, 0, 2])
  })

  it('S21: keeps the order of what comes together, also of a leaf that shares the bits by which leaves are looked up', async () => {
    const [there, alike] = await alikePair()
    const sequencer = await Sequencer.open({ ...filesIn(await scratch()), signer: await logSigner() })
    await sequencer.append([there])
    expect(await sequencer.append([...numbered(0, 1), alike, ...numbered(1, 2)])).toEqual([1, 2, 3, 4])
  })

  it('S21: takes nothing that waits behind what it could not write, as an enclave would be convicted by what stands there without it', async () => {
    const directory = await scratch()
    const { files, state } = filesIn(directory)
    const begun = Promise.withResolvers<void>()
    const fail = Promise.withResolvers<void>()
    class Full extends TileFiles {
      full = true
      override async write(contents: ReadonlyMap<string, Uint8Array | string>): Promise<void> {
        begun.resolve()
        if (this.full) await fail.promise
        await super.write(contents)
      }
    }
    const full = new Full(files.directory)
    const sequencer = await Sequencer.open({ files: full, state, signer: await logSigner() })
    const first = sequencer.append(numbered(0, 2))
    await begun.promise
    const second = sequencer.append(numbered(1, 3))
    const told = Promise.all([codeOf(first), codeOf(second)])
    while (sequencer.waiting === 0) await new Promise((resolve) => setImmediate(resolve))
    full.full = false
    fail.reject(Object.assign(new Error('full'), { code: 'ENOSPC' }))
    expect(await told).toEqual(['ENOSPC', 'ENOSPC'])
    expect(sequencer.head.size).toBe(0)
    expect(await sequencer.append(numbered(0, 4))).toEqual([0, 1, 2, 3])
  })

  it('finds leaves and proves them in every tree that holds them', async () => {
    const options = { ...filesIn(await scratch()), signer: await logSigner() }
    const sequencer = await Sequencer.open(options)
    await sequencer.append(numbered(0, 300))
    const small = sequencer.head
    await sequencer.append(numbered(300, 100))
    const [leaf, later] = await leavesOf([...numbered(270, 1), ...numbered(399, 1)])
    if (leaf === undefined || later === undefined) throw new Error('leaves')
    for (const head of [small, sequencer.head]) {
      const { index, path } = parseTlogProof((await sequencer.proof(leaf, head)) ?? '')
      expect(index).toBe(270)
      expect(await verifyInclusionProof(index, head.size, leaf, head.root, path)).toBe(true)
    }
    expect(await sequencer.proof(later, small)).toBeNull()
    expect(await sequencer.proof(await leafHash(utf8('never')), sequencer.head)).toBeNull()
    expect(await (await Sequencer.open(options)).find(later)).toBe(399)
  })

  it('starts on nothing but what its own key has signed, over the tiles that are there', async () => {
    const directory = await scratch()
    const options = { ...filesIn(directory), signer: await logSigner() }
    await (await Sequencer.open(options)).append(numbered(0, 300))
    expect(await codeOf(Sequencer.open({ ...options, signer: await logSigner() }))).toBe('log_store_invalid')
    expect(await codeOf(Sequencer.open({ ...options, signer: await logSigner('other.example') }))).toBe('log_store_invalid')
    const tile = join(directory, 'public', tilePath({ level: 0, index: 1, width: 44 }))
    const bytes = Buffer.from((await options.files.read(tilePath({ level: 0, index: 1, width: 44 }))) as Uint8Array)
    bytes[5] = (bytes[5] as number) ^ 1
    await writeFile(tile, bytes)
    expect(await codeOf(Sequencer.open(options))).toBe('log_store_invalid')
    await rm(tile)
    expect(await codeOf(Sequencer.open(options))).toBe('file_unavailable')
  })
})

/** Writes the first files of a call and fails then, as a process that is killed does. */
class Failing extends TileFiles {
  left: number
  constructor(directory: string, left: number) {
    super(directory)
    this.left = left
  }
  override async write(contents: ReadonlyMap<string, Uint8Array | string>): Promise<void> {
    const some = [...contents].slice(0, this.left)
    this.left -= contents.size
    await super.write(new Map(some))
    if (this.left < 0) throw new Error('killed')
  }
}

describe('a process that ends in the middle', () => {
  it('property: wherever it is cut off, there is no head over missing tiles, nothing acknowledged is lost, and all heads are of one history', async () => {
    const signer = await logSigner()
    const log = { origin: signer.verifier.name, key: signer.verifier }
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 600 }), fc.nat(9), fc.boolean()), { minLength: 1, maxLength: 4 }),
        async (runs) => {
          const directory = await scratch()
          const heads: SignedCheckpoint[] = []
          const acknowledged: string[] = []
          let next = 0
          for (const [count, left, cutState] of runs) {
            const { files, state } = filesIn(directory)
            const failing = cutState
              ? { files, state: new Failing(join(directory, 'state'), left % 3) }
              : { files: new Failing(join(directory, 'public'), left), state }
            const before = await Sequencer.open({ ...filesIn(directory), signer })
            heads.push(before.head)
            const sequencer = await Sequencer.open({ ...failing, signer, onHead: (head) => heads.push(head) }).catch(() => null)
            const additions = numbered(next, count, `run ${runs.length}`)
            next += count
            const done = await sequencer?.append(additions).then(
              () => true,
              () => false,
            )
            if (done === true) acknowledged.push(...additions.map(({ entry }) => Buffer.from(entry).toString()))
          }
          const last = await Sequencer.open({ ...filesIn(directory), signer })
          await last.append(numbered(next, 300, 'after'))
          heads.push(last.head)
          const leaves: Uint8Array[] = []
          for (let place = 0; place < last.head.size; place++) leaves.push(await last.tree(last.head.size).leaf(place))
          for (const head of heads) {
            await verifyCheckpointOfLog(head.note, log)
            expect(toHex(await merkleRoot(leaves.slice(0, head.size)))).toBe(toHex(head.root))
            if (head.size > 0)
              expect(
                await verifyConsistency(head.size, head.root, last.head.size, last.head.root, await last.tree(last.head.size).consistency(head.size)),
              ).toBe(true)
          }
          for (const text of acknowledged) expect(await last.find(await leafHash(utf8(text)))).not.toBeNull()
        },
      ),
      { numRuns: 15 },
    )
  }, 120_000)

  it('a head that may or may not be on the disk is the last one: another of its size would be a fork', async () => {
    const directory = await scratch()
    const { files, state } = filesIn(directory)
    const signer = await logSigner()
    class Unsynced extends TileFiles {
      fails = false
      override async write(contents: ReadonlyMap<string, Uint8Array | string>): Promise<void> {
        await super.write(contents)
        if (this.fails && contents.has('head')) throw new Error('EIO')
      }
    }
    const unsynced = new Unsynced(state.directory)
    const sequencer = await Sequencer.open({ files, state: unsynced, signer })
    unsynced.fails = true
    await expect(sequencer.append(numbered(0, 1))).rejects.toThrow('EIO')
    unsynced.fails = false
    expect(await codeOf(sequencer.append(numbered(1, 1)))).toBe('file_unavailable')
    expect(sequencer.stopped).toBe(true)
    const again = await Sequencer.open({ files, state, signer })
    expect(again.head.size).toBe(1)
    expect(await again.append(numbered(0, 2))).toEqual([0, 1])
  })

  it('killed twice while it appends: it goes on where it was, and no place has two leaves', async () => {
    const directory = await scratch()
    const child = fileURLToPath(new URL('append-forever.ts', import.meta.url))
    const told = new Map<number, string>()
    let key = ''
    for (let round = 0; round < 2; round++) {
      const process_ = spawn(process.execPath, ['--conditions=@veritee/source', child, directory, String(round)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let text = ''
      const enough = Promise.withResolvers<void>()
      process_.stdout.on('data', (part: Buffer) => {
        text += part.toString()
        if (text.split('\n').length > 12) enough.resolve()
      })
      const ended = new Promise((resolve) => process_.once('exit', resolve))
      await Promise.race([enough.promise, ended])
      process_.kill('SIGKILL')
      await ended
      for (const line of text.split('\n').slice(0, -1)) {
        const { place, leaf, publicKey } = JSON.parse(line) as { place: number; leaf: string; publicKey: string }
        key = publicKey
        expect(told.get(place) ?? leaf).toBe(leaf)
        told.set(place, leaf)
      }
    }
    expect(told.size).toBeGreaterThan(10)
    const { signerOf } = await import('./append-forever.ts')
    const signer = await signerOf(directory)
    expect(toHex(signer.verifier.publicKey)).toBe(key)
    const last = await Sequencer.open({ ...filesIn(directory), signer })
    for (const [place, leaf] of told) expect(await last.find(fromHex(leaf))).toBe(place)
  }, 120_000)
})
