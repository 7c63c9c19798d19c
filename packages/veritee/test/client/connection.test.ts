import { describe, expect, it } from 'vitest'
import { complaints } from '../../../../tools/test/schemas.ts'
import type { Collateral } from '../../src/attestation/index.ts'
import {
  ConfigurationError,
  type Connection,
  type ConnectionOptions,
  connect,
  explain,
  type Proof,
  type ProofEvidence,
  RejectedError,
  UntrustedError,
} from '../../src/client/index.ts'
import type { Policy } from '../../src/policy/index.ts'
import { withReleases } from '../../src/release/index.ts'
import { machine, measured, nonceOf, sha, trust } from '../receipt/enclaves.ts'
import { plainAnswer, policyOf, streamEvents } from '../receipt/scenario.ts'
import { createMakers, enclaveOf } from '../release/makers.ts'
import { tlsIdentity } from './servers.ts'
import { apiKey, type FakeService, fakeService, strictChannel } from './service.ts'

const chat = '/v1/chat/completions'
const plain = '{"model":"demo-model","messages":[]}'
const streamed = '{"model":"demo-model","stream":true,"messages":[]}'

async function open(fake: Pick<FakeService, 'url'>, changes: Partial<ConnectionOptions> = {}): Promise<Connection> {
  // Bodies as they are, so that their digests are known here; seeds have tests of their own.
  return connect(fake.url, { policy: policyOf(), trust: await trust(), freshSeed: false, ...changes })
}
const post = (c: Connection, body: string, init: RequestInit = {}): Promise<Response> =>
  c.fetch(`${c.baseURL}/chat/completions`, { method: 'POST', body, ...init })
const posts = (fake: FakeService): number => fake.requests.filter((line) => line.startsWith('POST')).length

async function thrown(run: () => Promise<unknown>): Promise<unknown> {
  try {
    await run()
  } catch (error) {
    return error
  }
  return 'nothing was thrown'
}

describe('a connection', () => {
  it('gives a plain answer and its proof, which the schema accepts', async () => {
    const fake = await fakeService()
    const proofs: [Proof, ProofEvidence][] = []
    const c = await open(fake, { onProof: (proof, evidence) => proofs.push([proof, evidence]) })
    const response = await post(c, plain, { headers: { authorization: `Bearer ${apiKey}` } })
    expect(await response.text()).toBe(plainAnswer)
    const proof = await c.proofOf(response)
    expect(proof).toMatchObject({
      status: 'verified',
      simulated: true,
      endpoint: chat,
      service: { role: 'controller', origin: fake.url, channel: 'loopback', fresh: true, physical: 'any' },
      worker: { role: 'worker', origin: null, channel: 'relayed', fresh: false, keysetDigest: fake.worker.digest },
      model: { name: 'demo-model' },
      bytes: { request: sha(plain), response: sha(plainAnswer), responseLength: plainAnswer.length, events: null, complete: true, encryptedTo: null },
      error: null,
    })
    expect(complaints('proof', JSON.parse(JSON.stringify(proof)))).toEqual([])
    expect(proof.waived.length).toBeGreaterThan(0)
    expect(proof.waived).toEqual(proof.checks.filter(({ status }) => status === 'waived'))
    expect(proofs.map(([told]) => told)).toEqual([proof])
    expect(proofs[0]?.[1].records?.workerReceipt).not.toBeNull()
    expect(JSON.stringify(proof)).not.toContain(apiKey)
    expect(fake.credentials.map((value) => value ?? 'none')).toEqual(['none', ...Array.from({ length: 4 }, () => `Bearer ${apiKey}`)])
  })
  it('takes what fetch takes: a Request, a URL, bytes, a stream', async () => {
    const c = await open(await fakeService())
    const url = new URL(`${c.baseURL}/chat/completions`)
    const bytes = new TextEncoder().encode(plain)
    const body = new ReadableStream({
      start: (controller) => {
        controller.enqueue(bytes.slice(0, 5))
        controller.enqueue(bytes.slice(5))
        controller.close()
      },
    })
    const inits = [
      () => c.fetch(new Request(url, { method: 'POST', body: plain })),
      () => c.fetch(url, { method: 'POST', body: bytes }),
      () => c.fetch(url, { method: 'POST', body, duplex: 'half' } as RequestInit),
      () => c.fetch(String(url), { method: 'POST', body: new Blob([plain]) }),
    ]
    for (const ask of inits) {
      const response = await ask()
      // The proof may be asked for before the body is read.
      expect((await c.proofOf(response)).bytes.request).toBe(sha(plain))
      expect(await response.text()).toBe(plainAnswer)
    }
  })
  it('S10: two equal requests have nonces of their own', async () => {
    const c = await open(await fakeService())
    const nonces: string[] = []
    for (let i = 0; i < 2; i++) nonces.push((await c.proofOf(await post(c, plain))).bytes.clientNonce)
    expect(new Set(nonces).size).toBe(2)
  })
  it('S25: judges service and worker by release statements, and sends nothing to what is of no release or of a withdrawn one', async () => {
    const makers = await createMakers(Math.floor(Date.now() / 1000) - 60)
    const of = (role: 'controller' | 'worker') =>
      enclaveOf({ role, mrenclave: measured(role).mrenclave, cpu_variant: role === 'worker' ? 'x86-64-v3' : null, isv_prod_id: 1, isv_svn: 1 })
    const demand = { identity: 'released', release: makers.demand } as const
    const policyWith = async (changes: Parameters<typeof makers.statement>[0]): Promise<Policy> =>
      withReleases(policyOf(demand, demand), [{ statement: await makers.statement(changes), proof: null }])
    const both = { enclaves: [of('controller'), of('worker')] }
    const fake = await fakeService()
    const c = await open(fake, { policy: await policyWith(both) })
    expect((await c.proofOf(await post(c, plain))).status).toBe('verified')
    expect(await thrown(() => open(fake, { policy: policyOf(demand, demand) }))).toMatchObject({ code: 'policy_release' })
    expect(await thrown(async () => open(fake, { policy: await policyWith({ ...both, withdrawn: ['0.1.0'] }) }))).toMatchObject({
      code: 'release_withdrawn',
    })
    // A model may have whatever name: only what was verified is kept apart from the document.
    const named = policyOf({ ...demand, models: { 'demo-model': [sha('weights')], released: [sha('other')] } }, demand)
    const verified = await withReleases(named, [{ statement: await makers.statement(both), proof: null }])
    expect((await open(fake, { policy: verified })).service.options.policy).toEqual(verified)
    // The worker is of no release: the answer has come, its proof fails.
    const alone = await open(fake, { policy: await policyWith({ enclaves: [of('controller')] }), mode: 'report' })
    expect(await alone.proofOf(await post(alone, plain))).toMatchObject({ status: 'rejected', error: { code: 'release_measurement_unknown' } })
  })
  it('S25: judges service and worker by collateral of its own, where it is told to, and by no other', async () => {
    const quotes: Uint8Array[] = []
    const { collateral } = await machine()
    const source = async (quote: Uint8Array): Promise<Collateral> => {
      quotes.push(quote)
      return collateral
    }
    // What the service serves beside its quote would not do.
    const fake = await fakeService({ report: (text) => text.replace(/"tcb_info_signature":"../, '"tcb_info_signature":"00') })
    expect(await thrown(() => open(fake))).toMatchObject({ code: 'tcb_info_signature_invalid' })
    const c = await open(fake, { collateral: source })
    expect((await c.proofOf(await post(c, plain))).status).toBe('verified')
    expect(quotes).toHaveLength(2)
    expect(quotes[0]).not.toEqual(quotes[1])
  })
  it('passes GET on without a proof', async () => {
    const c = await open(await fakeService())
    const response = await c.fetch(`${c.baseURL}/models`)
    expect(await response.json()).toMatchObject({ data: [{ id: 'demo-model' }] })
    expect(await thrown(() => c.proofOf(response))).toMatchObject({ code: 'usage' })
  })
  it('gives errors of the service as they are, for SDKs to act on', async () => {
    const c = await open(
      await fakeService({ answers: { [chat]: { status: 429, body: '{"error":{"message":"slow down"}}', headers: { 'retry-after': '7' } } } }),
    )
    const response = await post(c, plain)
    expect([response.status, response.headers.get('retry-after'), await response.text()]).toEqual([429, '7', '{"error":{"message":"slow down"}}'])
  })
  it.each<[string, (c: Connection) => Promise<unknown>]>([
    ['another origin', (c) => c.fetch('http://127.0.0.1:1/v1/models')],
    ['another scheme', (c) => c.fetch(c.baseURL.replace('http:', 'https:'))],
    ['another method', (c) => c.fetch(`${c.baseURL}/models`, { method: 'DELETE' })],
    ['a nonce of the caller', (c) => post(c, plain, { headers: { 'X-Veritee-Nonce': nonceOf('x') } })],
    ['a body over the bound', (c) => post(c, 'x'.repeat((8 << 20) + 1))],
  ])('sends nothing for %s', async (_, ask) => {
    const fake = await fakeService()
    const c = await open(fake)
    expect(await thrown(() => ask(c))).toMatchObject({ name: 'ConfigurationError', code: 'usage' })
    expect(fake.requests).toEqual(['GET /v1/aci/attestation'])
  })
  it('over TLS, to the attested key', async () => {
    const c = await open(await fakeService({}, await tlsIdentity()), { policy: strictChannel() })
    const response = await post(c, streamed)
    expect(await response.text()).toBe(streamEvents.join(''))
    expect(await c.proofOf(response)).toMatchObject({ status: 'verified', service: { channel: 'attested' }, bytes: { events: 4 } })
  })
  it('closed, it sends nothing more', async () => {
    const fake = await fakeService()
    const c = await open(fake)
    c.close()
    expect(await thrown(() => post(c, plain))).toBeInstanceOf(TypeError)
    expect(posts(fake)).toBe(0)
  })
  it('URLs with and without /v1 are the same service', async () => {
    const fake = await fakeService()
    for (const end of ['', '/', '/v1', '/v1/']) expect((await open({ url: fake.url + end })).baseURL).toBe(`${fake.url}/v1`)
  })
})

describe('what is refused before anything is sent', () => {
  const incomplete = { version: 'veritee.policy.v1', roles: { controller: {}, worker: {} } } as unknown as Policy
  it.each<[string, Partial<ConnectionOptions>, string]>([
    ['a policy that accepts anything by saying nothing', { policy: incomplete }, 'policy_invalid'],
    ['no policy', { policy: undefined as unknown as Policy }, 'policy_invalid'],
    ['a policy as text that is none', { policy: '{}' }, 'policy_invalid'],
    [
      'a policy without a section for workers',
      { policy: { ...policyOf(), roles: { controller: policyOf().roles.controller } } as Policy },
      'policy_role_missing',
    ],
    ['an unknown mode', { mode: 'fast' as 'report' }, 'usage'],
    ['encryption to nobody known', { encryptTo: 'cloud' as 'none' }, 'usage'],
    ['an API key that is no header', { apiKey: 'a\nb' }, 'usage'],
  ])('%s', async (_, options, code) => {
    const fake = await fakeService()
    const error = await thrown(() => open(fake, options))
    expect(error).toBeInstanceOf(ConfigurationError)
    expect(error).toMatchObject({ code, kind: 'configuration' })
    expect(fake.requests).toEqual([])
  })
  it('a service that the policy does not want: the verdict lists every check, and says what to do', async () => {
    const fake = await fakeService()
    const error = await thrown(() => open(fake, { policy: policyOf({}, { identity: [{ mrenclave: nonceOf('other') }] }) }))
    expect(error).toBeInstanceOf(RejectedError)
    expect(error).toMatchObject({
      code: 'policy_identity',
      verdict: { verdict: 'rejected' },
      expected: 'one of 1 listed identities',
      next: expect.stringContaining('release'),
    })
    expect(posts(fake)).toBe(0)
  })
  it('S15: a simulated service, without its root in trust', async () => {
    const fake = await fakeService()
    const error = await thrown(() => connect(fake.url, { policy: policyOf() }))
    expect(error).toBeInstanceOf(UntrustedError)
    expect(error).toMatchObject({ code: 'chain_untrusted' })
    expect(posts(fake)).toBe(0)
  })
})

it('explain says the same in plain English, for a proof and for none', async () => {
  const fake = await fakeService()
  const c = await open(fake)
  const good = await post(c, plain)
  await good.text()
  const text = explain(await c.proofOf(good))
  for (const words of [
    'SIMULATED: Verified.',
    'MRENCLAVE',
    'hashed by the enclave',
    sha(plain),
    'could have opened it',
    'does not say that the answer is true',
  ])
    expect(text).toContain(words)
  fake.behaviour.answers['/v1/aci/receipts'] = { status: 404, body: '' }
  const bad = await post(c, plain)
  expect(await thrown(() => bad.text())).toMatchObject({ name: 'UnavailableError', code: 'receipt_missing' })
  const proof = await c.proofOf(bad)
  expect(complaints('proof', JSON.parse(JSON.stringify(proof)))).toEqual([])
  expect(explain(proof)).toMatch(/NOT PROVEN[\s\S]+Why: [\s\S]+\(receipt_missing\)\nNext: do not rely on this answer/)
})

it('the schema of a proof is closed and complete: no member may be missing or added, and what is proven has no error', async () => {
  const c = await open(await fakeService())
  const proof = JSON.parse(JSON.stringify(await c.proofOf(await post(c, plain)))) as Record<string, unknown>
  expect(complaints('proof', proof)).toEqual([])
  const error = { code: 'receipt_missing', kind: 'unavailable', message: 'none', expected: null, found: null, next: 'ask again' }
  for (const part of [proof, proof.service, proof.worker, proof.model, proof.bytes, proof.receipts, (proof.checks as unknown[])[0]] as Record<
    string,
    unknown
  >[]) {
    for (const [name, value] of Object.entries(part)) {
      delete part[name]
      expect(complaints('proof', proof), name).not.toEqual([])
      part[name] = value
    }
    part.more = 1
    expect(complaints('proof', proof)).not.toEqual([])
    delete part.more
  }
  for (const [status, code] of [
    ['verified', true],
    ['verified-prefix', true],
    ['rejected', false],
    ['unproven', false],
  ] as const)
    expect([complaints('proof', { ...proof, status }).length === 0, complaints('proof', { ...proof, status, error }).length === 0]).toEqual([
      code,
      !code,
    ])
})
