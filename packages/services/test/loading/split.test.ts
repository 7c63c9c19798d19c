import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Engine, loadChatTemplate, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { loadWeights } from '../../src/enclave/worker/engine/weights/index.ts'
import { partNames } from '../../src/enclave/worker/engine/weights/split.ts'
import { loadSealedModel } from '../../src/enclave/worker/load-sealed.ts'
import { serveModel } from '../../src/enclave/worker/served-model.ts'
import { openEngineProcess } from '../../src/engine-process/index.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { demoPath } from '../engine/demo.ts'
import { splitGguf } from './split-gguf.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000
const why = noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''

let root: string
let parts: string[]
let wanted: { readonly name: string; readonly sha256: string; readonly size: number }[]
let whole: unknown[]
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'veritee-split-'))
  parts = await splitGguf(demoPath, root, 'demo', 3)
  wanted = await Promise.all(
    parts.map(async (path) => {
      const bytes = await readFile(path)
      return { name: basename(path), sha256: createHash('sha256').update(bytes).digest('hex'), size: bytes.length }
    }),
  )
  const engine = await openLlamaEngine({ path: demoPath })
  whole = await tokensOf(engine)
  await engine.dispose()
})
afterAll(() => rm(root, { recursive: true, force: true }))

async function tokensOf(engine: Engine): Promise<unknown[]> {
  const tokens: unknown[] = []
  const generation = { promptTokens: [1, ...engine.vocabulary.encode('Once upon a time')], maxTokens: 40, seed: Uint8Array.of(1) }
  const sampling = { temperature: 1, topK: 1024, topP: 1, minP: 0 }
  for await (const { token } of engine.generate({ ...generation, sampling })) tokens.push(token)
  return tokens
}

/** What the loader leaves in the directories it uses. */
const left = async (): Promise<string[]> =>
  (await Promise.all([tmpdir(), '/dev/shm'].map((directory) => readdir(directory).catch(() => []))))
    .flat()
    .filter((name) => name.startsWith('veritee-parts-'))

describe('a model of several files', () => {
  test.each([
    ['in this process', openLlamaEngine, {}],
    ['in an engine process', openEngineProcess, {}],
    ['from the files themselves', openLlamaEngine, { memoryDirectory: '/dev/shm/none' }],
    ['from the files themselves, in an engine process', openEngineProcess, { memoryDirectory: '/dev/shm/none' }],
  ])('is loaded by the name of its first part, every part hashed, %s', async (_, open, options) => {
    const before = await left()
    const engine = await open({ path: parts[0] as string, ...options })
    try {
      expect(engine.model.files).toEqual(wanted)
      expect(await tokensOf(engine)).toEqual(whole)
      expect(await left()).toEqual(before)
    } finally {
      await engine.dispose()
    }
  })

  test.skipIf(noTmpfs)(`S12: sealed, it is opened into unnamed files, and descriptor and receipts list every part in order${why}`, async () => {
    const publisher = await generateEd25519()
    const modelKey = new Uint8Array(randomBytes(32))
    const directory = join(root, 'sealed')
    const names = { name: 'demo-split', modelVersion: 1, keyId: 'models/demo/1', chatTemplateDigest: null, licence: null, created: 0 }
    await sealModel({ files: parts, out: directory, ...names, modelKey, publisher })
    const memoryDirectory = await mkdtemp('/dev/shm/test-split-')
    for (const openEngine of [openLlamaEngine, openEngineProcess]) {
      const before = await left()
      const served = await loadSealedModel({
        path: directory,
        memoryDirectory,
        trust: { publishers: [toHex(publisher.publicKey)], minimumVersion: 1 },
        requestKey: () => Promise.resolve(modelKey.slice()),
        openEngine,
        toleratesSwap: true,
      })
      try {
        const files = wanted.map((file) => ({ ...file, sha256: `sha256:${file.sha256}` }))
        expect(served.described).toMatchObject({ sealed: true, files })
        expect(served.event).toMatchObject({ type: 'veritee.model', files, provenance: 'hashed_while_loading' })
        expect(await tokensOf(served.engine)).toEqual(whole)
        expect([await left(), await readdir(memoryDirectory)]).toEqual([before, []])
      } finally {
        await served.engine.dispose()
      }
    }
    await rm(memoryDirectory, { recursive: true })
  })

  test('S2: a part that changes while it is loaded from the disk is noticed', async () => {
    const changing = await splitGguf(demoPath, root, 'changing', 2)
    const weights = await loadWeights(changing[0] as string, { memoryDirectory: '/dev/shm/none' })
    const bytes = await readFile(changing[1] as string)
    await writeFile(changing[1] as string, bytes.fill(0, bytes.length - 64))
    await expect(weights.confirm()).rejects.toMatchObject({ code: 'model_hash_mismatch' })
    await weights.dispose()
  })

  test('a missing part, another part than the first, and a part of another model are refused', async () => {
    await expect(openLlamaEngine({ path: parts[1] as string })).rejects.toMatchObject({ code: 'model_unsupported' })
    const [first] = await splitGguf(demoPath, root, 'missing', 2)
    await rm(join(root, 'missing-00002-of-00002.gguf'))
    await expect(openLlamaEngine({ path: first as string })).rejects.toMatchObject({ code: 'model_unavailable' })
    await rename(parts[2] as string, join(root, 'missing-00002-of-00002.gguf'))
    try {
      await expect(openLlamaEngine({ path: first as string })).rejects.toMatchObject({ code: 'model_malformed' })
    } finally {
      await rename(join(root, 'missing-00002-of-00002.gguf'), parts[2] as string)
    }
  })

  test('the names of its parts come from the first; other names are one file', () => {
    expect(partNames('m-00001-of-00002.gguf')).toEqual(['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'])
    for (const name of ['m.gguf', 'm-1-of-2.gguf', 'm-00001-of-00002.bin', '-00001-of-00002.gguf', 'm-00001-of-000021.gguf'])
      expect(partNames(name)).toEqual([name])
    for (const name of ['m-00002-of-00002.gguf', 'm-00000-of-00002.gguf', 'm-00001-of-00000.gguf', 'm-00001-of-99999.gguf'])
      expect(() => partNames(name), name).toThrow(expect.objectContaining({ code: 'model_unsupported' }))
  })

  test('facts of the first part are those of the model', async () => {
    const engine = await openLlamaEngine({ path: parts[0] as string, sha256: wanted[0]?.sha256 as string })
    try {
      const served = serveModel('demo', 'demo-00001-of-00003.gguf', engine, loadChatTemplate(engine.model.chatTemplate, engine.vocabulary))
      expect(served.described.files.map(({ name }) => name)).toEqual(wanted.map(({ name }) => name))
      expect(engine.model).toMatchObject({ sha256: wanted[0]?.sha256, size: wanted[0]?.size, architecture: 'llama' })
    } finally {
      await engine.dispose()
    }
    await expect(openLlamaEngine({ path: parts[0] as string, sha256: '0'.repeat(64) })).rejects.toMatchObject({ code: 'model_hash_mismatch' })
  })
})
