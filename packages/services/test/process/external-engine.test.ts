import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parsePem } from 'veritee/attestation'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { nodeFiles } from '../../src/process/files.ts'
import type { Running } from '../../src/process/run.ts'
import { startWorkerProcess } from '../../src/process/worker.ts'
import { demoPath } from '../engine/demo.ts'
import { dialects } from '../upstream/dialects.ts'
import { type FakeEngine, fakeEngine } from '../upstream/fake-engine.ts'

const program = {
  codeDigest: async () => '00'.repeat(32),
  findModel: async () => ({ path: demoPath, name: 'veritee-demo', source: 'file' as const, sha256: null }),
  openEngine: openLlamaEngine,
  anchors: null,
}
const digest = `sha256:${'cd'.repeat(32)}`

let state: string
let engine: FakeEngine
let running: Running | null = null
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'veritee-external-'))
  engine = await fakeEngine('vllm', (body, response) => dialects[0]?.answer(body, response))
})
afterEach(async () => {
  await running?.close()
  running = null
})
afterAll(async () => {
  await engine.close()
  await rm(state, { recursive: true, force: true })
})

async function start(tee: string, args: readonly string[]): Promise<Running> {
  const all = ['--tee', tee, '--state', state, '--port', '0', '--direct', ...args]
  const { configuration } = await readConfiguration(workerSchema, { args: all, environment: {}, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  running = await startWorkerProcess({ configuration, program, files: nodeFiles, report: () => undefined, now: () => new Date() })
  return running
}
const external = (): string[] => [
  '--external-engine',
  'vllm',
  '--external-address',
  engine.address,
  '--external-name',
  'm',
  '--external-digest',
  digest,
]

describe('veriteed worker with an external engine', () => {
  test('S2: serves it in a simulated TD, and a client verifies through the state directory and is told what it is', async () => {
    const { ready } = await start('simulate-tdx', [...external(), '--model', 'demo', '--external-capability', 'tools'])
    expect(ready.models).toMatchObject([{ name: 'veritee-demo' }, { name: 'm', files: [], format: 'unknown' }])
    const policy = parsePolicy(await readFile(join(state, 'policy.json'), 'utf8'))
    const [root = new Uint8Array()] = parsePem(await readFile(join(state, 'root.pem'), 'utf8'))
    const transport = nodeTransport(ready.url)
    const service = await connect(transport, { policy, trust: { roots: [root] }, role: 'worker', now: () => new Date() })
    const { proof, records } = await ask(service, '/v1/chat/completions', chatBody('m', 'Hello'))
    expect(proof.checks).toContainEqual(expect.objectContaining({ id: 'engine', status: 'waived' }))
    expect(eventOf(parseReceipt(records.receipt), 'veritee.external_engine')).toMatchObject({ capabilities: ['tools'], outcome: 'complete' })
    // The worker's own model beside it is as it ever was.
    const own = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4 }))
    expect(own.proof.model.provenance).toBe('hashed_while_loading')
    transport.close()
  })

  test('S2: does not start with it under SGX', async () => {
    await expect(start('simulate', external())).rejects.toMatchObject({ code: 'engine_outside_enclave' })
    await expect(start('simulate', [...external(), '--model', 'demo'])).rejects.toMatchObject({ code: 'engine_outside_enclave' })
  })

  test.for<[string, string[]]>([
    ['no address', ['--external-engine', 'vllm', '--external-name', 'm', '--external-digest', digest]],
    ['no engine', ['--external-name', 'm', '--model', 'demo']],
    ['a path without a root hash', ['--external-executable', '/opt/vllm']],
    ['weights without an executable', ['--external-weights', '/opt/m', '--external-weights-root', 'fe'.repeat(32)]],
  ])('half a configuration is refused: %s', async ([what, args]) => {
    const all = what.startsWith('no ') ? args : [...external(), ...args]
    await expect(start('simulate-tdx', all)).rejects.toMatchObject({ code: 'config_invalid' })
  })

  test('a worker with neither a model nor an engine does not start, and no FastChat without a model of its own', async () => {
    await expect(start('simulate-tdx', [])).rejects.toMatchObject({ code: 'config_invalid' })
    const fastchat = ['--fastchat-port', '0', '--fastchat-controller', 'http://127.0.0.1:1']
    await expect(start('simulate-tdx', [...external(), ...fastchat])).rejects.toMatchObject({ code: 'config_invalid' })
  })
})
