import { createHash, randomBytes } from 'node:crypto'
import { appendFile, copyFile, mkdtemp, readdir, readFile, rm, statfs, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWeights, openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { demoPath, demoSha256 } from './demo.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 8_000_000
const withTmpfs = noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-weights-'))
})
afterAll(() => rm(directory, { recursive: true }))

describe('loadWeights', () => {
  test.skipIf(noTmpfs)(`S12: the copy lives in an unnamed file in memory and holds the hashed bytes${withTmpfs}`, async () => {
    const before = await readdir('/dev/shm')
    const weights = await loadWeights(demoPath)
    expect(weights).toMatchObject({
      loading: 'tmpfs',
      sealed: false,
      files: [{ name: 'veritee-demo-q8_0.gguf', sha256: demoSha256, size: 1_310_912 }],
    })
    const { path } = await weights.place()
    expect(path).toMatch(/^\/proc\/self\/fd\/\d+$/)
    expect(
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    ).toBe(demoSha256)
    expect((await readdir('/dev/shm')).filter((name) => !before.includes(name) && name.startsWith('veritee-'))).toEqual([])
    await weights.confirm()
    await weights.dispose()
    await expect(readFile(path)).rejects.toThrow()
  })

  test('S12: a directory that is no tmpfs is never written to; the file itself is loaded', async () => {
    const disk = await statfs(directory)
    const elsewhere = disk.type === 0x01021994 ? '/proc' : directory
    const before = await readdir(directory)
    const weights = await loadWeights(demoPath, { memoryDirectory: elsewhere })
    expect(weights).toMatchObject({ loading: 'direct', files: [{ sha256: demoSha256 }] })
    expect(await readdir(directory)).toEqual(before)
    await weights.confirm()
    await weights.dispose()
  })

  test('a missing memory directory means direct loading', async () => {
    const weights = await loadWeights(demoPath, { memoryDirectory: join(directory, 'none') })
    expect(weights.loading).toBe('direct')
    await weights.dispose()
  })

  test('S2: direct loading notices a file that changed after it was hashed', async () => {
    const path = join(directory, 'changing.gguf')
    await copyFile(demoPath, path)
    const weights = await loadWeights(path, { memoryDirectory: join(directory, 'none') })
    await appendFile(path, 'x')
    await expect(weights.confirm()).rejects.toMatchObject({ code: 'model_hash_mismatch' })
    await weights.dispose()
  })

  test.each([
    ['text', Buffer.from('this is not a model, but it is long enough')],
    ['an empty file', Buffer.alloc(0)],
    ['GGUF version 9', Buffer.from('GGUF\x09\0\0\0rest of the file')],
    ['big-endian version 3', Buffer.from('GGUF\0\0\0\x03rest of the file')],
  ])('%s is model_malformed', async (_, bytes) => {
    const path = join(directory, 'bad.gguf')
    await writeFile(path, bytes)
    await expect(loadWeights(path)).rejects.toMatchObject({ code: 'model_malformed' })
  })

  test('a missing file and a directory are model_unavailable', async () => {
    await expect(loadWeights(join(directory, 'missing.gguf'))).rejects.toMatchObject({ code: 'model_unavailable' })
    await expect(loadWeights(directory)).rejects.toMatchObject({ code: 'model_unavailable' })
  })

  test('an abort ends the reading', async () => {
    await expect(loadWeights(demoPath, { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop')
  })
})

describe('openLlamaEngine', () => {
  test('tmpfs and direct loading give the same facts and the same tokens', async () => {
    const answers: unknown[] = []
    for (const memoryDirectory of ['/dev/shm', join(directory, 'none')]) {
      const engine = await openLlamaEngine({ path: demoPath, memoryDirectory })
      const tokens: number[] = []
      const sampling = { temperature: 1, topK: 1024, topP: 1, minP: 0 }
      const promptTokens = [1, ...engine.vocabulary.encode('Once upon a time')]
      for await (const { token } of engine.generate({ promptTokens, maxTokens: 40, sampling, seed: Uint8Array.of(1) })) tokens.push(token)
      answers.push({ tokens, facts: engine.facts, sha256: engine.model.sha256 })
      await engine.dispose()
    }
    expect(answers[1]).toEqual(answers[0])
  })

  test('a model with another hash than the expected one is not loaded', async () => {
    await expect(openLlamaEngine({ path: demoPath, sha256: '0'.repeat(64) })).rejects.toMatchObject({ code: 'model_hash_mismatch' })
  })

  test('truncated and damaged GGUF files are model_malformed, and the process goes on', async () => {
    const path = join(directory, 'damaged.gguf')
    for (const length of [24, 5_000, 60_000, 1_000_000, 1_310_911]) {
      await copyFile(demoPath, path)
      await truncate(path, length)
      await expect(openLlamaEngine({ path }), `truncated to ${length}`).rejects.toMatchObject({ code: 'model_malformed' })
    }
    await writeFile(path, Buffer.concat([Buffer.from('GGUF\x03\0\0\0'), randomBytes(4096)]))
    await expect(openLlamaEngine({ path })).rejects.toMatchObject({ code: 'model_malformed' })
    const engine = await openLlamaEngine({ path: demoPath })
    expect(engine.model.sha256).toBe(demoSha256)
    await engine.dispose()
  })

  test.each([{ threads: 0 }, { sequences: 5 }, { maxContext: 1.5 }, { maxQueue: -1 }])('options out of range are TypeError: %o', async (options) => {
    await expect(openLlamaEngine({ path: demoPath, ...options })).rejects.toThrow(TypeError)
  })
})
