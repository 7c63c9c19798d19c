import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runKeys } from '../../src/bin/commands/keys.ts'
import type { Renewing } from '../../src/process/run.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { type Answer, type Client, clientOf, closeAll } from '../http/http2/service.ts'
import { startController, startWorker } from './start.ts'

/** A controller with TLS as its command starts it, whose API offers HTTP/2. */

let directory = ''
let worker: Renewing
let controller: Renewing
const ready = (): Record<string, string> => controller.ready as Record<string, string>
const tokenFile = (): string => join(directory, 'token')
const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
const trusting = (): string[] => ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem')]

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-http2-'))
  await writeFile(tokenFile(), 'a-credential-that-nobody-would-guess-0123456789\n')
  const control = await freePortBase()
  worker = await startWorker([...simulate('w'), '--model', 'demo', '--controller', `https://127.0.0.1:${control}`])
  const admin = ['--admin-port', '0', '--admin-token-file', tokenFile(), '--metrics-port', '0']
  controller = await startController([
    ...simulate('c'),
    ...trusting(),
    '--control-port',
    control,
    '--tls',
    '--http2',
    ...admin,
    '--api-keys',
    '--log-requests',
  ])
  const client = over(ready().url)
  while ((await client.ask({ path: '/readyz' }).answer).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20))
}, 60_000)
afterAll(async () => {
  await closeAll()
  await controller?.close()
  await worker?.close()
  await rm(directory, { recursive: true, force: true })
})

const portOf = (url: string | undefined): number => Number(new URL(url ?? '').port)

function over(url: string | undefined): Client {
  return clientOf('HTTP/2', { port: portOf(url) })
}

/** What a listener chooses where it is asked for both. */
function agreed(url: string | undefined): Promise<string | false | null> {
  const { promise, resolve, reject } = Promise.withResolvers<string | false | null>()
  const socket = connect({ port: portOf(url), host: '127.0.0.1', ALPNProtocols: ['h2', 'http/1.1'], rejectUnauthorized: false }, () => {
    resolve(socket.alpnProtocol)
    socket.destroy()
  })
  socket.on('error', reject)
  return promise
}

test('S22: its API offers HTTP/2 where that was said, and not by itself; no other listener of it does', async () => {
  const { url, control, admin } = ready()
  expect([await agreed(url), await agreed(control), await agreed(admin)]).toEqual(['h2', 'http/1.1', 'http/1.1'])
  const other = await startController([...simulate('other'), ...trusting(), '--control-port', '0', '--tls'])
  try {
    expect(await agreed(String(other.ready.url))).toBe('http/1.1')
  } finally {
    await other.close()
  }
})

test('S22: asked for without TLS, it is refused', async () => {
  await expect(startController([...simulate('plain'), ...trusting(), '--control-port', '0', '--http2'])).rejects.toMatchObject({ code: 'usage' })
})

test('S22: API keys, their limits and the figures count over it', async () => {
  const to = ['--admin', String(ready().admin), '--policy', join(directory, 'c', 'policy.json'), '--root', join(directory, 'c', 'root.pem')]
  const made = await runKeys('create', ['--name', 'test', '--requests-per-minute', '1', ...to, '--admin-token-file', tokenFile(), '--json'])
  const { key } = JSON.parse(made) as { key: string }
  const client = over(ready().url)
  const body = JSON.stringify({ model: 'veritee-demo', max_tokens: 4, messages: [{ role: 'user', content: 'Who are you?' }] })
  const ask = (bearer: string): Promise<Answer> =>
    client.ask({ method: 'POST', path: '/v1/chat/completions', headers: { authorization: `Bearer ${bearer}` }, body }).answer
  const warnings: string[] = []
  const warned = ({ name }: Error): void => void warnings.push(name)
  process.on('warning', warned)
  const answers = [await ask('sk-something'), await ask(key), await ask(key)]
  expect(answers.map(({ status }) => status)).toEqual([401, 200, 429])
  expect([answers[1]?.headers['x-ratelimit-limit-requests'], answers[2]?.body.includes('rate_limit_exceeded')]).toEqual(['1', true])
  process.off('warning', warned)
  // Of too many who wait for the end of one stream.
  expect(warnings).not.toContain('MaxListenersExceededWarning')
  const receipt = `/v1/aci/receipts/${String(answers[1]?.headers['x-receipt-id'])}`
  expect((await client.ask({ path: receipt }).answer).status).toBe(401)
  expect((await client.ask({ path: receipt, headers: { authorization: `Bearer ${key}` } }).answer).status).toBe(200)
  const figures = await (await fetch(`${ready().operations}/metrics`)).text()
  expect(figures.match(/^veritee_receipts_total\{.*$/gm)).toEqual(['veritee_receipts_total{outcome="complete"} 1'])
})

test('S25: a connection stays under the keys that it was opened with', async () => {
  const digestOf = async (client: Client): Promise<unknown> => (await client.ask({ path: '/healthz' }).answer).headers['x-aci-keyset-digest']
  const standing = over(ready().url)
  const before = await digestOf(standing)
  await controller.renew()
  const after = await digestOf(over(ready().url))
  expect([await digestOf(standing), after === before]).toEqual([before, false])
})
