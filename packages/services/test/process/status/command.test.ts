import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { command as status } from '../../../src/bin/commands/status.ts'
import { command as workers } from '../../../src/bin/commands/workers.ts'
import { Metrics } from '../../../src/process/metrics.ts'
import { startOperations } from '../../../src/process/operations.ts'
import { Readiness } from '../../../src/process/readiness.ts'
import { askOperations } from '../../../src/process/status/ask.ts'
import type { StatusFacts, WorkerRow } from '../../../src/process/status/document.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  for (const close of closing.splice(0)) await close()
})

const digest = `sha256:${'ab'.repeat(32)}`
const far = Math.floor(Date.now() / 1000) + 3600
const facts: StatusFacts = {
  keyset: { digest, not_after: far },
  requests_in_flight: 3,
  models: [{ name: 'm', running: 2, waiting: 1, workers: 4 }],
  manifest: { version: 7, digest, network: 'net', expires: far },
  workers: { serving: 4, quarantined: 1 },
}
const row: WorkerRow = {
  url: 'https://10.0.0.1:21841',
  keyset_digest: digest,
  keyset_not_after: far,
  session_id: digest,
  expires_at: far,
  models: ['m', 'n'],
  simulated: true,
  outstanding: 5,
  breaker: 'closed',
  protocol: 'HTTP/2',
  quarantine: null,
  operator: null,
  platform: null,
}

async function operations(rows: readonly WorkerRow[] = [row], token: string | null = null, shown: StatusFacts | null = facts) {
  const readiness = new Readiness(['SIMULATED: nothing is protected'])
  const listening = await startOperations({
    ...{ host: '127.0.0.1', port: 0, token, simulated: true, knowsSimulated: false, metrics: new Metrics(), readiness },
    status: { role: 'controller', facts: () => shown, workers: () => rows },
  })
  closing.push(() => listening.close())
  return { url: listening.url, readiness }
}

async function answering(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function run(command: typeof status, args: readonly string[]): Promise<{ code: number; out: string }> {
  let out = ''
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    out += String(text)
    return true
  })
  try {
    return { code: await command.run(args), out }
  } finally {
    write.mockRestore()
  }
}

describe('veriteed status', () => {
  it('0 and a table where the service is ready, 1 and the reasons where it is not', async () => {
    const { url, readiness } = await operations()
    const ready = await run(status, ['--url', url])
    expect(ready.code).toBe(0)
    for (const part of [/^service: +controller .* SIMULATED/m, /^ready: +yes$/m, /^keyset ends: .*\(in 60 min\)$/m, /^manifest: +net version 7, /m])
      expect(ready.out).toMatch(part)
    expect(ready.out).toMatch(/^workers: +4 serving, 1 quarantined$/m)
    expect(ready.out).toMatch(/^MODEL +RUNNING +WAITING +WORKERS\nm +2 +1 +4$/m)
    readiness.add('no_verified_worker', () => ['no verified worker'])
    const not = await run(status, ['--url', url])
    expect(not.code).toBe(1)
    expect(not.out).toMatch(/^ready: +NO: no_verified_worker\nreason: +no verified worker$/m)
  })

  it('--json is one document, whatever the exit code; before a service has keys there are no facts', async () => {
    const { url, readiness } = await operations([], null, null)
    readiness.add('models_loading', () => ['the models are being loaded'])
    const { code, out } = await run(status, ['--url', url, '--json'])
    expect(code).toBe(1)
    expect(JSON.parse(out)).toMatchObject({ version: 'veritee.status.v1', ready: false, reasons: ['models_loading'], facts: null })
  })

  it('S22: with the token only, from a file or the environment; a refusal is told from silence', async () => {
    const token = 'a-token-that-nobody-would-ever-guess-0123456789'
    const { url } = await operations([row], token)
    await expect(run(status, ['--url', url])).rejects.toMatchObject({ code: 'service_refused', message: expect.stringContaining('--token-file') })
    vi.stubEnv('VERITEE_METRICS_TOKEN', `${token}x`)
    await expect(run(workers, ['--url', url])).rejects.toMatchObject({ code: 'service_refused' })
    vi.stubEnv('VERITEE_METRICS_TOKEN', token)
    expect((await run(status, ['--url', url])).code).toBe(0)
    await expect(run(status, ['--url', url, '--token-file', 'x'])).rejects.toMatchObject({ code: 'usage' })
    // Nobody on the way reads it: refused before a connection is made.
    await expect(run(status, ['--url', 'http://192.0.2.1:9090'])).rejects.toMatchObject({
      code: 'usage',
      message: expect.not.stringContaining(token),
    })
    vi.stubEnv('VERITEE_METRICS_TOKEN', 'short')
    await expect(run(status, ['--url', url])).rejects.toMatchObject({ code: 'usage', message: expect.not.stringContaining('short') })
  })

  it.each([
    ['no URL', []],
    ['an unknown option', ['--url', 'http://127.0.0.1:1', '--colour']],
    ['a position', ['http://127.0.0.1:1']],
    ['a path', ['--url', 'http://127.0.0.1:1/status']],
    ['a query', ['--url', 'http://127.0.0.1:1/?a=b']],
    ['credentials', ['--url', 'http://me:secret@127.0.0.1:1']],
    ['another scheme', ['--url', 'file:///etc/passwd']],
    ['no URL at all', ['--url', 'localhost']],
  ])('%s is wrong usage, which repeats nothing of a URL', async (_, args) => {
    await expect(run(status, args)).rejects.toMatchObject({ code: 'usage', message: expect.not.stringContaining('secret') })
  })

  it('a service that does not answer, or not to the end, is unavailable', async () => {
    await expect(run(status, ['--url', 'http://127.0.0.1:1'])).rejects.toMatchObject({ code: 'service_unavailable' })
    const silent = await answering((_, response) => void response.write('{'))
    await expect(askOperations('/status', { url: silent, token: null, timeoutMs: 100 })).rejects.toMatchObject({ code: 'service_unavailable' })
    const long = await answering((_, response) => void response.end('x'.repeat(2000)))
    await expect(askOperations('/status', { url: long, token: null, maxBytes: 1000 })).rejects.toMatchObject({ code: 'response_too_large' })
    const elsewhere = await answering((_, response) => void response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end())
    await expect(run(status, ['--url', elsewhere])).rejects.toMatchObject({ code: 'service_refused' })
  })

  const good = {
    version: 'veritee.status.v1',
    role: 'worker',
    release: '0',
    simulated: true,
    ready: true,
    reasons: [],
    details: [],
    notices: [],
    facts,
  }
  it.each<[string, string, string]>([
    ['no JSON', 'ready', 'malformed_json'],
    ['a list', '[]', 'malformed_document'],
    ['another version', JSON.stringify({ ...good, version: 'veritee.status.v2' }), 'malformed_document'],
    ['no word of readiness', JSON.stringify({ ...good, ready: undefined }), 'malformed_document'],
    ['ready as a word', JSON.stringify({ ...good, ready: 'yes' }), 'malformed_document'],
    ['reasons without end', JSON.stringify({ ...good, reasons: Array(2000).fill('x') }), 'malformed_document'],
    ['facts that are none', JSON.stringify({ ...good, facts: {} }), 'malformed_document'],
    ['a digest that is none', JSON.stringify({ ...good, facts: { ...facts, keyset: { digest: 'x', not_after: 1 } } }), 'malformed_document'],
    ['a count below zero', JSON.stringify({ ...good, facts: { ...facts, requests_in_flight: -1 } }), 'malformed_document'],
    ['a member twice', '{"version":1,"version":2}', 'malformed_json'],
  ])('an answer with %s is refused', async (_, text, code) => {
    const url = await answering((__, response) => void response.end(text))
    await expect(run(status, ['--url', url])).rejects.toMatchObject({ code })
  })

  it('members that a newer service adds are left out', async () => {
    const url = await answering((_, response) => void response.end(JSON.stringify({ ...good, mood: 'fine' })))
    expect((await run(status, ['--url', url, '--json'])).out).not.toContain('mood')
  })
})

describe('veriteed workers', () => {
  it('shows sessions, load, breakers and why a worker is quarantined', async () => {
    const gone = { ...row, url: 'https://10.0.0.2:21841', breaker: null, quarantine: 'policy_identity: not on the list' }
    const { url } = await operations([row, gone, { ...row, url: 'https://10.0.0.3:1', breaker: 'open' }])
    const { code, out } = await run(workers, ['--url', url])
    expect(code).toBe(0)
    expect(out).toMatch(/^https:\/\/10\.0\.0\.1:21841 +serving SIMULATED +closed +HTTP\/2 +5 +sha256:abababababab .*\(in 60 min\) +- +m, n$/m)
    expect(out).toMatch(/^https:\/\/10\.0\.0\.2:21841 +quarantined SIMULATED +- /m)
    expect(out).toMatch(/^https:\/\/10\.0\.0\.3:1 +held back /m)
    expect(out).toMatch(/^QUARANTINED +REASON\nhttps:\/\/10\.0\.0\.2:21841 +policy_identity: not on the list$/m)
  })

  it.each<[string, readonly WorkerRow[]]>([
    ['none', []],
    ['a quarantined one only', [{ ...row, quarantine: 'it is stopping' }]],
    ['one whose session has ended', [{ ...row, expires_at: 1 }]],
    ['one that its breaker holds back', [{ ...row, breaker: 'open' }]],
  ])('1 where nobody serves: %s', async (_, rows) => {
    const { url } = await operations(rows)
    expect((await run(workers, ['--url', url, '--json'])).code).toBe(1)
  })

  it('what a worker says cannot drive the terminal of who reads it', async () => {
    const said = 'bad \u001b[2J\u009b31m\u202eevil\nready: yes'
    const { url } = await operations([{ ...row, models: [said], quarantine: said }])
    const { out } = await run(workers, ['--url', url])
    expect(out).toContain('bad ?[2J?31m?evil?ready: yes')
    expect(out).not.toMatch(/[\u001b\u009b\u202e]/)
  })

  it('a service that is no controller has none', async () => {
    const readiness = new Readiness([])
    const listening = await startOperations({
      ...{ host: '127.0.0.1', port: 0, token: null, simulated: true, knowsSimulated: false, metrics: new Metrics(), readiness },
      status: { role: 'worker', facts: () => null },
    })
    closing.push(() => listening.close())
    await expect(run(workers, ['--url', listening.url])).rejects.toMatchObject({ code: 'service_refused' })
  })
})
