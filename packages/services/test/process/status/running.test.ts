import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { Running } from '../../../src/process/run.ts'
import { askOperations } from '../../../src/process/status/ask.ts'
import { parseStatus, parseWorkerList, type Status, type WorkerRow } from '../../../src/process/status/document.ts'
import { workerRows } from '../../../src/process/status/facts.ts'
import { openSetting } from '../../controller/admission/setting.ts'
import { freePortBase } from '../../e2e/free-ports.ts'
import { startController, startWorker } from '../start.ts'

let directory: string
const running: Running[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-status-'))
})
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0', '--metrics-port', '0']
const status = async (of: Running): Promise<Status> => parseStatus(await askOperations('/status', { url: String(of.ready.operations), token: null }))
const rows = async (of: Running): Promise<readonly WorkerRow[]> =>
  parseWorkerList(await askOperations('/workers', { url: String(of.ready.operations), token: null })).workers

it('a worker and a controller that run tell what they have, and that there is none any more once the worker has left', async () => {
  const control = await freePortBase()
  const worker = await startWorker([...simulate('w'), '--model', 'demo', '--controller', `http://127.0.0.1:${control}`])
  running.push(worker)
  const trusting = ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem')]
  const front = await startController([...simulate('c'), '--control-port', control, ...trusting])
  running.push(front)
  await expect.poll(async () => (await status(worker)).ready, { timeout: 15_000 }).toBe(true)
  expect(await status(worker)).toMatchObject({
    ...{ role: 'worker', simulated: true, reasons: [] },
    facts: { keyset: { digest: worker.ready.keyset_digest }, models: [{ name: 'veritee-demo', running: 0, waiting: 0 }], manifest: null },
  })
  expect(await status(front)).toMatchObject({
    ...{ role: 'controller', ready: true },
    facts: { models: [{ name: 'veritee-demo', workers: 1 }], workers: { serving: 1, quarantined: 0 }, requests_in_flight: 0 },
  })
  const [row] = await rows(front)
  expect(row).toMatchObject({
    ...{ url: worker.ready.url, keyset_digest: worker.ready.keyset_digest, models: ['veritee-demo'], simulated: true },
    ...{ outstanding: 0, breaker: 'closed', quarantine: null },
  })
  await worker.drain()
  expect(await rows(front)).toEqual([])
  expect(await status(front)).toMatchObject({ ready: false, reasons: ['no_verified_worker'], facts: { workers: { serving: 0, quarantined: 0 } } })
})

it('a controller under an admission manifest tells its version and its end', async () => {
  const setting = await openSetting()
  try {
    const file = join(directory, 'manifest.json')
    await writeFile(file, await setting.manifest({ version: 3 }))
    const signers = setting.anchors.keys.flatMap((key) => ['--manifest-signer', key])
    const admission = ['--manifest', file, '--network', 'test', '--manifest-threshold', '2', ...signers]
    const up = await startController([...simulate('m'), '--control-port', '0', ...admission])
    running.push(up)
    const { facts } = await status(up)
    expect(facts?.manifest).toMatchObject({ version: 3, network: 'test' })
    expect(facts?.manifest?.expires).toBeGreaterThan(Date.now() / 1000)
  } finally {
    await setting.close()
  }
})

it('a quarantined worker is listed with the reason, of bounded length', async () => {
  const setting = await openSetting()
  try {
    const registry = setting.registry(await setting.rules())
    const { server, digest } = await setting.worker()
    const worker = await registry.admit(server.url, digest)
    expect(workerRows(registry)).toMatchObject([{ url: server.url, keyset_digest: digest, breaker: 'closed', quarantine: null }])
    registry.quarantine(worker, `policy_identity: ${'x'.repeat(5000)}`, 'session')
    const [row] = parseWorkerList(JSON.parse(JSON.stringify({ version: 'veritee.workers.v1', workers: workerRows(registry) }))).workers
    expect(row).toMatchObject({ session_id: worker.session.id, breaker: null })
    expect(row?.quarantine).toMatch(/^policy_identity: x{1000,1010}$/)
  } finally {
    await setting.close()
  }
})
