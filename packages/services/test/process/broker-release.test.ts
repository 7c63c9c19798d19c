import { mkdtemp, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { toHex } from 'veritee/bytes'
import { generateEd25519 } from 'veritee/crypto'
import type { Policy } from 'veritee/policy'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { createMakers, enclaveOf } from '../../../veritee/test/release/makers.ts'
import { runKeyAction } from '../../src/bin/commands/model-keys.ts'
import { brokerSchema } from '../../src/config/broker.ts'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { simulatedEnclave } from '../../src/demo/measure.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { sealModel } from '../../src/models/sealing/seal.ts'
import { startBrokerProcess } from '../../src/process/broker.ts'
import { nodeFiles } from '../../src/process/files.ts'
import type { Running } from '../../src/process/run.ts'
import { startWorkerProcess } from '../../src/process/worker.ts'
import { release } from '../../src/release.ts'
import { send } from '../broker/system.ts'
import { demoPath } from '../engine/demo.ts'

const shm = await statfs('/dev/shm').catch(() => null)
const noTmpfs = shm?.type !== 0x01021994 || shm.bavail * shm.bsize < 16_000_000

let directory: string
let memory: string
let sealed: string
const publisher = generateEd25519()
const running: Running[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-broker-release-'))
  sealed = join(directory, 'sealed')
  await writeFile(join(directory, 'admin.token'), 'a-credential-that-nobody-would-ever-guess-01', { mode: 0o600 })
  if (noTmpfs) return
  memory = await mkdtemp('/dev/shm/test-broker-release-')
  await sealModel({
    files: [demoPath],
    out: sealed,
    name: 'by-release',
    modelVersion: 1,
    keyId: 'models/fails/1',
    modelKey: new Uint8Array(32).fill(5),
    publisher: await publisher,
    chatTemplateDigest: null,
    licence: null,
    created: 1_790_000_000,
  })
})
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(async () => {
  await rm(directory, { recursive: true, force: true })
  if (!noTmpfs) await rm(memory, { recursive: true })
})

const source = {
  codeDigest: async () => '00'.repeat(32),
  findModel: () => Promise.reject(new Error('none')),
  openEngine: openLlamaEngine,
  anchors: null,
}

async function broker(args: readonly string[]): Promise<Running> {
  const { configuration } = await readConfiguration(brokerSchema, { args, environment: {}, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  const one = await startBrokerProcess({ configuration, program: source, files: nodeFiles, report: () => undefined, now: () => new Date() })
  running.push(one)
  return one
}

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
const towards = (url: unknown): string[] => {
  const own = (name: string): string => join(directory, 'broker-by-release', name)
  return ['--broker', String(url), '--policy', own('policy.json'), '--root', own('root.pem'), '--admin-token-file', join(directory, 'admin.token')]
}

describe.skipIf(noTmpfs)(`a broker that judges by release${noTmpfs ? ' (skipped: /dev/shm is no tmpfs with room here)' : ''}`, () => {
  it('S25: a key whose policy names makers is released by the statement that a worker sends, or the operator of the broker has put in its file since', async () => {
    const makers = await createMakers(Math.floor(Date.now() / 1000) - 60)
    const state = join(directory, 'state-by-release')
    const shown = join(directory, 'shown.json')
    await writeFile(shown, await makers.statement({ product: 'other' }))
    const up = await broker([
      ...simulate('broker-by-release'),
      '--admin-port',
      '0',
      '--admin-token-file',
      join(directory, 'admin.token'),
      '--root',
      join(state, 'root.pem'),
      '--release-statement',
      shown,
    ])
    const terms = JSON.parse(await readFile(join(directory, 'broker-by-release', 'release-policy.json'), 'utf8')) as Policy
    const section = { ...terms.roles.worker, identity: 'released', release: makers.demand }
    const policy = join(directory, 'by-release.json')
    await writeFile(policy, JSON.stringify({ ...terms, roles: { worker: section } }))
    const key = join(directory, 'by-release.key')
    await writeFile(key, new Uint8Array(32).fill(6), { mode: 0o600 })
    const resource = ['--resource', 'models/fails/1', '--key', key, '--release-policy', policy]
    await runKeyAction('upload', [...resource, ...towards(up.ready.admin)])
    const outcome = async (...args: string[]): Promise<unknown> => {
      const { configuration } = await readConfiguration(workerSchema, {
        args: [
          ...['--tee', 'simulate', '--direct', '--state', state, '--port', '0', '--model', `sealed:${sealed}`, '--memory-directory', memory],
          ...['--publisher', toHex((await publisher).publicKey), '--broker', up.ready.url, ...args],
        ],
        environment: {},
        readText: nodeFiles.readText,
      })
      if (configuration === null) throw new TypeError('no configuration')
      const starting = startWorkerProcess({ configuration, program: source, files: nodeFiles, report: () => undefined, now: () => new Date() })
      return starting.then(
        () => 'started',
        (error: { readonly code: unknown; readonly reason?: unknown }) => error.reason ?? error.code,
      )
    }
    const { mrenclave, isvProdId, isvSvn } = simulatedEnclave('worker', await source.codeDigest())
    const own = enclaveOf({ mrenclave, isv_prod_id: isvProdId, isv_svn: isvSvn, cpu_variant: null })
    const statement = await makers.statement({ release: release.version, enclaves: [own] })
    const carried = join(directory, 'carried.json')
    await writeFile(carried, statement)
    expect(await outcome()).toBe('policy_release')
    // It is not the key of this model: whoever finds that out was given it.
    expect(await outcome('--release-statement', carried)).toBe('sealed_key_wrong')
    await writeFile(shown, await makers.statement({ release: release.version, enclaves: [own], sequence: 8, withdrawn: [release.version] }))
    await expect.poll(() => outcome('--release-statement', carried), { timeout: 60_000, interval: 500 }).toBe('release_withdrawn')
    for (const url of [up.ready.url, String(up.ready.admin)])
      expect((await send(url, { method: 'GET', path: '/v1/veritee/releases' })).json).toMatchObject({ statements: [{ statement: { sequence: 8 } }] })
  })
})
