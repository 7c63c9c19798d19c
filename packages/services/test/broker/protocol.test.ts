import { createSimPlatform } from 'veritee/attestation/sim'
import { toBase64 } from 'veritee/bytes'
import { connect, nodeTransport } from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { parseReport } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openJwe, requestResource } from '../../src/enclave/runtime/kbs/index.ts'
import {
  adminToken,
  askOf,
  attest,
  attestationBody,
  authenticate,
  descriptorOf,
  enclaves,
  evidenceOf,
  get,
  outcomeOf,
  policyText,
  type RunningBroker,
  said,
  secret,
  send,
  startBroker,
} from './system.ts'

let running: RunningBroker
beforeAll(async () => {
  running = await startBroker()
  await running.put('models/demo/1')
})
afterAll(() => running.close())

describe('a worker and its broker', () => {
  it('S13: a worker that the policy wants gets the key, and nobody who sees the wire does', async () => {
    expect(await requestResource(askOf(running, 'models/demo/1'))).toEqual(secret)
    const { audit } = running.store.state
    expect(audit.at(-1)).toMatchObject({
      event: 'release',
      resource: 'models/demo/1',
      version: 1,
      code: null,
      measurement: enclaves.worker.mrenclave,
      simulated: true,
    })
    expect(JSON.stringify(audit)).not.toContain(toBase64(secret))
  })

  it('S13: pins the TLS key of the broker where the caller has attested it', async () => {
    const spki = running.broker.identity.keyset.tls_public_keys[0]?.spki_sha256 ?? ''
    expect(await outcomeOf(askOf(running, 'models/demo/1', { brokerSpki: spki }))).toBe('released')
    expect(await outcomeOf(askOf(running, 'models/demo/1', { brokerSpki: '00'.repeat(32) }))).toBe('channel_mismatch')
  })

  it('session and token both release, to the same key', async () => {
    const shake = await authenticate(running.kbs.url)
    const reply = await attest(running.kbs.url, shake.cookie, attestationBody(await evidenceOf(running, shake)))
    const { token } = reply.json as { token: string }
    for (const headers of [{ cookie: shake.cookie }, { authorization: `Bearer ${token}` }]) {
      const released = await get(running.kbs.url, 'models/demo/1', headers)
      expect(said(released)).toBe('200')
      expect(openJwe(released.json, shake.teeKey)).toEqual(secret)
    }
  })

  it('the token says what was proven, and calls no software good', async () => {
    const shake = await authenticate(running.kbs.url)
    const reply = await attest(running.kbs.url, shake.cookie, attestationBody(await evidenceOf(running, shake)))
    const [header, claims] = (reply.json as { token: string }).token.split('.').map((part) => Buffer.from(part, 'base64url').toString())
    expect(JSON.parse(header ?? '')).toMatchObject({ typ: 'JWT', alg: 'ES256', jwk: { kty: 'EC', crv: 'P-256' } })
    const parsed = JSON.parse(claims ?? '')
    expect(parsed.exp - parsed.iat).toBe(300)
    expect(parsed.submods.cpu0['ear.status']).toBe('contraindicated')
    expect(parsed.submods.cpu0['ear.veraison.annotated-evidence']).toMatchObject({
      simulated: true,
      runtime_data_claims: { nonce: shake.nonce },
      sgx: { mrenclave: enclaves.worker.mrenclave },
    })
    expect(parsed.jti).not.toBe(shake.cookie.split('=')[1])
  })

  it('S13: the broker shows a report of its own under the role broker, before anybody gives it a key', async () => {
    const policy = parsePolicy(policyText({}, 'broker', enclaves.broker))
    for (const url of [running.kbs.url, running.admin.url]) {
      const transport = nodeTransport(url)
      const service = await connect(transport, { policy, trust: { roots: [running.platform.root] }, role: 'broker', now: running.clock.now })
      expect(service.report.descriptor).toMatchObject({ role: 'broker', extensions: { kbs: { protocol: '0.4.0', store: 'memory' } } })
      expect(service.verdict.simulated).toBe(true)
      transport.close()
    }
  })

  it('rotating gives the next version, revoking none, and putting again counts on', async () => {
    const name = 'models/rotated/key'
    await running.put(name)
    const next = new Uint8Array(32).fill(9)
    expect((await running.tell('POST', 'rotate', { resource: name, value: toBase64(next) })).json).toMatchObject({ version: 2, revoked: false })
    expect(await requestResource(askOf(running, name))).toEqual(next)
    expect((await running.tell('POST', 'revoke', { resource: name })).json).toMatchObject({ version: 2, revoked: true })
    expect(await outcomeOf(askOf(running, name))).toBe('kbs_resource_revoked')
    expect(await running.put(name)).toBe(3)
    expect(await outcomeOf(askOf(running, name))).toBe('released')
  })
})

describe('policies of resources', () => {
  it('S15: simulated evidence is refused at a production policy, also by a broker that is itself simulated', async () => {
    await running.put('models/production/key', { policy: policyText({ simulated: 'refuse' }) })
    expect(await outcomeOf(askOf(running, 'models/production/key'))).toBe('policy_simulated')
    expect(running.store.state.refusals.at(-1)).toMatchObject({ code: 'policy_simulated', resource: 'models/production/key', simulated: true })
    // The demo resource beside it stays available: one policy does not speak for another.
    expect(await outcomeOf(askOf(running, 'models/demo/1'))).toBe('released')
  })

  it('S7: evidence of another role never gets a resource, though the policy has a section for that role', async () => {
    const both = JSON.parse(policyText()) as { roles: Record<string, unknown> }
    both.roles.controller = both.roles.worker
    await running.put('models/roles/key', { policy: JSON.stringify(both) })
    for (const role of ['controller', 'broker', 'validator'] as const)
      expect(await outcomeOf(askOf(running, 'models/roles/key', { descriptor: descriptorOf(role) }))).toBe('policy_role')
    expect(await outcomeOf(askOf(running, 'models/roles/key'))).toBe('released')
  })

  it.each([
    ['another MRENCLAVE', {}, { of: enclaves.other }, 'policy_identity'],
    ['a debug enclave', {}, { of: { ...enclaves.worker, debug: true } }, 'policy_debug'],
    ['a model that is not listed', { models: { demo: [`sha256:${'11'.repeat(32)}`] } }, { descriptor: withModel('other') }, 'policy_models'],
    ['a model that is listed', { models: { demo: [`sha256:${'11'.repeat(32)}`] } }, { descriptor: withModel('demo') }, 'released'],
    [
      'an older collateral than wanted',
      { tcb: { statuses: ['UpToDate'], advisories: [], minTcbEvaluationDataNumber: 9999, gracePeriod: 0 } },
      {},
      'policy_evaluation_number',
    ],
  ] as const)('S7: %s', async (title, section, ask, expected) => {
    const name = `models/policy/${title.replaceAll(' ', '-')}`
    await running.put(name, { policy: policyText(section as Parameters<typeof policyText>[0]) })
    expect(await outcomeOf(askOf(running, name, ask))).toBe(expected)
  })

  it('S7: a policy is refused at the door that has no section for workers, or demands what evidence cannot show', async () => {
    const body = { resource: 'models/refused/key', value: toBase64(secret) }
    const put = async (policy: string, evidence: string) => said(await running.tell('POST', 'resources', { ...body, policy, evidence }))
    const error = async (policy: string, evidence: string) =>
      ((await running.tell('POST', 'resources', { ...body, policy, evidence })).json as { error: { code: string } }).error.code
    expect(await error(policyText({}, 'controller'), 'veritee')).toBe('policy_role_missing')
    expect(await error('{"version":"veritee.policy.v1"}', 'veritee')).toBe('policy_invalid')
    for (const evidence of ['quote', 'veritee']) expect(await error(policyText({ operator: ['aa'.repeat(32)] }), evidence)).toBe('policy_unsupported')
    expect(await error(policyText({ models: { demo: [`sha256:${'11'.repeat(32)}`] } }), 'quote')).toBe('policy_unsupported')
    expect(await error(policyText({ log: { origin: 'x', key: 'y', witnesses: ['w'], quorum: 1 } }), 'veritee')).toBe('policy_unsupported')
    expect(await put(policyText(), 'none')).toMatch(/^400/)
  })

  it('S15: a simulator of somebody else is no root at all', async () => {
    const foreign = await createSimPlatform({ at: running.clock.now() })
    const asked = askOf({ ...running, platform: foreign }, 'models/demo/1')
    expect(await outcomeOf(asked)).toBe('chain_untrusted')
  })
})

function withModel(name: string) {
  const files = [{ name: 'weights.gguf', sha256: `sha256:${'11'.repeat(32)}`, size: 1 }]
  return descriptorOf('worker', { models: [{ name, files, format: 'gguf', sealed: true, chat_template_digest: null }] })
}

describe('the admin interface', () => {
  it.each([
    ['none', ''],
    ['a wrong one of the same length', adminToken.replace('0001', '0002')],
    ['a prefix', adminToken.slice(0, -1)],
    ['more', `${adminToken}1`],
  ])('S22: refuses %s as credential', async (_title, token) => {
    const fresh = await startBroker()
    try {
      for (const [method, path] of [
        ['GET', 'resources'],
        ['GET', 'audit'],
        ['POST', 'resources'],
        ['POST', 'revoke'],
        ['GET', 'nothing'],
      ] as const)
        expect((await fresh.tell(method, path, method === 'POST' ? {} : undefined, token)).status).toBe(401)
    } finally {
      await fresh.close()
    }
  })

  it('S22: is not on the listener of the protocol, nor there without a credential', async () => {
    const headers = { authorization: `Bearer ${adminToken}` }
    expect((await send(running.kbs.url, { method: 'GET', path: '/admin/v1/resources', headers })).status).toBe(404)
    const closed = await startBroker({ adminToken: null })
    expect(closed.broker.admin).toBeNull()
    await closed.close()
    await expect(startBroker({ adminToken: 'too short' })).rejects.toThrow(TypeError)
  })

  it('S22: guesses are limited', async () => {
    const fresh = await startBroker()
    const statuses = []
    for (let i = 0; i < 12; i++) statuses.push((await fresh.tell('GET', 'audit', undefined, 'x'.repeat(40))).status)
    expect(statuses.slice(0, 10)).toEqual(Array(10).fill(401))
    expect(statuses.at(-1)).toBe(429)
    // Who has it is not locked out by those who guess.
    expect((await fresh.tell('GET', 'audit')).status).toBe(200)
    await fresh.close()
  })

  it('never gives a value back, and lists what is there', async () => {
    const listed = await running.tell('GET', 'resources')
    const audit = await running.tell('GET', 'audit')
    expect((listed.json as { resources: { resource: string }[] }).resources.map(({ resource }) => resource)).toContain('models/demo/1')
    for (const { text } of [listed, audit]) expect(text).not.toContain(toBase64(secret).slice(0, 20))
  })

  it('refuses what is no request: other shapes, sizes, names, and a resource that exists', async () => {
    const body = { resource: 'models/demo/1', value: toBase64(secret), policy: policyText(), evidence: 'veritee' }
    const code = async (changes: object, path = 'resources') => {
      const { status, json } = await running.tell('POST', path, { ...body, ...changes })
      return `${status} ${(json as { error: { code: string } }).error.code}`
    }
    expect(await code({})).toBe('409 broker_resource_exists')
    expect(await code({ more: 1 })).toBe('400 kbs_request_malformed')
    for (const resource of ['../../etc', 'a/b', 'a/b/c/d', 'a/../c', './b/c', '', 'a/b/c\n', `a/b/${'c'.repeat(65)}`])
      expect(await code({ resource }), resource).toBe('400 kbs_request_malformed')
    expect(await code({ resource: 'models/big/key', value: toBase64(new Uint8Array(65_537)) })).toBe('413 broker_limit')
    expect(await code({ resource: 'models/big/key', value: '' })).toBe('413 broker_limit')
    expect(await code({ resource: 'models/big/key', value: 'not base64' })).toBe('413 broker_limit')
    expect(await code({ resource: 'models/big/key', policy: 'x'.repeat(1 << 20) })).toBe('413 body_too_large')
    expect((await running.tell('POST', 'revoke', { resource: 'models/never/was' })).status).toBe(404)
    expect((await running.tell('POST', 'rotate', { resource: 'models/never/was', value: toBase64(secret) })).status).toBe(404)
  })

  it('a policy is never put before an older value: it comes with a new one', async () => {
    await running.put('models/terms/key', { policy: policyText({ simulated: 'refuse' }) })
    const weaker = { resource: 'models/terms/key', policy: policyText(), evidence: 'veritee' }
    expect((await running.tell('POST', 'rotate', weaker)).status).toBe(400)
    const again = { ...weaker, value: toBase64(new Uint8Array(32).fill(7)) }
    expect((await running.tell('POST', 'rotate', again)).json).toMatchObject({ version: 2 })
    expect(await requestResource(askOf(running, 'models/terms/key'))).toEqual(new Uint8Array(32).fill(7))
  })
})

it('the descriptor of the broker names the key of its tokens', async () => {
  const report = parseReport(await running.broker.identity.report(null))
  const kbs = report.descriptor.extensions.kbs as { token_key: string }
  expect(Object.keys(kbs).sort()).toEqual(['protocol', 'roots', 'simulated_roots', 'store', 'token_key'])
  expect(kbs.token_key).toMatch(/^sha256:[0-9a-f]{64}$/)
})
