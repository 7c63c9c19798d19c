import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Agent, request } from 'undici'
import { chatBody } from 'veritee/client'
import { parseReceipt } from 'veritee/receipt'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { readConfiguration } from '../../src/config/schema.ts'
import { workerSchema } from '../../src/config/worker.ts'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { nodeFiles } from '../../src/process/files.ts'
import type { Running } from '../../src/process/run.ts'
import { startWorkerProcess } from '../../src/process/worker.ts'
import { demoPath } from '../engine/demo.ts'

const program = {
  codeDigest: async () => '00'.repeat(32),
  findModel: async () => ({ path: demoPath, name: 'veritee-demo', source: 'file' as const, sha256: null }),
  openEngine: openLlamaEngine,
  anchors: null,
}
const dispatcher = new Agent({ connect: { rejectUnauthorized: false } })
const running: Running[] = []
const lines: string[] = []
let directory = ''
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-process-receipts-'))
})
afterEach(async () => {
  for (const one of running.splice(0)) await one.close()
})
afterAll(async () => {
  await dispatcher.close()
  await rm(directory, { recursive: true, force: true })
})

async function start(): Promise<Running> {
  const args = ['--tee', 'simulate', '--state', directory, '--port', '0', '--model', 'demo', '--direct', '--metrics-port', '0']
  const { configuration } = await readConfiguration(workerSchema, { args, environment: {}, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  const report = (line: string): number => lines.push(line)
  const now = (): Date => new Date()
  const one = await startWorkerProcess({ configuration, program, files: nodeFiles, report, now })
  running.push(one)
  return one
}

async function get(url: string): Promise<{ status: number; body: string }> {
  const { statusCode, body } = await request(url, { dispatcher })
  return { status: statusCode, body: await body.text() }
}

describe('a worker process', () => {
  test('keeps receipts in its state directory, serves them after a restart with the old keyset, and tells its figures', {
    timeout: 120_000,
  }, async () => {
    const first = await start()
    const body = Buffer.from(chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4 }))
    const answer = await request(`${first.ready.url}/v1/chat/completions`, { method: 'POST', dispatcher, body })
    await answer.body.dump()
    const path = `/v1/aci/receipts/${String(answer.headers['x-receipt-id'])}`
    const before = await get(`${first.ready.url}${path}`)
    expect(before.status).toBe(200)
    const figures = (await get(`${String(first.ready.operations)}/metrics`)).body
    expect(figures).toContain('# TYPE veritee_store_commits_total counter\nveritee_store_commits_total 1\n')
    expect(figures).toContain('# TYPE veritee_store_answers gauge\nveritee_store_answers 1\n')
    expect(figures).not.toContain('NaN')
    // One file, one process.
    await expect(start()).rejects.toMatchObject({ code: 'receipt_store_unavailable' })
    await running.pop()?.close()

    const second = await start()
    expect(await get(`${second.ready.url}${path}`)).toEqual(before)
    const { keysetDigest } = parseReceipt(before.body)
    expect(keysetDigest).toBe(first.ready.keyset_digest)
    expect(JSON.parse((await get(`${second.ready.url}/v1/veritee/keysets/${keysetDigest}`)).body)).toMatchObject({
      workload_keyset_digest: keysetDigest,
    })
    expect(lines.join('\n')).toMatch(/^1 receipts of earlier keysets in .*receipts\.db$/m)
    expect(lines.join('\n')).toContain('NOT SEALED')
  })
})
