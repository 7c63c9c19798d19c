import { readdirSync, readFileSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { certificatePem } from '../../src/attestation/pki/issue.ts'
import type { Passed } from '../../src/bin/proxy/forward.ts'
import { RecentProofs } from '../../src/bin/proxy/recent.ts'
import { EvidenceFolder } from '../../src/bin/proxy/save.ts'
import { type ProxyOptions, type RunningProxy, startProxy } from '../../src/bin/proxy/server.ts'
import { type ConnectionOptions, connect, type Proof } from '../../src/client/index.ts'
import { serveHttps, tlsIdentity } from '../client/servers.ts'
import { type FakeService, fakeService } from '../client/service.ts'
import { machine, sha, trust } from '../receipt/enclaves.ts'
import { plainAnswer, policyOf, streamEvents } from '../receipt/scenario.ts'
import { expectRefusal, folder, veritee } from './cli.ts'

const files = folder()
let policy: string
let root: string
beforeAll(async () => {
  policy = files.write('policy.json', JSON.stringify(policyOf()))
  root = files.write('root.pem', certificatePem((await machine()).root))
})

const prompt = 'my secret prompt'
const plain = JSON.stringify({ model: 'demo-model', messages: [{ role: 'user', content: prompt }] })
const streamed = JSON.stringify({ model: 'demo-model', stream: true, messages: [{ role: 'user', content: prompt }] })

interface Proxied extends RunningProxy {
  readonly passed: Passed[]
  readonly recent: RecentProofs
}

async function proxied(
  fake: Pick<FakeService, 'url'>,
  connection: Partial<ConnectionOptions> = {},
  options: Partial<ProxyOptions> = {},
): Promise<Proxied> {
  const recent = new RecentProofs(3)
  const passed: Passed[] = []
  const onProof = (proof: Proof): void => recent.add(proof)
  // Bodies as they are, so that their digests are known here.
  const verified = await connect(fake.url, { policy: policyOf(), trust: await trust(), freshSeed: false, onProof, ...connection })
  const log = (entry: Passed): void => void passed.push(entry)
  const running = await startProxy({ connection: verified, recent, host: '127.0.0.1', port: 0, open: false, apiKey: null, log, ...options })
  onTestFinished(async () => {
    await running.close()
    verified.close()
  })
  return { ...running, passed, recent }
}

const post = (proxy: RunningProxy, body: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${proxy.url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body, ...init })
const errorOf = async (response: Response): Promise<{ message: string; type: string; code: string }> =>
  ((await response.json()) as { error: { message: string; type: string; code: string } }).error

/** A request with any headers and path, as no `fetch` sends it. */
function raw(
  proxy: RunningProxy,
  path: string,
  headers: { readonly [name: string]: string },
  method = 'GET',
): Promise<{ status: number; body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>()
  const { hostname, port } = new URL(proxy.url)
  const sent = request({ hostname, port, path, method, headers }, (response) => {
    let body = ''
    response.setEncoding('utf8').on('data', (part: string) => {
      body += part
    })
    response.on('end', () => resolve({ status: response.statusCode ?? 0, body }))
  })
  sent.on('error', reject).end()
  return promise
}

describe('the proxy', () => {
  it('passes a plain answer on byte for byte, and tells its proof', async () => {
    const fake = await fakeService()
    const proxy = await proxied(fake)
    const response = await post(proxy, plain, {
      headers: { 'content-type': 'application/json', authorization: 'Bearer sk-app', 'x-machine': 'mine' },
    })
    expect([response.status, await response.text()]).toEqual([200, plainAnswer])
    await expect
      .poll(() => proxy.passed)
      .toMatchObject([{ method: 'POST', path: '/v1/chat/completions', status: 200, code: null, proof: { status: 'verified' } }])
    const { proofs } = (await (await fetch(`${proxy.url}/proofs`)).json()) as { proofs: Proof[] }
    expect(proofs).toMatchObject([{ status: 'verified', model: { name: 'demo-model' }, bytes: { request: sha(plain), response: sha(plainAnswer) } }])
    expect(JSON.stringify(proofs)).not.toContain(prompt)
    const id = response.headers.get('x-receipt-id')
    expect(await (await fetch(`${proxy.url}/proofs/${id}`)).json()).toEqual(proofs[0])
    expect(fake.credentials).toContain('Bearer sk-app')
  })

  it('passes a stream on as it comes', async () => {
    const proxy = await proxied(await fakeService())
    const response = await post(proxy, streamed)
    expect([response.headers.get('content-type'), await response.text()]).toEqual(['text/event-stream', streamEvents.join('')])
    await expect.poll(() => proxy.passed.map(({ proof }) => proof?.status)).toEqual(['verified'])
  })

  it('an API key of its own takes the place of what applications send', async () => {
    const fake = await fakeService()
    await (await post(await proxied(fake, {}, { apiKey: 'sk-own' }), plain, { headers: { authorization: 'Bearer unused' } })).text()
    expect(fake.credentials.filter((credential) => credential !== undefined)).toContain('Bearer sk-own')
    expect(fake.credentials).not.toContain('Bearer unused')
  })

  it('S9: an application that goes away ends the request; what came is proven as a beginning', async () => {
    const events = [...streamEvents.slice(0, 3), ...Array.from({ length: 400 }, (_, i) => `data: {"n":${i}}\n\n`), 'data: [DONE]\n\n']
    const proxy = await proxied(await fakeService({ stream: events, pauseMs: 5 }))
    const abort = new AbortController()
    const response = await post(proxy, streamed, { signal: abort.signal })
    await response.body?.getReader().read()
    abort.abort()
    await expect
      .poll(() => proxy.recent.all.map(({ status, bytes }) => [status, bytes.complete]), { timeout: 5000 })
      .toEqual([['verified-prefix', false]])
  })

  it('GET passes over the verified connection, without a proof', async () => {
    const proxy = await proxied(await fakeService())
    expect(await (await fetch(`${proxy.url}/v1/models`)).json()).toMatchObject({ data: [{ id: 'demo-model' }] })
    await expect.poll(() => proxy.passed).toMatchObject([{ method: 'GET', status: 200, proof: null, code: null }])
  })

  it('keeps the last proofs only, the newest first; pages for people run nothing and load nothing', async () => {
    const proxy = await proxied(await fakeService())
    for (let i = 0; i < 4; i++) await (await post(proxy, plain.replace('secret', `secret ${i}`))).text()
    expect(proxy.recent.all.map(({ bytes }) => bytes.request)).toEqual([3, 2, 1].map((i) => sha(plain.replace('secret', `secret ${i}`))))
    const page = await fetch(`${proxy.url}/proofs`, { headers: { accept: 'text/html' } })
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    const html = await page.text()
    expect(html.match(/class="simulated">SIMULATED verified: demo-model/g)).toHaveLength(3)
    expect(html).not.toMatch(/<script|<img|https?:\/\/(?!127)/)
    const one = await (await fetch(`${proxy.url}/proofs/rcpt-1`, { headers: { accept: 'text/html' } })).text()
    expect(one).toContain('This is exactly the answer that was signed')
    expect((await fetch(`${proxy.url}/proofs/none`)).status).toBe(404)
    expect((await fetch(`${proxy.url}/proofs`, { method: 'POST' })).status).toBe(405)
  })
})

describe('the proxy gives an error and no answer', () => {
  it('where the weights are not wanted: before the first byte of a plain answer', async () => {
    const wanted = policyOf({ models: { 'demo-model': [sha('other')] } })
    const proxy = await proxied(await fakeService(), { policy: wanted })
    const response = await post(proxy, plain)
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([502, 'false'])
    const error = await errorOf(response)
    expect(error).toMatchObject({ code: 'policy_models', type: 'veritee_rejected' })
    expect(error.message).toMatch(/found demo-model .*\. Next: compare the weights/)
    await expect.poll(() => proxy.passed).toMatchObject([{ code: 'policy_models', proof: { status: 'rejected' } }])
  })

  it('and in the place of the end of a stream, which then has no clean end', async () => {
    const proxy = await proxied(await fakeService(), { policy: policyOf({ models: { 'demo-model': [sha('other')] } }) })
    const response = await post(proxy, streamed)
    let text = ''
    const reading = (async () => {
      for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) text += new TextDecoder().decode(part)
    })()
    await expect(reading).rejects.toThrow()
    expect(text.startsWith(streamEvents.slice(0, 3).join(''))).toBe(true)
    expect(text).not.toContain('[DONE]')
    expect(text).toMatch(/data: \{"error":\{"message":".*","type":"veritee_rejected","param":null,"code":"policy_models"\}\}\n\n$/)
  })

  it('where the receipt is kept back, and says that asking again may help', async () => {
    const proxy = await proxied(await fakeService({ answers: { '/v1/aci/receipts': { status: 404, body: '' } } }))
    const response = await post(proxy, plain)
    expect([response.status, response.headers.get('x-should-retry')]).toEqual([503, null])
    expect((await errorOf(response)).code).toBe('receipt_missing')
  })

  it('where the keys have changed and the service is not verified again, with nothing sent to it', async () => {
    const fake = await fakeService({ keysetDigest: sha('other') })
    const proxy = await proxied(fake)
    expect((await errorOf(await post(proxy, plain))).code).toBe('keyset_changed')
  })

  it('as the service gave it, where the service refuses: status, and its own words', async () => {
    const fake = await fakeService({
      answers: { '/v1/chat/completions': { status: 429, body: '{"error":{"message":"slow down","type":"x","param":null,"code":"y"}}' } },
    })
    const response = await post(await proxied(fake), plain)
    expect([response.status, (await errorOf(response)).message]).toEqual([429, 'slow down'])
  })

  it('where somebody else answers at the address of the service: no prompt is sent', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    const proxy = await proxied(fake)
    await fake.close()
    const asked: string[] = []
    await serveHttps(
      await tlsIdentity(),
      (incoming, response) => {
        asked.push(incoming.method ?? '')
        response.writeHead(404).end()
      },
      fake.port,
    )
    const response = await post(proxy, plain)
    expect(response.ok).toBe(false)
    expect(asked).not.toContain('POST')
  })
})

describe('the proxy refuses', () => {
  it.each<[string, { readonly [name: string]: string }, number]>([
    ['a name that resolves here (DNS rebinding)', { host: 'evil.example:8787' }, 421],
    ['an address that is not of this machine', { host: '192.0.2.1' }, 421],
    ['a name with credentials', { host: 'x@127.0.0.1' }, 421],
    ['a page from elsewhere', { origin: 'https://evil.example' }, 403],
    ['a page without an origin', { origin: 'null' }, 403],
    ['what a browser calls cross-site', { 'sec-fetch-site': 'cross-site' }, 403],
  ])('%s', async (_, headers, status) => {
    const fake = await fakeService()
    const proxy = await proxied(fake)
    const before = fake.requests.length
    for (const path of ['/proofs', '/v1/models', '/']) {
      const refused = await raw(proxy, path, headers)
      expect([refused.status, JSON.parse(refused.body)]).toMatchObject([status, { error: { type: 'invalid_request_error' } }])
    }
    expect(fake.requests).toHaveLength(before)
  })

  it.each(['127.0.0.1:1', 'localhost', '[::1]:80', '127.1.2.3'])('not the loopback name %s', async (host) => {
    expect((await raw(await proxied(await fakeService()), '/healthz', { host })).status).toBe(200)
  })

  it.each<[string, string, string, number]>([
    ['a path outside the API', '/admin', 'GET', 404],
    ['a path to another host', '//evil.example/v1/models', 'GET', 404],
    ['an absolute URL', 'http://evil.example/v1/models', 'GET', 404],
    ['dots', '/v1/../admin', 'GET', 404],
    ['encoded dots', '/v1/%2e%2e/admin', 'GET', 404],
    ['another method', '/v1/models', 'DELETE', 405],
  ])('%s, and asks the service nothing', async (_, path, method, status) => {
    const fake = await fakeService()
    const proxy = await proxied(fake)
    const before = fake.requests.length
    expect((await raw(proxy, path, {}, method)).status).toBe(status)
    expect(fake.requests).toHaveLength(before)
  })

  it('a body that is too large or encoded', async () => {
    const proxy = await proxied(await fakeService())
    expect((await errorOf(await post(proxy, `{"model":"${'x'.repeat(9 << 20)}"}`))).code).toBe('request_too_large')
    expect((await post(proxy, plain, { headers: { 'content-encoding': 'gzip' } })).status).toBe(415)
  })

  it('S22: to listen beyond loopback unless that was said; then to addresses, and never to names', async () => {
    await expect(proxied(await fakeService(), {}, { host: '0.0.0.0' })).rejects.toMatchObject({ code: 'usage' })
    const open = await proxied(await fakeService(), {}, { host: '0.0.0.0', open: true })
    const local: RunningProxy = { ...open, url: open.url.replace('0.0.0.0', '127.0.0.1') }
    expect((await raw(local, '/healthz', { host: '192.0.2.1:1' })).status).toBe(200)
    expect((await raw(local, '/healthz', { host: 'evil.example' })).status).toBe(421)
  })

  it('a port that is taken', async () => {
    const first = await proxied(await fakeService())
    await expect(proxied(await fakeService(), {}, { port: Number(new URL(first.url).port) })).rejects.toMatchObject({ code: 'port_unavailable' })
  })
})

describe('evidence that is kept', () => {
  const names = (directory: string): string[] => readdirSync(directory).sort()
  async function kept(bodies: boolean, changes: Partial<ConnectionOptions> = {}): Promise<string> {
    const directory = files.path(`kept-${bodies}-${Object.keys(changes).length}`)
    const evidence = await EvidenceFolder.open(directory, bodies)
    const saved = Promise.withResolvers<void>()
    const proxy = await proxied(await fakeService(), {
      ...changes,
      onProof: (proof, found) => void evidence.keep(proof, found).then(saved.resolve, saved.reject),
    })
    await (await post(proxy, plain)).text()
    await saved.promise
    return directory
  }

  it('is what veritee audit judges, without prompt and answer, for its owner alone', async () => {
    const directory = await kept(false)
    expect(names(directory).map((name) => name.replace(/^[^.]+/, ''))).toEqual(['.bundle', '.drawn.json', '.proof.json'])
    for (const name of names(directory)) {
      expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600)
      expect(readFileSync(join(directory, name), 'utf8')).not.toContain(Buffer.from(prompt).toString('base64').slice(0, 16))
      expect(readFileSync(join(directory, name), 'utf8')).not.toContain(prompt)
    }
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    const audit = files.write('audit.json', JSON.stringify(policyOf({}, { maxAttestationAge: 'any' })))
    const ran = await veritee(['audit', directory, '--policy', audit, '--root', root])
    expect([ran.code, ran.stdout]).toEqual([0, expect.stringContaining('SIMULATED, demo-model')])
  })

  it('holds the bodies where they were asked for, and audit compares them', async () => {
    const directory = await kept(true)
    const audit = files.write('audit.json', JSON.stringify(policyOf({}, { maxAttestationAge: 'any' })))
    const [bundle = ''] = names(directory)
    const ran = await veritee(['audit', join(directory, bundle), '--policy', audit, '--root', root])
    expect(ran.stdout).toMatch(/✓ receipt\.request .*\n✓ receipt\.response .*\n✓ receipt\.nonce/)
  })

  it('of what has no proof is the proof that there is none', async () => {
    const directory = await kept(false, { policy: policyOf({ models: { 'demo-model': [sha('other')] } }) })
    expect(names(directory)).toHaveLength(1)
    expect(JSON.parse(readFileSync(join(directory, names(directory)[0] ?? ''), 'utf8'))).toMatchObject({
      status: 'rejected',
      error: { code: 'policy_models' },
    })
  })
})

describe('veritee proxy', () => {
  it.each<[string, () => string[]]>([
    ['S14: without a policy', () => ['--upstream', 'http://127.0.0.1:1']],
    ['without a service', () => ['--policy', policy]],
    ['beyond loopback', () => ['--upstream', 'URL', '--policy', policy, '--root', root, '--host', '0.0.0.0']],
    ['bodies of nothing', () => ['--upstream', 'URL', '--policy', policy, '--save-bodies']],
    ['no port', () => ['--upstream', 'URL', '--policy', policy, '--port', '70000']],
  ])('%s it is 2', async (_, args) => {
    const fake = await fakeService()
    expectRefusal(await veritee(['proxy', ...args().map((arg) => (arg === 'URL' ? fake.url : arg))]), 2, 'usage')
    expect(fake.requests.some((line) => line.startsWith('POST'))).toBe(false)
  })

  it('does not listen where the service is rejected: 1, or not there: 3', async () => {
    const fake = await fakeService()
    expectRefusal(await veritee(['proxy', '--upstream', fake.url, '--policy', policy, '--port', '0']), 1, 'chain_untrusted')
    expectRefusal(await veritee(['proxy', '--upstream', 'http://127.0.0.1:1', '--policy', policy, '--root', root]), 3, 'service_unavailable')
  })
})
