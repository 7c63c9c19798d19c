import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer as createProxy } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { serveRanges, sha256, truncate } from './hub-server.ts'

const openssl = '/usr/bin/openssl'
const left = existsSync(openssl) ? '' : ' (left out: openssl, which makes the certificate of the hub, is not installed)'
const veriteed = fileURLToPath(new URL('../../src/bin/veriteed.ts', import.meta.url))
const content = new Uint8Array(300_000).map((_, i) => (i * 31 + (i >> 8)) & 0xff)
const spec = 'hf:owner/repo/model.gguf'

let directory: string
const closing: (() => void)[] = []
const atHub: string[] = []
const atProxy: string[] = []
let environment: { [name: string]: string }
let interrupt = false

beforeAll(async () => {
  if (left !== '') return
  directory = await mkdtemp(join(tmpdir(), 'veritee-pull-'))
  const [key, certificate] = [join(directory, 'key.pem'), join(directory, 'certificate.pem')]
  const subject = ['-subj', '/CN=hub.example', '-addext', 'subjectAltName=DNS:hub.example']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  execFileSync(openssl, ['req', '-x509', ...kind, '-keyout', key, '-out', certificate, ...subject], { stdio: 'ignore' })
  const serve = serveRanges(content)
  const hub = createServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (request, response) => {
    atHub.push(`${request.method} ${request.url} ${request.headers.range ?? ''} ${request.headers.authorization ?? ''}`.trim())
    if (request.method === 'HEAD') response.writeHead(200, { etag: `"${sha256(content)}"`, 'content-length': content.length }).end()
    else if (interrupt) truncate(request, response, content, request.headers.range === undefined ? 70_000 : 0)
    else serve(request, response)
  })
  await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve))
  const proxy = createProxy((_, response) => response.writeHead(405).end())
  proxy.on('connect', (request, socket) => {
    atProxy.push(`CONNECT ${request.url} ${JSON.stringify(request.headers)}`)
    const onward = connect((hub.address() as AddressInfo).port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    for (const one of [socket, onward]) one.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  closing.push(
    () => hub.close().closeAllConnections(),
    () => proxy.close().closeAllConnections(),
  )
  environment = {
    PATH: '/usr/bin:/bin',
    XDG_CACHE_HOME: directory,
    HF_ENDPOINT: 'https://hub.example',
    HF_TOKEN: 'hf_secret',
    HTTPS_PROXY: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    NODE_EXTRA_CA_CERTS: certificate,
  }
})
afterAll(async () => {
  for (const close of closing) close()
  if (left === '') await rm(directory, { recursive: true, force: true })
})

async function pull(...args: readonly string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ['--conditions=@veritee/source', veriteed, 'model', 'pull', ...args], { env: environment })
  const said = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr'] as const) child[stream].on('data', (part: Buffer) => (said[stream] += part.toString()))
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { status, ...said }
}

describe.skipIf(left !== '')(`veriteed model pull, through a proxy${left}`, () => {
  it('is interrupted, goes on where it ended, and tells the hash; the proxy learns the name of the hub and no token', async () => {
    interrupt = true
    const broken = await pull(spec)
    expect(broken).toMatchObject({ status: 3, stdout: '', stderr: expect.stringContaining('model_unavailable') })
    interrupt = false
    const { status, stdout, stderr } = await pull(spec, '--json')
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' })
    const told = JSON.parse(stdout) as { file: string }
    expect(told).toMatchObject({ model: spec, sha256: `sha256:${sha256(content)}` })
    expect(sha256(await readFile(told.file))).toBe(sha256(content))
    expect(atHub.at(-1)).toMatch(/^GET \/owner\/repo\/resolve\/main\/model\.gguf bytes=70000- Bearer hf_secret$/)
    expect(atProxy.length).toBeGreaterThan(0)
    expect(atProxy.filter((line) => !line.startsWith('CONNECT hub.example:443 ') || line.includes('hf_secret'))).toEqual([])
    expect(broken.stderr + stderr + stdout).not.toContain('hf_secret')
  }, 60_000)

  it('what was changed in the cache since is refused, and nobody is asked', async () => {
    const before = atHub.length
    const { stdout } = await pull(spec, '--json')
    const { file } = JSON.parse(stdout) as { file: string }
    await writeFile(file, Uint8Array.from(content).fill(0, 5, 6))
    expect(await pull(spec)).toMatchObject({ status: 1, stdout: '', stderr: expect.stringContaining('model_hash_mismatch') })
    expect(atHub.length).toBe(before)
  }, 30_000)

  it.each([[['model.gguf']], [['hf:owner/repo']], [[spec, spec]], [[]], [[spec, '--key', 'x']]])('%j is usage', async (args) => {
    expect(await pull(...args)).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('usage') })
  })
})
