import { createSimPlatform } from 'veritee/attestation/sim'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { requestResource } from '../../src/enclave/runtime/kbs/index.ts'
import { descriptorOf, enclaves, newTeeKey, outcomeOf, policyText, quoterOf, type RunningBroker, secret, send, startBroker } from './system.ts'
import { startTrustee, type TrusteeAnswer, type TrusteeClientOptions, type TrusteeOptions, trusteeClient } from './trustee.ts'

const platform = await createSimPlatform({ at: new Date() })

/** Our client asks a stand-in for Trustee's KBS. */
async function askTrustee(options: TrusteeOptions, changes: Partial<Parameters<typeof requestResource>[0]> = {}) {
  const trustee = await startTrustee(secret, options)
  const asked = {
    url: trustee.url,
    resource: 'default/key/1',
    quoter: quoterOf(platform),
    tee: 'sgx' as const,
    descriptor: descriptorOf('worker'),
    collateral: () => platform.collateral,
    ...changes,
  }
  try {
    return { outcome: await outcomeOf(asked), seen: trustee.seen }
  } finally {
    await trustee.close()
  }
}

const altered =
  (step: 'auth' | 'attest' | 'resource', change: (answer: TrusteeAnswer) => TrusteeAnswer | null): NonNullable<TrusteeOptions['alter']> =>
  (at, answer) =>
    at === step ? change(answer) : answer
const body =
  (change: (value: Record<string, unknown>) => unknown) =>
  (answer: TrusteeAnswer): TrusteeAnswer => ({ ...answer, body: JSON.stringify(change(JSON.parse(answer.body) as Record<string, unknown>)) })

describe('our client at a KBS of Trustee', () => {
  it('gets the resource, in the form Trustee knows and with nothing more', async () => {
    const trustee = await startTrustee(secret)
    const released = await requestResource({
      url: `${trustee.url}/`,
      resource: 'default/key/1',
      quoter: quoterOf(platform),
      tee: 'sgx',
      descriptor: descriptorOf('worker'),
      collateral: () => platform.collateral,
    })
    await trustee.close()
    expect(released).toEqual(secret)
    expect(trustee.seen.map(({ path }) => path)).toEqual(['auth', 'attest', 'resource/default/key/1'])
    expect(JSON.parse(trustee.seen[0]?.body ?? '')).toEqual({
      version: '0.4.0',
      tee: 'sgx',
      'extra-params': { 'supported-hash-algorithms': ['sha384'] },
    })
    const attestation = JSON.parse(trustee.seen[1]?.body ?? '')
    expect(Object.keys(attestation['tee-evidence'].primary_evidence)).toEqual(['quote'])
    expect(attestation['tee-evidence'].additional_evidence).toBe('')
    expect(Object.keys(attestation['runtime-data']['tee-pubkey']).sort()).toEqual(['alg', 'crv', 'kty', 'x', 'y'])
    expect(trustee.seen[1]?.cookie).toBe(trustee.seen[2]?.cookie)
  })

  it('S22: comes again where it is asked to, and gives up after a few times', async () => {
    const busy = (times: number): NonNullable<TrusteeOptions['alter']> => {
      let left = times
      return (step, answer) => (step === 'attest' && left-- > 0 ? { status: 503, headers: { 'retry-after': '0' }, body: '{}' } : answer)
    }
    const patient = await askTrustee({ alter: busy(2) })
    expect(patient.outcome).toBe('released')
    expect(patient.seen.map(({ path }) => path)).toEqual(['auth', 'attest', 'attest', 'attest', 'resource/default/key/1'])
    const tired = await askTrustee({ alter: busy(100) })
    expect(tired.outcome).toBe('kbs_refused')
    expect(tired.seen).toHaveLength(6)
    // Without a time to wait, or with one that is none, it is an answer like any other.
    for (const later of [{}, { 'retry-after': 'soon' }, { 'retry-after': '-1' }]) {
      const once = await askTrustee({ alter: altered('auth', () => ({ status: 503, headers: later as Record<string, string>, body: '{}' })) })
      expect([once.outcome, once.seen.length]).toEqual(['kbs_refused', 1])
    }
    const hour = altered('auth', () => ({ status: 429, headers: { 'retry-after': '3600' }, body: '{}' }))
    expect((await askTrustee({ alter: hour }, { timeoutMs: 100 })).outcome).toBe('kbs_timeout')
  })

  it.each([
    ['refuses by its policy', { resource: 'denied/key/1' }, undefined, 'kbs_refused'],
    ['has no such resource', { resource: 'default/key/2' }, undefined, 'kbs_refused'],
    [
      'speaks another version',
      {},
      altered('auth', () => ({ status: 401, headers: {}, body: '{"type":"x/AttestationError","detail":"Version Mismatch"}' })),
      'kbs_refused',
    ],
    ['is behind a proxy that fails', {}, altered('attest', () => ({ status: 502, headers: {}, body: '<html>' })), 'kbs_refused'],
    ['answers auth without a cookie', {}, altered('auth', (answer) => ({ ...answer, headers: {} })), 'kbs_answer_malformed'],
    [
      'sets a cookie of another form',
      {},
      altered('auth', (answer) => ({ ...answer, headers: { 'set-cookie': 'kbs-session-id="a b"' } })),
      'kbs_answer_malformed',
    ],
    ['answers with no JSON', {}, altered('auth', (answer) => ({ ...answer, body: '{' })), 'kbs_answer_malformed'],
    [
      'has a nonce of another length',
      {},
      altered(
        'auth',
        body((o) => ({ ...o, nonce: 'AAAA' })),
      ),
      'kbs_answer_malformed',
    ],
    [
      'has a nonce that is no text',
      {},
      altered(
        'auth',
        body((o) => ({ ...o, nonce: { a: 1 } })),
      ),
      'kbs_answer_malformed',
    ],
    [
      'wants another hash',
      {},
      altered(
        'auth',
        body((o) => ({ ...o, 'extra-params': { 'selected-hash-algorithm': 'sha512' } })),
      ),
      'kbs_answer_malformed',
    ],
    [
      'gets the nonce of another session from the middle',
      {},
      altered(
        'auth',
        body((o) => ({ ...o, nonce: Buffer.alloc(32, 7).toString('base64') })),
      ),
      'kbs_refused',
    ],
    [
      'gives no token',
      {},
      altered(
        'attest',
        body(() => ({})),
      ),
      'kbs_answer_malformed',
    ],
    ['sends a huge answer', {}, altered('resource', (answer) => ({ ...answer, body: ' '.repeat(200_000) })), 'response_too_large'],
    [
      'sends no JWE',
      {},
      altered(
        'resource',
        body(() => ({ value: 'x' })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'changes the ciphertext',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, ciphertext: flip(o.ciphertext) })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'changes the tag',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, tag: flip(o.tag) })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'cuts the tag',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, tag: String(o.tag).slice(0, 6) })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'changes the wrapped key',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, encrypted_key: flip(o.encrypted_key) })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'adds a member',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, header: {} })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'says that the content is compressed',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, protected: header(o.protected, { zip: 'DEF' }) })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'encrypts directly, with no key of ours',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, protected: header(o.protected, { alg: 'dir' }) })),
      ),
      'kbs_jwe_invalid',
    ],
    [
      'says RSA1_5',
      {},
      altered(
        'resource',
        body((o) => ({ ...o, protected: header(o.protected, { alg: 'RSA1_5' }) })),
      ),
      'kbs_jwe_invalid',
    ],
  ] as const)('a KBS that %s', async (_title, changes, alter, expected) => {
    expect((await askTrustee(alter === undefined ? {} : { alter }, changes)).outcome).toBe(expected)
  })

  it('S13: a resource that was encrypted to another key', async () => {
    const { sealJwe, parseTeePubkey, teePubkeyOf } = await import('../../src/enclave/runtime/kbs/index.ts')
    const foreign = sealJwe(parseTeePubkey(teePubkeyOf(newTeeKey())), secret)
    expect(
      (
        await askTrustee({
          alter: altered(
            'resource',
            body(() => foreign),
          ),
        })
      ).outcome,
    ).toBe('kbs_jwe_invalid')
  })

  it('the reason of a refusal is in the error, on one line', async () => {
    const alter = altered('attest', () => ({
      status: 401,
      headers: {},
      body: JSON.stringify({ type: 'urn:x/y', detail: 'a\nb\u001b[2J', code: 'policy_debug' }),
    }))
    const trustee = await startTrustee(secret, { alter })
    const asked = {
      url: trustee.url,
      resource: 'a/b/c',
      quoter: quoterOf(platform),
      tee: 'sgx',
      descriptor: descriptorOf('worker'),
      collateral: () => platform.collateral,
    } as const
    const error = await requestResource(asked).catch((reason: unknown) => reason)
    await trustee.close()
    expect(error).toMatchObject({
      code: 'kbs_refused',
      kind: 'rejected',
      reason: 'policy_debug',
      message: 'attest answered 401: policy_debug (a b [2J)',
    })
  })

  it('a broker that is down, that does not answer, and a caller who gives up', async () => {
    const gone = await startTrustee(secret)
    await gone.close()
    const asked = {
      resource: 'a/b/c',
      quoter: quoterOf(platform),
      tee: 'sgx',
      descriptor: descriptorOf('worker'),
      collateral: () => platform.collateral,
    } as const
    expect(await outcomeOf({ ...asked, url: gone.url })).toBe('service_unavailable')
    for (const step of ['auth', 'attest', 'resource'] as const)
      expect((await askTrustee({ alter: altered(step, () => null) }, { timeoutMs: 150 })).outcome, step).toBe('kbs_timeout')
    const silent = await startTrustee(secret, { alter: () => null })
    const controller = new AbortController()
    const running = requestResource({ ...asked, url: silent.url, signal: controller.signal })
    controller.abort(new Error('the caller went away'))
    await expect(running).rejects.toThrow('the caller went away')
    await silent.close()
    await expect(requestResource({ ...asked, url: silent.url, resource: '../x' })).rejects.toThrow(TypeError)
  })

  it('a quote device that hangs is not waited for', async () => {
    const hanging = { quote: () => new Promise<Uint8Array>(() => undefined) }
    expect((await askTrustee({}, { timeoutMs: 150, quoter: hanging })).outcome).toBe('kbs_timeout')
  })
})

function flip(text: unknown): string {
  const bytes = Buffer.from(String(text), 'base64url')
  bytes[0] = (bytes[0] ?? 0) ^ 1
  return bytes.toString('base64url')
}

function header(text: unknown, changes: object): string {
  const value = JSON.parse(Buffer.from(String(text), 'base64url').toString()) as object
  return Buffer.from(JSON.stringify({ ...value, ...changes })).toString('base64url')
}

describe("a client of Trustee's at our broker", () => {
  let running: RunningBroker
  beforeAll(async () => {
    running = await startBroker({ platform, peerCollateral: async (quote) => (quote.tee === 'tdx' ? platform.tdxCollateral : platform.collateral) })
    await running.put('default/key/1', { evidence: 'quote' })
    await running.put('default/key/veritee')
    await running.put('default/key/production', { evidence: 'quote', policy: policyText({ simulated: 'refuse' }) })
    const td = {
      tee: ['tdx'] as const,
      identity: [{ mrtd: '0d'.repeat(48), rtmr0: 'any', rtmr1: 'any', rtmr2: 'any', rtmr3: 'any', mrseam: 'any' } as const],
    }
    await running.put('default/key/td', { evidence: 'quote', policy: policyText({ ...td }) })
  })
  afterAll(() => running.close())

  const client = (changes: Partial<TrusteeClientOptions> = {}): TrusteeClientOptions => ({
    tee: 'sgx',
    quote: (reportData) => platform.quote(enclaves.worker, reportData),
    post: (path, headers, text) => send(running.kbs.url, { method: 'POST', path, headers, body: Buffer.from(text) }),
    get: (path, headers) => send(running.kbs.url, { method: 'GET', path, headers }),
    ...changes,
  })

  it.each([
    ['by its session', {}],
    ['by its token', { byToken: true }],
    ['with a key on P-521', { curve: 'P-521' }],
  ] as const)('gets a resource %s', async (_title, changes) => {
    expect(await trusteeClient('default/key/1', client(changes))).toEqual(secret)
  })

  it('gets one as a TD', async () => {
    const quote = (reportData: Uint8Array) => platform.tdQuote({ mrtd: '0d'.repeat(48) } as Parameters<typeof platform.tdQuote>[0], reportData)
    expect(await trusteeClient('default/key/td', client({ tee: 'tdx', quote }))).toEqual(secret)
    await expect(trusteeClient('default/key/1', client({ tee: 'tdx', quote }))).rejects.toThrow('PolicyDeny')
    await expect(trusteeClient('default/key/td', client({ tee: 'sgx', quote }))).rejects.toThrow('AttestationError')
  })

  it.each([
    ['default/key/veritee', {}, '401 PolicyDeny'],
    ['default/key/production', {}, '401 PolicyDeny'],
    ['default/key/none', {}, '404 InvalidRequestPath'],
    ['default/key/1', { quote: (data: Uint8Array) => platform.quote(enclaves.other, data) }, '401 PolicyDeny'],
    ['default/key/1', { quote: () => platform.quote(enclaves.worker, new Uint8Array(64)) }, 'AttestationError'],
  ] as const)('understands the refusal of %s', async (resource, changes, expected) => {
    await expect(trusteeClient(resource, client(changes))).rejects.toThrow(expected)
  })
})
