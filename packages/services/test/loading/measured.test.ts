import { copyFile, mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { nodeFiles } from '../../src/process/files.ts'
import { loadModels } from '../../src/process/load-models.ts'
import { openPlatform } from '../../src/process/platform.ts'
import { type Program, parseAnchors } from '../../src/process/program.ts'
import { demoPath, demoSha256 } from '../engine/demo.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 8_000_000
const withTmpfs = noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''
const other = 'ab'.repeat(32)

let directory: string
/** Begins as a GGUF file, and the parser of llama.cpp refuses it: what it says tells whether it saw it. */
let hostile: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-measured-'))
  hostile = join(directory, 'hostile.gguf')
  await writeFile(hostile, Buffer.concat([(await readFile(demoPath)).subarray(0, 64), Buffer.alloc(4096, 0xff)]))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

describe('S13: plain weights in an engine that is told what is measured', () => {
  test('S13: a file that is not measured is refused before the parser sees it', async () => {
    await expect(openLlamaEngine({ path: hostile })).rejects.toMatchObject({ code: 'model_malformed' })
    await expect(openLlamaEngine({ path: hostile, measured: [[demoSha256]] })).rejects.toMatchObject({ code: 'model_not_measured' })
  })

  test.each([
    ['none', []],
    ['another one', [[other]]],
    ['a model of which it is one file', [[demoSha256, other]]],
    ['an empty one', [[]]],
  ])('S13: measured is %s: refused', async (_, measured) => {
    await expect(openLlamaEngine({ path: demoPath, measured })).rejects.toMatchObject({ code: 'model_not_measured' })
  })

  test('S13: every file of a split model counts', async () => {
    const [first, second] = ['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf'].map((name) => join(directory, name))
    await copyFile(demoPath, first ?? '')
    await copyFile(hostile, second ?? '')
    await expect(openLlamaEngine({ path: first ?? '', measured: [[demoSha256], [demoSha256, demoSha256]] })).rejects.toMatchObject({
      code: 'model_not_measured',
    })
  })

  test('S13: what could be exchanged after it was hashed is refused too', async () => {
    await expect(openLlamaEngine({ path: demoPath, measured: [[demoSha256]], memoryDirectory: join(directory, 'none') })).rejects.toMatchObject({
      code: 'model_memory_unavailable',
    })
  })

  test.skipIf(noTmpfs)(`the measured one is loaded${withTmpfs}`, async () => {
    const engine = await openLlamaEngine({ path: demoPath, measured: [[other], [demoSha256]] })
    expect(engine.model.sha256).toBe(demoSha256)
    await engine.dispose()
  })
})

describe('S13: plain models of a worker with measured anchors', () => {
  let found = 0
  const program: Program = {
    codeDigest: async () => '00'.repeat(32),
    findModel: async (path) => {
      found++
      return { path, name: 'a', source: 'file', sha256: null }
    },
    openEngine: openLlamaEngine,
    anchors: null,
  }
  /** `null`: simulation. The machine itself is simulated in both cases. */
  async function load(models: readonly (readonly string[])[] | null, source: string) {
    const args = ['--tee', 'simulate', '--state', directory, '--model', source]
    const { configuration } = await readConfiguration(workerSchema, { args, environment: {}, readText: nodeFiles.readText })
    if (configuration === null) throw new TypeError('no configuration')
    const now = (): Date => new Date()
    const machine = await openPlatform({ tee: 'simulate', role: 'worker', program, collateral: null, files: nodeFiles, now })
    const anchors =
      models && parseAnchors(JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null, models }))
    return loadModels({
      config: configuration.values,
      configuration: {},
      platform: { ...machine, anchors, ...(anchors !== null && { simulated: null }) },
      program,
      report: () => undefined,
      releases: '{}',
    })
  }

  test('S13: without a measured plain model none is even looked for', async () => {
    found = 0
    await expect(load([], demoPath)).rejects.toMatchObject({ code: 'model_not_measured' })
    expect(found).toBe(0)
  })

  test('S13: one that the host exchanged is refused before the parser sees it', async () => {
    await expect(load([[demoSha256]], hostile)).rejects.toMatchObject({ code: 'model_not_measured' })
  })

  test.skipIf(noTmpfs)(`the measured one is served, and in simulation any${withTmpfs}`, async () => {
    for (const models of [[[demoSha256]], null]) {
      const served = await load(models, demoPath)
      expect(served.map(({ engine }) => engine.model.sha256)).toEqual([demoSha256])
      await Promise.all(served.map(({ engine }) => engine.dispose()))
    }
  })
})
