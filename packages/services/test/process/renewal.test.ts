import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import { ask, type ConnectOptions, chatBody, connect, nodeTransport, readBody } from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { eventOf, parseReport, verifyReport } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { keepRenewed } from '../../src/process/renewal.ts'
import type { Renewing } from '../../src/process/run.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { startController, startWorker } from './start.ts'

const endpoint = '/v1/chat/completions'
const body = (stream = false): Uint8Array => chatBody('veritee-demo', 'Tell me a story about a dragon named Ruby.', { stream, temperature: 0 })

let directory: string
let worker: Renewing
let controller: Renewing
let options: ConnectOptions
let clock = new Date()
const now = (): Date => clock

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-renewal-'))
  const at = (name: string): string => join(directory, name)
  const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', at(name), '--port', '0']
  const port = await freePortBase()
  worker = await startWorker([...simulate('w'), '--model', 'demo', '--controller', `https://127.0.0.1:${port}`], { now })
  const trusting = ['--policy', join(at('w'), 'policy.json'), '--root', join(at('w'), 'root.pem'), '--tls']
  controller = await startController([...simulate('c'), '--control-port', port, ...trusting], { now })
  const policy = parsePolicy(await readFile(join(at('c'), 'policy.json'), 'utf8'))
  const roots = [intelSgxRootCa, ...parsePem(await readFile(join(at('c'), 'roots.pem'), 'utf8'))] as const
  options = { policy, trust: { roots }, role: 'controller', now }
})
afterAll(async () => {
  await controller.close()
  await worker.close()
  await rm(directory, { recursive: true, force: true })
})

/** Waits until the controller has admitted the worker under the keys it has now. */
async function admitted(): Promise<string> {
  const digest = await keysetOf(worker.ready.url)
  const transport = nodeTransport(String(controller.ready.control))
  try {
    for (;;) {
      const response = await transport.send({ method: 'GET', path: `/v1/workers/${digest}` })
      await readBody(response, 65_536)
      if (response.status === 200) return digest
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  } finally {
    transport.close()
  }
}

/** What a new connection is answered under. */
async function keysetOf(url: string): Promise<string> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({ method: 'GET', path: '/healthz' })
    await readBody(response, 65_536)
    return response.headers['x-aci-keyset-digest'] ?? ''
  } finally {
    transport.close()
  }
}

async function getText(url: string, path: string): Promise<{ status: number; text: string }> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({ method: 'GET', path })
    return { status: response.status, text: new TextDecoder().decode(await readBody(response, 1 << 20)) }
  } finally {
    transport.close()
  }
}

describe('new keys in a running worker', () => {
  it('S25: connections and answers under way end under the keys they began with; new ones are under new keys; old receipts and their report are still served', async () => {
    const before = await admitted()
    const direct = await connect(nodeTransport(worker.ready.url), { ...options, role: 'worker' })
    const old = await ask(direct, endpoint, body())
    const through = await connect(nodeTransport(controller.ready.url), options)

    // A stream through the controller is under way while the keys change and the controller admits the worker again.
    let renewed: Promise<string> | null = null
    const answer = await ask(through, endpoint, body(true), {
      onEvent: () => {
        renewed ??= worker.renew().then(admitted)
        return true
      },
    })
    const after = await (renewed as Promise<string> | null)
    expect(after).not.toBe(before)
    expect(answer.proof).toMatchObject({ outcome: 'verified' })
    expect(answer.proof.worker?.report.keysetDigest).toBe(before)
    expect(eventOf(answer.proof.receipt, 'veritee.upstream_receipt')?.result).toBe('match')

    const next = await ask(through, endpoint, body())
    expect(next.proof.outcome).toBe('verified')
    expect(next.proof.worker?.report.keysetDigest).toBe(after)

    // The old connection is still good, a new one has other keys, and either gives the old receipt.
    expect((await ask(direct, endpoint, body())).proof.outcome).toBe('verified')
    const served = await getText(worker.ready.url, `/v1/aci/receipts/${old.proof.receipt.receiptId}`)
    expect(served).toEqual({ status: 200, text: old.records.receipt })
    const report = await getText(worker.ready.url, `/v1/veritee/keysets/${before}`)
    const verified = await verifyReport(parseReport(report.text), null, options.trust, now())
    expect(verified.keysetDigest).toBe(before)
    expect((await getText(worker.ready.url, `/v1/veritee/keysets/sha256:${'0'.repeat(64)}`)).status).toBe(404)
    direct.transport.close()
    through.transport.close()
  })

  it('S25: receipts and their report are served however many keysets later', async () => {
    const first = await admitted()
    const direct = await connect(nodeTransport(worker.ready.url), { ...options, role: 'worker' })
    const { proof } = await ask(direct, endpoint, body())
    direct.transport.close()
    for (let i = 0; i < 4; i++) await worker.renew()
    const path = `/v1/aci/receipts/${proof.receipt.receiptId}`
    expect((await getText(worker.ready.url, path)).status).toBe(200)
    const report = await getText(worker.ready.url, `/v1/veritee/keysets/${first}`)
    expect((await verifyReport(parseReport(report.text), null, options.trust, now())).keysetDigest).toBe(first)
    await admitted()
  })
})

describe('new keys in a running controller', () => {
  it('a client on a standing connection is served under the old ones, a new one verifies the new ones', async () => {
    const before = await connect(nodeTransport(controller.ready.url), options)
    const old = await ask(before, endpoint, body())
    await controller.renew()
    expect((await ask(before, endpoint, body())).proof.outcome).toBe('verified')
    const after = await connect(nodeTransport(controller.ready.url), options)
    expect(after.report.keysetDigest).not.toBe(before.report.keysetDigest)
    expect((await ask(after, endpoint, body())).proof.outcome).toBe('verified')
    expect((await getText(controller.ready.url, `/v1/aci/receipts/${old.proof.receipt.receiptId}`)).text).toBe(old.records.receipt)
    before.transport.close()
    after.transport.close()
  })

  it('once the old ones have ended nobody is answered under them, on whatever connection', async () => {
    const before = await connect(nodeTransport(controller.ready.url), options)
    await controller.renew()
    const at = clock
    try {
      clock = new Date(before.report.keyset.not_after * 1000)
      const response = await before.transport.send({ method: 'GET', path: '/healthz' })
      await readBody(response, 65_536)
      expect(response.headers['x-aci-keyset-digest']).not.toBe(before.report.keysetDigest)
      await expect(ask(before, endpoint, body())).rejects.toMatchObject({ code: 'keyset_expired' })
    } finally {
      clock = at
    }
    before.transport.close()
  })
})

describe('the time of renewal', () => {
  const ticking = (options: { renew?: () => Promise<void>; refresh?: () => Promise<void> }) => {
    let at = 0
    let notAfter = 86_400
    const done: string[] = []
    const lines: string[] = []
    const renewal = keepRenewed({
      notAfter: () => notAfter,
      now: () => new Date(at * 1000),
      renew: async () => {
        done.push(`keys at ${at}`)
        await options.renew?.()
        notAfter = at + 86_400
      },
      refresh: async () => {
        done.push(`collateral at ${at}`)
        await options.refresh?.()
      },
      report: (line) => lines.push(line),
      checkMs: 1_000_000,
    })
    const step = async (seconds: number): Promise<void> => {
      at = seconds
      await renewal.check()
    }
    return { renewal, done, lines, step }
  }

  it('is an hour before the end, whatever jumps the clock makes, and collateral is looked for each hour', async () => {
    const { renewal, done, step } = ticking({})
    await step(100)
    expect(done).toEqual([])
    await step(3_600)
    await step(82_799)
    expect(done).toEqual(['collateral at 3600', 'collateral at 82799'])
    await step(82_800)
    expect(done.at(-1)).toBe('keys at 82800')
    await step(500_000)
    expect(done.slice(-2)).toEqual(['collateral at 500000', 'keys at 500000'])
    expect(renewal.reason).toBeNull()
    renewal.stop()
  })

  it('comes again after a failure, which is told without details; ended keys are a reason not to be ready', async () => {
    let failures = 0
    const { renewal, done, lines, step } = ticking({
      renew: async () => {
        failures++
        if (failures < 3) throw new Error('a detail')
      },
    })
    for (let i = 0; i < 4; i++) await step(90_000)
    expect(failures).toBe(3)
    expect(done.filter((what) => what === 'keys at 90000').length).toBe(3)
    expect(lines).toEqual([
      'renewing the keys failed, trying again: unexpected failure',
      'renewing the keys failed, trying again: unexpected failure',
    ])
    renewal.stop()
    const { renewal: stuck, step: later } = ticking({ renew: () => Promise.reject(new Error('no device')) })
    await later(86_400)
    expect(stuck.reason).toMatch(/ended/)
    stuck.stop()
  })
})
