import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chatBody, nodeTransport, readBody } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { brokerSchema } from '../../../src/config/broker.ts'
import { readConfiguration } from '../../../src/config/schema.ts'
import { openLlamaEngine } from '../../../src/enclave/worker/engine/index.ts'
import { startBrokerProcess } from '../../../src/process/broker.ts'
import { genAiConventions } from '../../../src/process/figures/gen-ai-names.ts'
import { nodeFiles } from '../../../src/process/files.ts'
import type { Running } from '../../../src/process/run.ts'
import { freePortBase } from '../../e2e/free-ports.ts'
import { startController, startWorker } from '../start.ts'

interface Family {
  readonly type: string
  readonly help: string
  readonly labels: Set<string>
}

let directory: string
const running: Running[] = []
const printed: Record<string, ReadonlyMap<string, Family>> = {}

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-figures-'))
  const common = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0', '--metrics-port', '0']
  const control = await freePortBase()
  const worker = await startWorker([
    ...common('w'),
    '--model',
    'demo',
    '--controller',
    `http://127.0.0.1:${control}`,
    '--otlp-endpoint',
    'http://127.0.0.1:9',
  ])
  running.push(worker)
  const trusting = ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem')]
  // With a place for API keys, and without asking for them.
  const token = join(directory, 'admin.token')
  await writeFile(token, 'a-token-that-nobody-would-ever-guess-0123456789')
  const keys = ['--admin-port', '0', '--admin-token-file', token]
  // With figures of spans; nobody is there to take them.
  const spans = ['--otlp-endpoint', 'http://127.0.0.1:9']
  const front = await startController([...common('c'), '--control-port', control, ...trusting, ...keys, ...spans])
  running.push(front)
  const args = [...common('b'), '--root', join(directory, 'w', 'root.pem')]
  const { configuration } = await readConfiguration(brokerSchema, { args, environment: {}, readText: nodeFiles.readText })
  if (configuration === null) throw new TypeError('no configuration')
  const program = {
    codeDigest: async () => '00'.repeat(32),
    findModel: () => Promise.reject(new Error('no models')),
    openEngine: openLlamaEngine,
    anchors: null,
  }
  const broker = await startBrokerProcess({ configuration, program, files: nodeFiles, report: () => undefined, now: () => new Date() })
  running.push(broker)
  while ((await send(front.ready.url, 'GET', '/readyz')).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20))
  for (const stream of [false, true]) {
    const body = chatBody('veritee-demo', 'Who are you?', { temperature: 0, maxTokens: 4, stream })
    expect((await send(front.ready.url, 'POST', '/v1/chat/completions', body)).status).toBe(200)
  }
  // A model that a requester names is no label, whatever its name.
  await send(front.ready.url, 'POST', '/v1/chat/completions', chatBody('chosen-by-a-requester', 'Who are you?', { temperature: 0 }))
  for (const [role, of] of Object.entries({ worker, controller: front, broker }))
    printed[role] = families((await send(String(of.ready.operations), 'GET', '/metrics')).text)
})
afterAll(async () => {
  for (const one of running.reverse()) await one.close()
  await rm(directory, { recursive: true, force: true })
})

async function send(url: string, method: 'GET' | 'POST', path: string, body?: Uint8Array): Promise<{ status: number; text: string }> {
  const transport = nodeTransport(url)
  try {
    const response = await transport.send({ method, path, ...(body === undefined ? {} : { body }) })
    return { status: response.status, text: new TextDecoder().decode(await readBody(response, 1 << 22)) }
  } finally {
    transport.close()
  }
}

function families(text: string): Map<string, Family> {
  expect(text).not.toContain('chosen-by-a-requester')
  const found = new Map<string, Family>()
  const helps = new Map<string, string>()
  for (const line of text.trimEnd().split('\n')) {
    const [, kind, about = '', rest = ''] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? []
    if (kind === 'HELP') helps.set(about, rest)
    else if (kind === 'TYPE') {
      expect(found.has(about)).toBe(false)
      found.set(about, { type: rest, help: helps.get(about) ?? '', labels: new Set() })
    } else {
      const [, sample = '', labels = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+$/.exec(line) ?? []
      const family = found.get(sample) ?? found.get(sample.replace(/_(?:bucket|sum|count)$/, ''))
      if (family === undefined) throw new Error(`a line of no family: ${line}`)
      for (const [, name = ''] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) if (name !== 'le') family.labels.add(name)
    }
  }
  return found
}

interface Row extends Family {
  readonly name: string
  readonly roles: readonly string[]
}

const words = (text: string): string[] => text.split(', ').filter((word) => word !== '')

async function documented(): Promise<Row[]> {
  const page = await readFile(new URL('../../../../../docs/operations.md', import.meta.url), 'utf8')
  const rows = page.matchAll(/^\| `([\w:]+)` \| (gauge|counter|histogram) \| ([\w, ]+) \| ([^|]*) \| ([^|]*) \|$/gm)
  return [...rows].map(([, name = '', type = '', roles = '', labels = '', help = '']) => ({
    ...{ name, type, help, roles: words(roles) },
    labels: new Set(words(labels.replaceAll('`', ''))),
  }))
}

describe('the figures in docs/operations.md', () => {
  it.each(['worker', 'controller', 'broker'])('are those that are printed, with their type and help, and with all labels: %s', async (role) => {
    const rows = (await documented()).filter(({ roles }) => roles.includes(role))
    const found = printed[role] ?? new Map<string, Family>()
    const plain = ([name, { type, help }]: readonly [string, Family]) => [name, type, help]
    expect(rows.map((row) => plain([row.name, row]))).toEqual([...found].map(plain).sort(([a = ''], [b = '']) => (a < b ? -1 : 1)))
    for (const { name, labels } of rows) expect([name, ...labels]).toEqual(expect.arrayContaining([...(found.get(name)?.labels ?? [])]))
    expect(rows.length).toBeGreaterThan(4)
  })

  it('have the names of OpenTelemetry in the version that the page says, in one file', async () => {
    const page = await readFile(new URL('../../../../../docs/operations.md', import.meta.url), 'utf8')
    expect(page).toContain(`semantic conventions for generative AI ${genAiConventions}`)
    for (const role of ['worker', 'controller']) {
      const labels = printed[role]?.get('gen_ai_server_request_duration_seconds')?.labels
      expect([...(labels ?? [])].sort()).toEqual(['gen_ai_operation_name', 'gen_ai_provider_name', 'gen_ai_request_model'])
    }
  })
})
