import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { intelSgxRootCa } from '../../src/attestation/index.ts'
import { type Connection, type ConnectionOptions, connect, defaultReportDirectory } from '../../src/client/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, nonceOf, trust } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { serveHttps, tlsIdentity } from './servers.ts'
import { type FakeService, fakeService } from './service.ts'

let cache: string
beforeEach(async () => {
  cache = await mkdtemp(join(tmpdir(), 'veritee-reports-'))
})
afterEach(() => rm(cache, { recursive: true, force: true }))

const policy = policyOf({}, { channel: 'attested' })
const challenges = (fake: FakeService): number => fake.requests.filter((line) => line.endsWith('/attestation')).length
async function open(url: string, changes: Partial<ConnectionOptions> = {}): Promise<Connection> {
  return connect(url, { policy, trust: await trust(), cache, ...changes })
}
async function ask(c: Connection): Promise<string> {
  const response = await c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body: '{"model":"demo-model","messages":[]}' })
  await response.text()
  const { status } = await c.proofOf(response)
  c.close()
  return status
}
async function entry(): Promise<string> {
  const [name = ''] = await readdir(cache)
  return join(cache, name)
}

describe('reports kept between processes', () => {
  it('spare the next connection the challenge, and are verified again; files are for their owner only', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    expect(await ask(await open(fake.url))).toBe('verified')
    expect(await ask(await open(fake.url))).toBe('verified')
    expect(challenges(fake)).toBe(1)
    expect((await stat(await entry())).mode & 0o777).toBe(0o600)
  })
  it('are judged under the present policy', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    expect(await refusal(() => open(fake.url, { policy: policyOf({}, { channel: 'attested', identity: [{ mrenclave: nonceOf('other') }] }) }))).toBe(
      'policy_identity',
    )
  })
  it('S15: a simulated one is never found under other roots', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    expect(await refusal(() => open(fake.url, { trust: { roots: [intelSgxRootCa] } }))).toBe('chain_untrusted')
  })
  it('S15: and does not verify under them where somebody moves it there', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    const simulated = await entry()
    const text = await readFile(simulated, 'utf8')
    // The entry that a connection under Intel's root alone would look for, filled with the simulated report.
    const { key } = JSON.parse(text) as { key: string }
    const other = await mkdtemp(join(tmpdir(), 'veritee-reports-'))
    await refusal(() => open(fake.url, { cache: other, trust: { roots: [intelSgxRootCa] } }))
    const [url, role] = JSON.parse(key) as [string, string, string]
    const { createHash } = await import('node:crypto')
    const roots = `sha256:${createHash('sha256').update(intelSgxRootCa).digest('hex')}`
    const moved = JSON.stringify([url, role, roots])
    await writeFile(join(other, `${createHash('sha256').update(moved).digest('hex')}.json`), text.replace(JSON.stringify(key), JSON.stringify(moved)))
    expect(await refusal(() => open(fake.url, { cache: other, trust: { roots: [intelSgxRootCa] } }))).toBe('chain_untrusted')
    // It was looked at, and thrown away.
    expect(await readdir(other)).toEqual([])
    await rm(other, { recursive: true })
  })
  it('do not outlive the age that the policy allows', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    const later = new Date(Date.now() + 3601_000)
    await open(fake.url, { now: () => later })
    expect(challenges(fake)).toBe(2)
  })
  it('from the future are of no use: their age is unknown', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    const later = new Date(Date.now() + 60_000)
    await open(fake.url, { now: () => later })
    await open(fake.url)
    expect(challenges(fake)).toBe(2)
  })
  it.each<[string, (text: string) => string]>([
    ['damaged', (text) => text.slice(0, 100)],
    ['edited', (text) => text.replace('receipt-1', 'receipt-9')],
    ['over another nonce', (text) => text.replace(/"nonce":"[0-9a-f]{64}"/, `"nonce":"${nonceOf('other')}"`)],
    ['of another version', (text) => text.replace('report-cache.v1', 'report-cache.v9')],
    ['with a member too many', (text) => text.replace('{', '{"more":1,')],
    ['without end', (text) => text + ' '.repeat(3 << 20)],
  ])('%s: as if there were none', async (_, edit) => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    const path = await entry()
    await writeFile(path, edit(await readFile(path, 'utf8')))
    expect(await ask(await open(fake.url))).toBe('verified')
    expect(challenges(fake)).toBe(2)
  })
  it('pin the TLS key: whoever has another one gets no request, and the service is challenged anew', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    await fake.close()
    const seen: string[] = []
    await serveHttps(
      await tlsIdentity(),
      (request, response) => {
        seen.push(String(request.url?.split('?')[0]))
        response.writeHead(404).end()
      },
      fake.port,
    )
    const c = await open(fake.url)
    expect(seen).toEqual([])
    expect(await refusal(() => ask(c))).toBe('service_refused')
    expect(seen).toEqual(['/v1/aci/attestation'])
  })
  it('where the service was restarted with other keys: verified anew, and the answer given', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await open(fake.url)
    const next = await createEnclave('controller', { spki: fake.controller.spki })
    Object.assign(fake.behaviour, { keysetDigest: next.digest, reporter: next, sealing: { signer: next } })
    expect(await ask(await open(fake.url))).toBe('verified')
  })
  it('a directory that cannot be written is done without', async () => {
    const fake = await fakeService({}, await tlsIdentity())
    await writeFile(join(cache, 'file'), '')
    expect(await ask(await open(fake.url, { cache: join(cache, 'file', 'below') }))).toBe('verified')
  })
  it('by default lie where caches lie', () => {
    expect(defaultReportDirectory({ XDG_CACHE_HOME: '/somewhere' })).toBe('/somewhere/veritee/reports')
    expect(defaultReportDirectory({ XDG_CACHE_HOME: 'not/absolute' })).toMatch(/\.cache\/veritee\/reports$/)
  })
})
