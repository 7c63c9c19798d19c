import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { intelSgxRootCa, parsePem } from 'veritee/attestation'
import { ask, chatBody, connect, nodeTransport, readBody } from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { openLlamaEngine } from '../../src/enclave/worker/engine/index.ts'
import { openEngineProcess } from '../../src/engine-process/index.ts'
import type { Program } from '../../src/process/program.ts'
import type { Running } from '../../src/process/run.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { startController, startWorker } from './start.ts'

const now = (): Date => new Date()

let directory: string
const running: Running[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-process-'))
})
afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close()
})
afterAll(() => rm(directory, { recursive: true, force: true }))

async function worker(args: readonly string[], anchors?: string, openEngine?: Program['openEngine']): Promise<Running> {
  const one = await startWorker(args, { ...(anchors !== undefined && { anchors }), ...(openEngine !== undefined && { openEngine }) })
  running.push(one)
  return one
}

async function controller(args: readonly string[]): Promise<Running> {
  const one = await startController(args)
  running.push(one)
  return one
}

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
const trusting = (): string[] => ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem')]

async function getJson(url: string, path: string): Promise<{ status: number; body: { [name: string]: unknown } }> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({ method: 'GET', path })
    return { status: response.status, body: JSON.parse(new TextDecoder().decode(await readBody(response, 1 << 20))) as { [name: string]: unknown } }
  } finally {
    transport.close()
  }
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}

describe('worker and controller started apart', () => {
  it('a worker whose engine process ended is not ready until it runs again', async () => {
    let engine: Awaited<ReturnType<typeof openEngineProcess>> | null = null
    const lines: string[] = []
    const openEngine: Program['openEngine'] = async (options) => {
      engine = await openEngineProcess({ ...options, pauseMs: 200 })
      return engine
    }
    const up = await startWorker([...simulate('crash'), '--model', 'demo'], { openEngine, report: (line) => void lines.push(line) })
    running.push(up)
    const { url } = up.ready
    expect((await getJson(url, '/readyz')).status).toBe(200)
    process.kill((engine as unknown as { readonly pid: number }).pid, 'SIGKILL')
    await until(async () => (await getJson(url, '/readyz')).status === 503)
    expect((await getJson(url, '/readyz')).body.reasons).toEqual(['engine_not_running'])
    await until(async () => (await getJson(url, '/readyz')).status === 200)
    expect(lines.filter((line) => line.startsWith('engine of '))).toEqual([
      'engine of veritee-demo: the engine process ended (SIGKILL)',
      'engine of veritee-demo: the engine process runs again',
    ])
  })

  it('while its models are loaded a worker answers on the listener for operators, and says that it is not ready', async () => {
    const port = await freePortBase()
    const begun = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    const starting = worker([...simulate('slow'), '--model', 'demo', '--metrics-port', port], undefined, async (options) => {
      begun.resolve()
      await go.promise
      return openLlamaEngine(options)
    })
    await begun.promise
    const operations = `http://127.0.0.1:${port}`
    expect((await getJson(operations, '/readyz')).body).toMatchObject({
      status: 'not_ready',
      reasons: ['models_loading'],
      details: ['the models are being loaded'],
    })
    expect((await getJson(operations, '/healthz')).status).toBe(200)
    go.resolve()
    await starting
    expect((await getJson(operations, '/readyz')).status).toBe(200)
  })

  it('S22: find each other, in whichever order, tell everybody no more than codes, and a client verifies through what they left in their state directories', async () => {
    const control = Number(await freePortBase())
    const up = await worker([...simulate('w'), '--model', 'demo', '--controller', `http://127.0.0.1:${control}`, '--metrics-port', '0'])
    const operations = String(up.ready.operations)
    const lonely = await getJson(operations, '/readyz')
    expect(lonely.status).toBe(503)
    expect(String(lonely.body.details)).toContain(`http://127.0.0.1:${control}`)
    // Where everybody may ask: neither where controllers are nor what they said.
    expect(await getJson(up.ready.url, '/readyz')).toEqual({
      status: 503,
      body: {
        status: 'not_ready',
        reasons: ['not_admitted'],
        notices: ['SIMULATED: nothing is protected', 'direct: answers whoever asks, not verified controllers only'],
      },
    })
    const front = await controller([...simulate('c'), '--control-port', String(control), '--metrics-port', '0', ...trusting()])
    await until(async () => (await getJson(operations, '/readyz')).status === 200)
    expect(await getJson(front.ready.url, '/readyz')).toEqual({
      status: 200,
      body: { status: 'ready', reasons: [], notices: ['SIMULATED: nothing is protected'] },
    })

    const policy = parsePolicy(await readFile(join(directory, 'c', 'policy.json'), 'utf8'))
    const roots = [intelSgxRootCa, ...parsePem(await readFile(join(directory, 'c', 'roots.pem'), 'utf8'))] as const
    const transport = nodeTransport(front.ready.url)
    const service = await connect(transport, { policy, trust: { roots }, role: 'controller', now })
    expect(service.report.descriptor.configuration_digest).toBe(front.ready.configuration_digest)
    const { proof } = await ask(service, '/v1/chat/completions', chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 8 }))
    expect(proof).toMatchObject({ outcome: 'verified', simulated: true })
    expect(proof.worker?.report.descriptor.configuration_digest).toBe(up.ready.configuration_digest)
    transport.close()

    const figures = await text(operations, '/metrics')
    expect(figures).toContain('vllm:num_requests_running{model_name="veritee-demo",engine="0"} 0')
    expect(figures).toContain('vllm:num_requests_waiting{model_name="veritee-demo",engine="0"} 0')
    expect(figures).toContain('vllm:generation_tokens_total{model_name="veritee-demo",engine="0"} 8')
    expect(figures).toContain('vllm:request_success_total{model_name="veritee-demo",engine="0",finished_reason="length"} 1')
    expect(figures).not.toContain('Who are you')
    const front_figures = await text(String(front.ready.operations), '/metrics')
    expect(front_figures).toContain('veritee_workers{state="serving"} 1')
    expect(front_figures).toContain('veritee_upstream_receipts_total{result="match"} 1')
  })

  it('S15: a worker under a root that the controller was not given stays out, and says why', async () => {
    await (await worker([...simulate('w'), '--model', 'demo'])).close()
    const front = await controller([...simulate('c'), '--control-port', '0', ...trusting()])
    const up = await worker([...simulate('other'), '--model', 'demo', '--controller', String(front.ready.control), '--metrics-port', '0'])
    await until(async () => String((await getJson(String(up.ready.operations), '/readyz')).body.details).includes('chain_untrusted'))
    expect((await getJson(up.ready.url, '/readyz')).body.reasons).toEqual(['not_admitted'])
    expect((await getJson(front.ready.url, '/readyz')).body).toMatchObject({ status: 'not_ready', reasons: ['no_verified_worker'] })
  })

  it('S13: verify each other by files that each finds when the other has started, and a worker answers nobody else', async () => {
    const control = Number(await freePortBase())
    const asked = ['--controller-policy', join(directory, 'mutual-c', 'policy.json'), '--root', join(directory, 'mutual-c', 'root.pem')]
    const up = await worker([...simulate('mutual-w'), '--model', 'demo', '--controller', `http://127.0.0.1:${control}`, ...asked])
    const trusted = ['--policy', join(directory, 'mutual-w', 'policy.json'), '--root', join(directory, 'mutual-w', 'root.pem')]
    const front = await controller([...simulate('mutual-c'), '--control-port', String(control), ...trusted])
    await until(async () => (await getJson(front.ready.url, '/readyz')).status === 200)
    const body = chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4 })
    const ask = async (url: string): Promise<readonly [number, string]> => {
      const transport = nodeTransport(url)
      try {
        const response = await transport.send({ method: 'POST', path: '/v1/chat/completions', body })
        return [response.status, new TextDecoder().decode(await readBody(response, 1 << 20))]
      } finally {
        transport.close()
      }
    }
    expect((await ask(front.ready.url))[0]).toBe(200)
    expect(await ask(up.ready.url)).toEqual([403, expect.stringContaining('controller_not_verified')])
    await expect(startWorker([...simulate('mutual-w'), '--model', 'demo', '--direct', ...asked])).rejects.toMatchObject({ code: 'config_invalid' })
  })

  it('a worker that is stopping says so, and is routed around: nobody is refused for it', async () => {
    const control = Number(await freePortBase())
    const args = ['--model', 'demo', '--controller', `http://127.0.0.1:${control}`]
    const workers = [await worker([...simulate('w'), ...args]), await worker([...simulate('w2'), ...args])] as const
    const front = await controller([
      ...[...simulate('c'), '--control-port', String(control), ...trusting()],
      ...['--root', join(directory, 'w2', 'root.pem')],
    ])
    const listed = async () =>
      (await getJson(String(front.ready.control), '/v1/workers')).body.workers as { url: string; quarantine: string | null }[]
    await until(async () => (await listed()).length === 2)
    const first = (await listed())[0]?.url
    const leaving = workers.find((one) => one.ready.url === first)
    expect(await leaving?.drain()).toBe(true)
    expect((await getJson(String(first), '/readyz')).body).toMatchObject({ status: 'not_ready', reasons: ['stopping'] })
    const transport = nodeTransport(front.ready.url)
    // Where a request goes depends on how it begins, and on a secret.
    for (let i = 0; i < 20; i++) {
      const body = chatBody('veritee-demo', `${i}: who are you?`, { temperature: 0, maxTokens: 4 })
      const response = await transport.send({ method: 'POST', path: '/v1/chat/completions', body })
      await readBody(response, 1 << 20)
      expect(response.status).toBe(200)
    }
    transport.close()
    // It has said that it goes, and had nothing under way.
    expect((await listed()).map(({ url }) => url)).toEqual(workers.map((one) => one.ready.url).filter((url) => url !== first))
  })
})

describe('S13: anchors that come from outside an enclave', () => {
  it.each([
    ['publishers', worker, ['--publisher', 'ab'.repeat(32), '--model', 'sealed:x', '--broker', 'http://127.0.0.1:1']],
    ['a minimum version', worker, ['--minimum-version', '1', '--model', 'x.gguf']],
    ['a policy for workers', controller, ['--policy', 'p.json']],
    ['a root', controller, ['--root', 'r.pem']],
  ] as const)('%s are refused before anything starts', async (_, start, args) => {
    await expect(start(['--tee', 'gramine', '--state', directory, '--port', '0', ...args])).rejects.toMatchObject({ code: 'anchors_not_measured' })
  })

  it('an enclave does not run from source', async () => {
    await expect(worker(['--tee', 'gramine', '--state', directory, '--model', 'x.gguf'])).rejects.toMatchObject({ code: 'anchors_not_measured' })
  })

  it.each([
    ['no JSON', '{'],
    ['an unknown version', JSON.stringify({ version: 'v2', publishers: [], minimum_version: 0, policy: null })],
    ['an unknown member', JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null, extra: 1 })],
    ['a publisher that is no key', JSON.stringify({ version: 'veritee.anchors.v1', publishers: ['x'], minimum_version: 0, policy: null })],
    ['a negative version', JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: -1, policy: null })],
    ...[{}, [['x']], ['ab'.repeat(32)]].map((models) => [
      `models that are none: ${JSON.stringify(models)}`,
      JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null, models }),
    ]),
    ['a policy that is none', JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: {} })],
  ])('anchors that are malformed are refused: %s', async (_, anchors) => {
    const error: unknown = await worker(['--tee', 'gramine', '--state', directory, '--model', 'x.gguf'], anchors).catch((thrown: unknown) => thrown)
    expect(['malformed_json', 'config_invalid', 'policy_invalid', 'malformed_document']).toContain((error as { code?: string }).code)
  })

  it('with good anchors the next thing missing is collateral, then the device', async () => {
    const anchors = JSON.stringify({ version: 'veritee.anchors.v1', publishers: [], minimum_version: 0, policy: null })
    const gramine = ['--tee', 'gramine', '--state', directory, '--model', 'x.gguf']
    await expect(worker(gramine, anchors)).rejects.toMatchObject({ code: 'config_invalid', message: expect.stringContaining('--collateral') })
    await writeFile(join(directory, 'collateral.json'), '{}')
    await expect(worker([...gramine, '--collateral', join(directory, 'collateral.json')], anchors)).rejects.toMatchObject({
      code: 'attestation_device_absent',
    })
  })
})

describe('receipts without a key to seal them', () => {
  const tdx = (): string[] => ['--tee', 'tdx', '--state', directory, '--port', '0', '--model', 'x.gguf']

  it('S12: a confidential VM has none yet, which is said before anything starts', async () => {
    await expect(worker(tdx())).rejects.toMatchObject({
      code: 'sealing_key_unavailable',
      message: expect.stringContaining('--receipts-in-memory'),
    })
    await expect(worker([...tdx(), '--receipts-in-memory'])).rejects.toMatchObject({ code: 'anchors_not_measured' })
  })

  it('in memory there is no file besides', async () => {
    const args = [...simulate('memory'), '--model', 'demo', '--receipts-in-memory']
    await expect(worker([...args, '--receipts', join(directory, 'r.db')])).rejects.toMatchObject({ code: 'config_invalid' })
  })

  it('in memory nothing is written, and readiness says so', async () => {
    const up = await worker([...simulate('memory'), '--model', 'demo', '--receipts-in-memory'])
    expect((await getJson(up.ready.url, '/readyz')).body.notices).toContain('receipts in memory: they end with the process')
    expect((await readdir(join(directory, 'memory'))).sort()).toEqual(['policy.json', 'root.pem'])
  })
})

describe('what cannot start says why', () => {
  it.each([
    ['S15: a simulated worker beyond loopback', ['--host', '0.0.0.0', '--model', 'demo'], 'usage'],
    ['S22: a public worker without keys', ['--host', '0.0.0.0', '--i-know-this-is-simulated', '--model', 'demo'], 'usage'],
    ['no model', [], 'config_invalid'],
    ['a sealed model without a broker', ['--model', 'sealed:x'], 'config_invalid'],
    ['a sealed model without a publisher', ['--model', 'sealed:x', '--broker', 'http://127.0.0.1:1'], 'config_invalid'],
    [
      'a sealed model that is not there',
      ['--model', 'sealed:/x', '--broker', 'http://127.0.0.1:1', '--publisher', 'ab'.repeat(32)],
      'model_unavailable',
    ],
    ['two models of one name', ['--model', 'a', '--model', 'b'], 'config_invalid'],
  ] as const)('%s', async (_, args, code) => {
    await expect(worker([...simulate('x'), ...args])).rejects.toMatchObject({ code })
  })

  it('a controller without a policy, and with one that has no section for workers', async () => {
    await expect(controller(simulate('x'))).rejects.toMatchObject({ code: 'config_invalid' })
    await expect(controller([...simulate('x'), '--policy', join(directory, 'none.json')])).rejects.toMatchObject({ code: 'file_unavailable' })
  })
})

describe('the command', () => {
  const veriteed = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
  const start = (args: readonly string[]) =>
    spawn(process.execPath, ['--conditions=@veritee/source', veriteed, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })

  it('prints one ready line, answers while it drains, and ends with 0 after SIGTERM', async () => {
    const child = start(['worker', ...simulate('cli'), '--model', 'demo', '--direct', '--json'])
    const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
    let stdout = ''
    for await (const part of child.stdout) {
      stdout += String(part)
      if (stdout.includes('\n')) break
    }
    const ready = JSON.parse(stdout) as { url: string; simulated: boolean }
    expect(ready).toMatchObject({ ok: true, role: 'worker', simulated: true })
    expect((await getJson(ready.url, '/readyz')).status).toBe(200)
    child.kill('SIGTERM')
    expect(await exited).toBe(0)
  })

  it('a signal while it loads ends it in good order', async () => {
    const child = start(['worker', ...simulate('early'), '--model', 'demo', '--direct'])
    const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
    await until(async () => (await readFile(join(directory, 'early', 'root.pem')).catch(() => null)) !== null)
    child.kill('SIGTERM')
    expect(await exited).toBe(0)
  })

  it('refuses what it does not know with the code and exit code 2', async () => {
    const child = start(['controller', '--tee', 'simulate', '--state', 'x', '--unknown'])
    let stderr = ''
    for await (const part of child.stderr) stderr += String(part)
    expect(stderr).toMatch(/^veriteed: usage: unknown argument "--unknown"/)
    expect(child.exitCode ?? (await new Promise((resolve) => child.once('exit', resolve)))).toBe(2)
  })
})

async function text(url: string, path: string): Promise<string> {
  const transport = nodeTransport(url)
  try {
    return new TextDecoder().decode(await readBody(await transport.send({ method: 'GET', path }), 1 << 20))
  } finally {
    transport.close()
  }
}
