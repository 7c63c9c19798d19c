import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { copyFile, cp, mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { fail } from 'veritee/errors'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { WeightSource } from '../../src/enclave/sealed/source.ts'
import { loadSources } from '../../src/enclave/worker/engine/index.ts'
import { loadSealedModel, type SealedModelOptions } from '../../src/enclave/worker/load-sealed.ts'
import { openEngineProcess } from '../../src/engine-process/index.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000
const why = noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''

const publisher = await generateEd25519()
const modelKey = new Uint8Array(randomBytes(32))
const trust = { publishers: [toHex(publisher.publicKey)], minimumVersion: 2 }

let root: string
// Of these tests alone: what others have in memory at this moment is not looked at.
let memory: string
let sealed: string
let names = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-loading-'))
  if (!noTmpfs) memory = await mkdtemp('/dev/shm/test-loading-')
  sealed = await seal({})
})
afterAll(async () => {
  await rm(root, { recursive: true, force: true })
  if (!noTmpfs) await rm(memory, { recursive: true })
})

async function seal(changes: Partial<Parameters<typeof sealModel>[0]>): Promise<string> {
  const directory = join(root, `sealed-${names++}`)
  await sealModel({
    files: [demoPath],
    out: directory,
    name: 'veritee-demo',
    modelVersion: 2,
    keyId: 'models/veritee-demo/2',
    modelKey,
    publisher,
    chatTemplateDigest: null,
    licence: 'Apache-2.0',
    created: 1_790_000_000,
    ...changes,
  })
  return directory
}

async function altered(change: (directory: string) => Promise<unknown>): Promise<string> {
  const directory = join(root, `altered-${names++}`)
  await cp(sealed, directory, { recursive: true })
  await change(directory)
  return directory
}

const weightFile = 'veritee-demo-q8_0.gguf.sealed'
const load = (path: string, changes: Partial<SealedModelOptions> = {}): ReturnType<typeof loadSealedModel> =>
  loadSealedModel({ path, trust, requestKey: () => Promise.resolve(modelKey.slice()), memoryDirectory: memory, ...changes })
const inMemory = (): Promise<string[]> => readdir(memory)

describe.skipIf(noTmpfs)(`loading sealed models${why}`, () => {
  it('S12: the model that is served is the one that was sealed, and its facts say that it was', async () => {
    const steps: string[] = []
    let asked = ''
    let given = new Uint8Array()
    const requestKey = (keyId: string): Promise<Uint8Array> => {
      asked = keyId
      given = modelKey.slice()
      return Promise.resolve(given)
    }
    const served = await load(sealed, { requestKey, onStep: (step) => steps.push(step) })
    try {
      expect(steps).toEqual(['manifest', 'key', 'weights', 'template'])
      expect(asked).toBe('models/veritee-demo/2')
      expect(given.every((byte) => byte === 0)).toBe(true)
      expect(served.event).toMatchObject({
        name: 'veritee-demo',
        sealed: true,
        provenance: 'hashed_while_loading',
        files: [{ name: 'veritee-demo-q8_0.gguf', sha256: `sha256:${demoSha256}`, size: 1_310_912 }],
      })
      expect(served.engine.model).toMatchObject({ sealed: true, loading: 'tmpfs', sha256: demoSha256 })
      expect(await inMemory()).toEqual([])
    } finally {
      await served.engine.dispose()
    }
  })

  it('S12: an engine process gets it as a descriptor without a name, after it was opened and hashed here', async () => {
    const served = await load(sealed, { openEngine: openEngineProcess })
    try {
      expect(served.engine.model).toMatchObject({ sealed: true, loading: 'tmpfs', sha256: demoSha256 })
      expect(await inMemory()).toEqual([])
      const sampling = { temperature: 0, topK: 1, topP: 1, minP: 0 }
      const tokens = served.engine.generate({ promptTokens: [1], maxTokens: 3, sampling, seed: Uint8Array.of(1) })
      expect((await tokens.next()).done).toBe(false)
      await tokens.return()
    } finally {
      await served.engine.dispose()
    }
  })

  it('S12: a model in one file is loaded in the same way; with a chunk changed it is not', async () => {
    const path = await seal({ form: 'file' })
    const served = await load(path)
    try {
      expect(served.engine.model).toMatchObject({ sealed: true, loading: 'tmpfs', sha256: demoSha256 })
      expect(await inMemory()).toEqual([])
    } finally {
      await served.engine.dispose()
    }
    const bytes = await readFile(path)
    bytes[bytes.length - 20] = (bytes[bytes.length - 20] as number) ^ 1
    await writeFile(path, bytes)
    await expect(load(path)).rejects.toMatchObject({ code: 'sealed_chunk_invalid' })
    expect(await inMemory()).toEqual([])
  })

  it.each<[string, () => Promise<string> | string, Partial<SealedModelOptions>, string]>([
    ['the key of another model', () => sealed, { requestKey: () => Promise.resolve(new Uint8Array(32)) }, 'sealed_key_wrong'],
    [
      'a broker that does not answer',
      () => sealed,
      { requestKey: () => Promise.reject(fail('service_unavailable', 'no answer')) },
      'service_unavailable',
    ],
    ['a broker that refuses', () => sealed, { requestKey: () => Promise.reject(fail('service_refused', 'not for you')) }, 'service_refused'],
    ['a manifest of another publisher', async () => seal({ publisher: await generateEd25519() }), {}, 'sealed_publisher_unknown'],
    ['S11: a rolled-back manifest', () => seal({ modelVersion: 1 }), {}, 'sealed_version_rolled_back'],
    ['no tmpfs', () => sealed, { memoryDirectory: '/proc' }, 'model_memory_unavailable'],
    ['no such memory directory', () => sealed, { memoryDirectory: '/dev/shm/none' }, 'model_memory_unavailable'],
    ['another template than the manifest names', () => seal({ chatTemplateDigest: `sha256:${'0'.repeat(64)}` }), {}, 'model_template_mismatch'],
    ['the sealed file missing', () => altered((directory) => rm(join(directory, weightFile))), {}, 'model_unavailable'],
    [
      'a chunk missing',
      () => altered(async (directory) => writeFile(join(directory, weightFile), (await readFile(join(directory, weightFile))).subarray(262_160))),
      {},
      'sealed_file_size',
    ],
    [
      'a chunk of another sealing of the same model',
      () =>
        altered(async (directory) => {
          const other = await readFile(join(await seal({}), weightFile))
          const own = await readFile(join(directory, weightFile))
          other.copy(own, 0, 0, 262_160)
          await writeFile(join(directory, weightFile), own)
        }),
      {},
      'sealed_chunk_invalid',
    ],
  ])('S12: %s: refused, nothing served, nothing left', async (_, make, changes, code) => {
    const directory = await make()
    await expect(load(directory, changes)).rejects.toMatchObject({ code })
    expect(await inMemory()).toEqual([])
  })

  it('S12: a file that is no model is refused, though its publisher signed it', async () => {
    const path = join(root, 'no-model.gguf')
    await writeFile(path, randomBytes(500_000))
    await expect(load(await seal({ files: [path] }))).rejects.toMatchObject({ code: 'model_malformed' })
  })

  it.each([
    ['two models', ['a.gguf', 'b.gguf']],
    ['a part that is missing', ['m-00001-of-00003.gguf', 'm-00003-of-00003.gguf']],
    ['parts in another order', ['m-00002-of-00002.gguf', 'm-00001-of-00002.gguf']],
  ])('files that are not all parts of one model are refused before a key is asked for: %s', async (_, names) => {
    const files = await Promise.all(
      names.map(async (name) => {
        const path = join(root, name)
        await copyFile(demoPath, path)
        return path
      }),
    )
    const requestKey = (): Promise<Uint8Array> => Promise.reject(new TypeError('asked'))
    await expect(load(await seal({ files }), { requestKey })).rejects.toMatchObject({ code: 'model_unsupported' })
  })

  it.each<[string, Partial<WeightSource>, string]>([
    ['more bytes than promised', { size: 7 }, 'model_hash_mismatch'],
    ['fewer bytes than promised', { size: 9 }, 'model_hash_mismatch'],
    ['another hash', { sha256: '0'.repeat(64) }, 'model_hash_mismatch'],
    ['no GGUF', { sha256: null }, 'model_malformed'],
  ])('S12: a source with %s is refused', async (_, changes, code) => {
    const bytes = new Uint8Array(8).fill(1)
    const source: WeightSource = {
      name: 'x',
      size: 8,
      sha256: createHash('sha256').update(bytes).digest('hex'),
      sealed: true,
      read: async function* () {
        yield bytes
      },
      ...changes,
    }
    await expect(loadSources([source])).rejects.toMatchObject({ code })
  })

  const small = join('/dev/shm', `small-veritee-${process.pid}`)
  const mounted = spawnSync('sh', ['-c', `mkdir -p ${small} && mount -t tmpfs -o size=2m tmpfs ${small}`]).status === 0
  const notMounted = mounted ? '' : ' (skipped: a tmpfs cannot be mounted here)'
  afterAll(() => {
    spawnSync('sh', ['-c', `umount ${small}; rmdir ${small}`])
  })
  it.skipIf(!mounted)(`S12: a tmpfs that is too small, and one that fills up on the way, are refused${notMounted}`, async () => {
    await expect(load(await seal({ files: [await big(3_000_000)] }), { memoryDirectory: small })).rejects.toMatchObject({
      code: 'model_memory_unavailable',
    })
    // Room is there when it is asked for, and taken by somebody else before the last byte is written.
    const filling: WeightSource = {
      name: 'x',
      size: 900_000,
      sha256: null,
      sealed: true,
      read: async function* () {
        yield new Uint8Array(300_000)
        await writeFile(join(small, 'other'), Buffer.alloc(1_700_000)).catch(() => undefined)
        yield new Uint8Array(600_000)
      },
    }
    await expect(loadSources([filling], { memoryDirectory: small })).rejects.toMatchObject({ code: 'model_memory_unavailable' })
    expect(await readdir(small)).toEqual(['other'])
  })

  async function big(length: number): Promise<string> {
    const path = join(root, `big-${length}.gguf`)
    await writeFile(path, Buffer.concat([Buffer.from('GGUF\x03\0\0\0'), randomBytes(length)]))
    return path
  }

  it('S12: while a model is loaded, no file that it can write on a disk, and nothing that it prints, holds a run of the weights', async () => {
    const home = join(root, 'home')
    await mkdir(home)
    await writeFile(join(home, 'key'), modelKey, { mode: 0o600 })
    // A process of its own, with every temporary directory it might know of in one place, stopped where the weights are in memory.
    const program = `
      import { readFileSync } from 'node:fs'
      import { loadSealedModel } from '${new URL('../../src/enclave/worker/load-sealed.ts', import.meta.url).href}'
      const key = readFileSync('key')
      const served = await loadSealedModel({ path: '${sealed}', trust: ${JSON.stringify(trust)}, requestKey: async () => new Uint8Array(key) })
      console.log(served.event.files[0].sha256)
      process.exit(0)`
    await writeFile(join(home, 'load.mjs'), program)
    const run = spawnSync(process.execPath, ['--conditions=@veritee/source', 'load.mjs'], {
      cwd: home,
      env: { PATH: process.env.PATH ?? '', HOME: home, TMPDIR: home, XDG_CACHE_HOME: home },
      encoding: 'buffer',
    })
    expect(run.stdout.toString(), run.stderr.toString()).toContain(demoSha256)
    const plain = await readFile(demoPath)
    const places = [run.stdout, run.stderr]
    for (const directory of [home, sealed])
      for (const name of await readdir(directory, { recursive: true }))
        places.push(await readFile(join(directory, name)).catch(() => Buffer.alloc(0)))
    let runs = 0
    for (let at = 1000; at + 32 <= plain.length; at += 997) {
      const part = plain.subarray(at, at + 32)
      // What repeats itself, such as padding, says nothing.
      if (new Set(part).size < 12) continue
      runs++
      for (const place of places) expect(place.includes(part)).toBe(false)
    }
    expect(runs).toBeGreaterThan(500)
  })
})
