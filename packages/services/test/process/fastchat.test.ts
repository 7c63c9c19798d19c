import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { nodeFiles } from '../../src/process/files.ts'
import type { Running } from '../../src/process/run.ts'
import { startWorkerProcess } from '../../src/process/worker.ts'
import { demoPath } from '../engine/demo.ts'
import { type FakeController, post, startController } from '../fastchat/peers.ts'

const program = {
  codeDigest: async () => '00'.repeat(32),
  findModel: async () => ({ path: demoPath, name: 'veritee-demo', source: 'file' as const, sha256: null }),
  openEngine: openLlamaEngine,
  anchors: null,
}

let state: string
let controller: FakeController
let running: Running | null = null
beforeAll(async () => {
  state = await mkdtemp(join(tmpdir(), 'veritee-fastchat-'))
  controller = await startController()
})
afterEach(async () => {
  await running?.close()
  running = null
  controller.workers.clear()
})
afterAll(async () => {
  await controller.close()
  await rm(state, { recursive: true, force: true })
})

async function start(args: readonly string[], lines: string[] = []): Promise<Running> {
  const all = ['--tee', 'simulate', '--state', state, '--port', '0', '--model', 'demo', '--direct', ...args]
  const { configuration } = await readConfiguration(workerSchema, { args: all, environment: {}, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  running = await startWorkerProcess({ configuration, program, files: nodeFiles, report: (line) => lines.push(line), now: () => new Date() })
  return running
}

describe('veriteed worker and FastChat', () => {
  test('S22: it is off unless both its port and a controller are said', async () => {
    expect((await start([])).ready.fastchat).toBeNull()
    await running?.close()
    for (const half of [
      ['--fastchat-port', '0'],
      ['--fastchat-controller', controller.url],
    ])
      await expect(start(half)).rejects.toMatchObject({ code: 'config_invalid' })
    expect(controller.workers.size).toBe(0)
  })

  test('S22: it has a listener of its own, says that nothing on it is verified, and its secret path is in no log', async () => {
    const lines: string[] = []
    const { ready } = await start(['--fastchat-port', '0', '--fastchat-controller', controller.url], lines)
    await vi.waitUntil(() => controller.workers.size === 1, { timeout: 20_000 })
    const [name = ''] = [...controller.workers.keys()]
    expect(name).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/[0-9a-f]{32}$/)
    expect(new URL(name).origin).toBe(ready.fastchat)
    expect(ready.fastchat).not.toBe(ready.url)
    expect(lines.join('\n')).toContain('NO PROOF')
    expect(JSON.stringify([lines, ready])).not.toContain(new URL(name).pathname.slice(1))
    const answered = await post(`${name}/worker_generate`, {
      model: 'veritee-demo:unverified',
      prompt: 'Once',
      temperature: 0,
      max_new_tokens: 2,
      echo: false,
    })
    expect(JSON.parse(answered.body.toString())).toMatchObject({ error_code: 0, usage: { completion_tokens: 2 }, veritee: { verified: false } })
  })

  test.for<[string, readonly string[], RegExp]>([
    ['without --fastchat-open', ['--fastchat-behind-tls'], /--open/],
    ['without --fastchat-behind-tls', ['--fastchat-open'], /--behind-tls/],
    ['by what was said of the API', ['--open', '--behind-tls'], /--open/],
  ])('S22: it does not leave loopback %s', async ([, said, message]) => {
    const args = [
      '--fastchat-port',
      '0',
      '--fastchat-controller',
      controller.url,
      '--fastchat-host',
      '0.0.0.0',
      '--fastchat-advertise',
      'http://10.0.0.7:21002',
    ]
    await expect(start([...args, '--i-know-this-is-simulated', ...said])).rejects.toThrow(message)
  })

  test('a worker that stops ends its answers, and sends controllers elsewhere', async () => {
    const stopping = await start(['--fastchat-port', '0', '--fastchat-controller', controller.url])
    await vi.waitUntil(() => controller.workers.size === 1, { timeout: 20_000 })
    const [name = ''] = [...controller.workers.keys()]
    const ask = { model: 'veritee-demo:unverified', prompt: 'Once upon a time', temperature: 0, max_new_tokens: 60, echo: false }
    const answering = post(`${name}/worker_generate`, ask)
    await vi.waitUntil(async () => JSON.parse((await post(`${name}/worker_get_status`, null)).body.toString()).queue_length > 0, { timeout: 20_000 })
    const drained = stopping.drain()
    expect((await post(`${name}/worker_get_status`, null)).status).toBe(503)
    expect(JSON.parse((await answering).body.toString())).toMatchObject({ error_code: 0 })
    expect(await drained).toBe(true)
  })
})
