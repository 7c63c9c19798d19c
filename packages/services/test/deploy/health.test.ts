import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { nodeTransport } from 'veritee/client'
import { afterAll, beforeAll, expect, test } from 'vitest'

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url))
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-health-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

/** What the container's health check says of a service at that port. */
async function health(port: number, role: 'api' | 'listen' = 'listen'): Promise<number | null> {
  const folder = join(directory, 'configuration')
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), JSON.stringify({ [role]: { host: '0.0.0.0', port }, control: { port: 1 } }))
  const env = { PATH: '/usr/bin:/bin', VERITEE_CONFIGURATION: folder }
  const [code] = (await once(
    spawn('/bin/sh', [file('../../../../deploy/containers/entrypoint.sh'), '--health'], { env, stdio: 'ignore' }),
    'exit',
  )) as [number]
  return code
}

test('a service is well that says anything, or ends the connection; one that takes connections and says nothing is not', {
  timeout: 60_000,
}, async () => {
  const answers: ((socket: Socket) => void)[] = [(socket) => socket.destroy(), (socket) => socket.end('HTTP/1.1 503 no\r\n\r\n'), () => undefined]
  const found: (number | null)[] = []
  for (const answer of answers) {
    const server = createServer((socket) => {
      socket.on('error', () => undefined)
      answer(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    found.push(await health((server.address() as { port: number }).port, 'api'))
    server.close()
  }
  expect(found.map((code) => code === 0)).toEqual([true, true, false])
  expect(await health(1)).not.toBe(0)
})

test('a worker whose tokenizer hangs answers nobody any more: whoever watches it finds that out, and SIGKILL ends it', {
  timeout: 120_000,
}, async () => {
  const args = [
    '--conditions=@veritee/source',
    fileURLToPath(new URL('../engine/hanging-tokenizer.ts', import.meta.url)),
    join(directory, 'worker'),
    'never-comes-back',
  ]
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    if (child.stdout === null) throw new TypeError('no stdout')
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    const ready = JSON.parse(line) as { url: string; operations: string }
    const port = Number(new URL(ready.url).port)
    const healthz = (): Promise<number> => fetch(`${ready.operations}/healthz`, { signal: AbortSignal.timeout(5_000) }).then(({ status }) => status)
    expect([await health(port), await healthz()]).toEqual([0, 200])
    const body = new TextEncoder().encode(JSON.stringify({ model: 'veritee-demo', messages: [{ role: 'user', content: 'never-comes-back' }] }))
    const transport = nodeTransport(ready.url)
    transport.send({ method: 'POST', path: '/v1/chat/completions', headers: { 'content-type': 'application/json' }, body }).catch(() => undefined)
    await expect.poll(() => healthz().catch(() => 'nothing'), { timeout: 60_000 }).toBe('nothing')
    expect(await health(port)).not.toBe(0)
    transport.close()
  } finally {
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
})
