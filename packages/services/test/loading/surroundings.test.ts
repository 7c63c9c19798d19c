import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WeightSource } from '../../src/enclave/sealed/source.ts'
import { loadSources, loadWeights } from '../../src/enclave/worker/engine/weights/index.ts'
import { isSwappable, type Surroundings, thisSystem } from '../../src/enclave/worker/engine/weights/surroundings.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'

let root: string
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-surroundings-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const swapOff = 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n'
const swapOn = `${swapOff}/dev/sda2                               partition\t8388604\t\t0\t\t-2\n`
const mounts = (options: string): string =>
  `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n30 22 0:26 / /dev/shm rw,nosuid,nodev shared:4 - tmpfs tmpfs rw,${options}\n31 22 0:27 / /dev/shm\\040x rw - tmpfs tmpfs rw,noswap\n`

function reading(files: Readonly<Record<string, string>>): Surroundings['readText'] {
  return (path) => (files[path] === undefined ? Promise.reject(new Error('ENOENT')) : Promise.resolve(files[path]))
}

/** Gramine as its sources have it: a directory for the mount, memory by /proc/meminfo, `statfs` with the same numbers for everything. */
async function gramine(meminfo: string, exists = true): Promise<Surroundings> {
  const enclaveDirectory = join(root, `mount-${count++}`)
  if (exists) await mkdir(enclaveDirectory)
  return {
    gramine: true,
    enclaveDirectory,
    statfs: () => Promise.resolve({ type: 0, bavail: 10_000_000, bsize: 4096 }),
    readText: reading({ '/proc/meminfo': meminfo }),
  }
}

async function demoSource(changes: Partial<WeightSource> = {}): Promise<WeightSource> {
  const bytes = await readFile(demoPath)
  return {
    name: 'demo.gguf',
    size: bytes.length,
    sha256: demoSha256,
    sealed: true,
    read: async function* () {
      yield bytes
    },
    ...changes,
  }
}

const meminfo = (kilobytes: number): string => `MemTotal:       4194304 kB\nMemFree:        4194304 kB\nMemAvailable:   ${kilobytes} kB\n`
const enough = meminfo(4_000_000)

describe('under Gramine (a layout like it: not run in an enclave)', () => {
  test('S12: plain weights are a named file on the measured mount, whatever directory is configured, and have no name after loading', async () => {
    const surroundings = await gramine(enough)
    const weights = await loadSources([await demoSource()], { surroundings, memoryDirectory: '/dev/shm' })
    const { path, remove } = await weights.place()
    expect(path).toMatch(new RegExp(`^${surroundings.enclaveDirectory}/[0-9a-f-]{36}/demo\\.gguf$`))
    expect(
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    ).toBe(demoSha256)
    await remove()
    expect(await readdir(surroundings.enclaveDirectory)).toEqual([])
    await weights.recheck()
    await weights.dispose()
  })

  test('a split model lies there under its names', async () => {
    const surroundings = await gramine(enough)
    const sources = [await demoSource({ name: 'm-00001-of-00002.gguf' }), await demoSource({ name: 'm-00002-of-00002.gguf' })]
    const weights = await loadSources(sources, { surroundings })
    const { path } = await weights.place()
    expect(path).toMatch(/\/m-00001-of-00002\.gguf$/)
    expect((await readdir(join(path, '..'))).sort()).toEqual(['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'])
    await weights.dispose()
    expect(await readdir(surroundings.enclaveDirectory)).toEqual([])
  })

  test.each([
    ['less memory than twice the model', meminfo(2 * 1280)],
    ['a system that does not say what memory it has', ''],
    ['a statement that is no number', 'MemAvailable: much kB\n'],
  ])('S12: with %s nothing is loaded', async (_, text) => {
    const surroundings = await gramine(text)
    await expect(loadSources([await demoSource()], { surroundings })).rejects.toMatchObject({ code: 'model_memory_unavailable' })
    expect(await readdir(surroundings.enclaveDirectory)).toEqual([])
  })

  test('an older release says MemFree only', async () => {
    const weights = await loadSources([await demoSource()], { surroundings: await gramine('MemTotal: 4194304 kB\nMemFree:  4000000 kB\n') })
    await weights.dispose()
  })

  test('S12: without the mount nothing is loaded, and the configured directory is not used instead', async () => {
    const before = await readdir('/dev/shm').catch(() => [])
    const surroundings = await gramine(enough, false)
    await expect(loadSources([await demoSource()], { surroundings })).rejects.toMatchObject({ code: 'model_memory_unavailable' })
    expect(await readdir('/dev/shm').catch(() => [])).toEqual(before)
  })

  test('S12: after a refusal no name is left', async () => {
    const surroundings = await gramine(enough)
    await expect(loadSources([await demoSource({ sha256: '0'.repeat(64) })], { surroundings })).rejects.toMatchObject({ code: 'model_hash_mismatch' })
    expect(await readdir(surroundings.enclaveDirectory)).toEqual([])
  })

  test('a plain model is copied there too, or loaded from its file where there is no room', async () => {
    const weights = await loadWeights(demoPath, { surroundings: await gramine(enough) })
    expect(weights).toMatchObject({ loading: 'tmpfs', files: [{ sha256: demoSha256 }] })
    await weights.dispose()
    const poor = await loadWeights(demoPath, { surroundings: await gramine(meminfo(1000)) })
    expect(poor).toMatchObject({ loading: 'direct', files: [{ sha256: demoSha256 }] })
    await poor.dispose()
  })
})

describe('swap', () => {
  const system = (files: Readonly<Record<string, string>>): Surroundings => ({ ...thisSystem, gramine: false, readText: reading(files) })

  test.each<[string, Readonly<Record<string, string>>, string, boolean]>([
    ['no swap', { '/proc/swaps': swapOff, '/proc/self/mountinfo': mounts('size=1g') }, '/dev/shm', false],
    ['swap', { '/proc/swaps': swapOn, '/proc/self/mountinfo': mounts('size=1g') }, '/dev/shm', true],
    ['swap, and a mount without it', { '/proc/swaps': swapOn, '/proc/self/mountinfo': mounts('noswap') }, '/dev/shm', false],
    ['swap, and such a mount for a directory above', { '/proc/swaps': swapOn, '/proc/self/mountinfo': mounts('noswap') }, '/dev/shm/a/b', false],
    [
      'swap, and such a mount at a path that only begins alike',
      { '/proc/swaps': swapOn, '/proc/self/mountinfo': mounts('size=1g') },
      '/dev/shmother',
      true,
    ],
    ['swap, and such a mount at a path with a space', { '/proc/swaps': swapOn, '/proc/self/mountinfo': mounts('size=1g') }, '/dev/shm x', false],
    ['swap, and no mount table', { '/proc/swaps': swapOn }, '/dev/shm', true],
    ['a system that does not say', {}, '/dev/shm', true],
  ])('S12: %s', async (_, files, directory, swappable) => {
    expect(await isSwappable(directory, system(files))).toBe(swappable)
  })

  const memory = { ...thisSystem, gramine: false, statfs: () => Promise.resolve({ type: 0x01021994, bavail: 1 << 20, bsize: 4096 }) }

  test('S12: with swap decrypted weights are refused, before a byte is read, unless that is tolerated by name; plain ones are not', async () => {
    const surroundings = { ...memory, readText: reading({ '/proc/swaps': swapOn }) }
    let read = 0
    const sealed = await demoSource({
      read: async function* () {
        read++
        yield await readFile(demoPath)
      },
    })
    await expect(loadSources([sealed], { surroundings, memoryDirectory: root })).rejects.toMatchObject({
      code: 'model_memory_swappable',
      kind: 'configuration',
    })
    expect(read).toBe(0)
    await (await loadSources([sealed], { surroundings, memoryDirectory: root, toleratesSwap: true })).dispose()
    await (await loadSources([{ ...sealed, sealed: false }], { surroundings, memoryDirectory: root })).dispose()
    await (
      await loadSources([sealed], { surroundings: { ...memory, readText: reading({ '/proc/swaps': swapOff }) }, memoryDirectory: root })
    ).dispose()
    expect((await readdir(root)).filter((name) => !name.startsWith('mount-'))).toEqual([])
  })

  test.skipIf(process.platform !== 'linux')(
    'S12: a process that holds decrypted weights is kept out of core dumps (needs /proc of Linux)',
    async () => {
      await (
        await loadSources([await demoSource()], { surroundings: { ...memory, readText: reading({ '/proc/swaps': swapOff }) }, memoryDirectory: root })
      ).dispose()
      expect(Number.parseInt(await readFile('/proc/self/coredump_filter', 'utf8'), 16)).toBe(0)
    },
  )
})
