import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chatBody, nodeTransport, readBody } from 'veritee/client'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { Running } from '../../../src/process/run.ts'
import { askOperations } from '../../../src/process/status/ask.ts'
import { parseStatus, parseWorkerList, type Status, type WorkerRow } from '../../../src/process/status/document.ts'
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

it('a worker and a controller that run tell what they have, and a worker that leaves is listed with the reason', async () => {
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
  const transport = nodeTransport(front.ready.url)
  const body = chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4 })
  await readBody(await transport.send({ method: 'POST', path: '/v1/chat/completions', body }), 1 << 20)
  transport.close()
  expect(await rows(front)).toMatchObject([{ url: worker.ready.url, breaker: null, quarantine: 'it is stopping' }])
  expect(await status(front)).toMatchObject({ ready: false, reasons: ['no_verified_worker'], facts: { workers: { serving: 0, quarantined: 1 } } })
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
