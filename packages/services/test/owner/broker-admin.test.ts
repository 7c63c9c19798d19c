import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { toBase64 } from 'veritee/bytes'
import { parsePolicy } from 'veritee/policy'
import { type ReleaseSeen, withReleases } from 'veritee/release'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createMakers, enclaveOf } from '../../../veritee/test/release/makers.ts'
import { type BrokerAdminOptions, openBrokerAdmin } from '../../src/owner/broker-admin.ts'
import { adminToken, askOf, enclaves, outcomeOf, policyText, type RunningBroker, secret, startBroker } from '../broker/system.ts'

let running: RunningBroker
beforeAll(async () => {
  running = await startBroker()
})
afterAll(() => running.close())

const optionsOf = (changes: Partial<BrokerAdminOptions> = {}): BrokerAdminOptions => ({
  url: running.admin.url,
  policy: parsePolicy(policyText({}, 'broker', enclaves.broker)),
  trust: { roots: [running.platform.root] },
  token: adminToken,
  now: running.clock.now,
  ...changes,
})

const offer = { resource: 'models/owned/1', value: secret, policy: policyText(), evidence: 'veritee' } as const

describe("the model owner's side of a key broker", () => {
  it('puts, rotates, revokes, lists, and reads the trail', async () => {
    const admin = await openBrokerAdmin(optionsOf())
    try {
      expect(admin.service.verdict.simulated).toBe(true)
      expect(await admin.put(offer)).toMatchObject({ resource: 'models/owned/1', version: 1, revoked: false, evidence: 'veritee' })
      expect(await outcomeOf(askOf(running, 'models/owned/1'))).toBe('released')
      expect(await admin.rotate({ resource: 'models/owned/1', value: new Uint8Array(32).fill(3) })).toMatchObject({ version: 2 })
      expect(
        await admin.rotate({ resource: 'models/owned/1', value: secret, policy: policyText({ simulated: 'refuse' }), evidence: 'veritee' }),
      ).toMatchObject({ version: 3 })
      expect(await outcomeOf(askOf(running, 'models/owned/1'))).toBe('policy_simulated')
      expect(await admin.revoke('models/owned/1')).toMatchObject({ version: 3, revoked: true })
      expect(await admin.resources()).toMatchObject([{ resource: 'models/owned/1', revoked: true }])
      const { audit, refusals } = await admin.audit()
      expect(audit.map((line) => (line as { event: string }).event)).toEqual(['put', 'release', 'rotate', 'rotate', 'revoke'])
      expect(refusals).toMatchObject([{ code: 'policy_simulated' }])
    } finally {
      admin.close()
    }
  })

  it('S25: the broker is judged by a release statement, where the policy demands one', async () => {
    const makers = await createMakers(Math.floor(running.clock.now().getTime() / 1000) - 60)
    const { mrenclave, isvProdId, isvSvn } = enclaves.broker
    const own = enclaveOf({ role: 'broker', cpu_variant: null, mrenclave, isv_prod_id: isvProdId, isv_svn: isvSvn })
    const demanding = parsePolicy(policyText({ identity: 'released', release: makers.demand }, 'broker', enclaves.broker))
    const given = async (changes: object) =>
      withReleases(demanding, [{ statement: await makers.statement({ enclaves: [own], ...changes }), proof: null }])
    const admin = await openBrokerAdmin(optionsOf({ policy: await given({}) }))
    expect(await admin.resources()).toBeInstanceOf(Array)
    admin.close()
    await expect(openBrokerAdmin(optionsOf({ policy: demanding }))).rejects.toMatchObject({ code: 'policy_release' })
    await expect(openBrokerAdmin(optionsOf({ policy: await given({ withdrawn: ['0.1.0'] }) }))).rejects.toMatchObject({ code: 'release_withdrawn' })
    // Without one in the hand of the owner, by what the broker shows.
    let shown = await makers.statement({ enclaves: [own] })
    const showing = await startBroker({
      platform: running.platform,
      clock: running.clock,
      releases: () => `{"statements":[{"proof":null,"statement":${shown}}],"version":"veritee.releases.v1"}`,
    })
    const options = { ...optionsOf({ policy: demanding }), url: showing.admin.url, trust: { roots: [showing.platform.root] } } as const
    const kept = new Map<string, ReleaseSeen>()
    const releases = {
      get: async (keySet: string) => kept.get(keySet) ?? null,
      put: async (keySet: string, seen: ReleaseSeen) => void kept.set(keySet, seen),
    }
    const other = await openBrokerAdmin({ ...options, releases })
    expect(await other.resources()).toEqual([])
    other.close()
    shown = await makers.statement({ enclaves: [own], sequence: 6 })
    await expect(openBrokerAdmin({ ...options, releases })).rejects.toMatchObject({ code: 'release_rolled_back' })
    await showing.close()
  })

  it.each([
    ['a resource that exists', { ...offer, resource: 'models/twice/1' }, 'broker_resource_exists'],
    ['a value of no bytes', { ...offer, resource: 'models/empty/1', value: new Uint8Array() }, 'broker_limit'],
    ['a policy without a section for workers', { ...offer, resource: 'models/roles/1', policy: policyText({}, 'controller') }, 'policy_role_missing'],
    ['a name that is none', { ...offer, resource: 'models' }, 'kbs_request_malformed'],
  ])("throws the broker's code for %s", async (_title, wrong, code) => {
    const admin = await openBrokerAdmin(optionsOf())
    try {
      if (code === 'broker_resource_exists') await admin.put(wrong)
      await expect(admin.put(wrong)).rejects.toMatchObject({ code })
      await expect(admin.revoke('models/never/was')).rejects.toMatchObject({ code: 'kbs_resource_unknown' })
    } finally {
      admin.close()
    }
  })

  it('S22: another credential is refused by its code', async () => {
    const admin = await openBrokerAdmin(optionsOf({ token: adminToken.replace('0001', '0002') }))
    await expect(admin.put(offer)).rejects.toMatchObject({ code: 'broker_credential_invalid' })
    admin.close()
  })
})

describe('a broker that answers what is no answer', () => {
  it.each([
    ['no JSON', 200, '{', 'service_refused'],
    ['a list', 200, '[]', 'service_refused'],
    ['other members', 200, '{"resources":7}', 'service_refused'],
    ['a resource of another shape', 200, '{"resources":[{"resource":"a/b/c"}]}', 'service_refused'],
    ['a member twice', 200, '{"resources":[],"resources":[]}', 'service_refused'],
    ['too deep a document', 200, `{"resources":${'['.repeat(20)}${']'.repeat(20)}}`, 'service_refused'],
    ['an error without a body', 500, '', 'service_refused'],
    ['an error of another shape', 400, '{"error":"x"}', 'service_refused'],
    ['an error with a code that is none', 400, '{"error":{"code":"__proto__","message":"x"}}', 'service_refused'],
    ['a redirect', 302, '', 'service_refused'],
    ['more than the bound', 200, ' '.repeat((16 << 20) + 1), 'response_too_large'],
    ['another keyset', 200, '{"resources":[]}', 'keyset_changed'],
  ])('%s', async (title, status, body, code) => {
    const { identity } = running.broker
    const server = createServer(identity.tls, (request, response) => {
      const nonce = new URL(request.url ?? '/', 'https://x').searchParams.get('nonce')
      if (nonce !== null) return void identity.report(nonce).then((report) => response.end(report))
      const headers = title === 'another keyset' ? { 'x-aci-keyset-digest': `sha256:${'0'.repeat(64)}` } : { location: 'https://127.0.0.1:1/' }
      return void response.writeHead(status, headers).end(body)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const admin = await openBrokerAdmin(optionsOf({ url: `https://127.0.0.1:${(server.address() as AddressInfo).port}` }))
    await expect(admin.resources()).rejects.toMatchObject({ code })
    admin.close()
    server.close()
    server.closeAllConnections()
  })
})

describe('a broker that is not the one wanted', () => {
  it.each<[string, () => Partial<BrokerAdminOptions>, string]>([
    ['another program', () => ({ policy: parsePolicy(policyText({}, 'broker', enclaves.other)) }), 'policy_identity'],
    [
      'simulated evidence under a production policy',
      () => ({ policy: parsePolicy(policyText({ simulated: 'refuse' }, 'broker', enclaves.broker)) }),
      'policy_simulated',
    ],
    ['a policy for workers only', () => ({ policy: parsePolicy(policyText({}, 'worker', enclaves.broker)) }), 'policy_role_missing'],
    ['plain HTTP', () => ({ url: running.admin.url.replace('https:', 'http:') }), 'usage'],
  ])('S13: %s: refused', async (_title, changes, code) => {
    await expect(openBrokerAdmin(optionsOf(changes()))).rejects.toMatchObject({ code })
  })

  it('S13: neither key nor credential leaves before the broker is verified, nor to another TLS key than its keyset lists', async () => {
    const seen: string[] = []
    let relay = true
    // Somebody in between, with a TLS key of its own, who hands the genuine report on.
    const other = await startBroker({ platform: running.platform })
    const between = createServer(other.broker.identity.tls, (request, response) => {
      let body = ''
      request.on('data', (part) => {
        body += String(part)
      })
      request.on('end', () => {
        seen.push(`${request.url} ${request.headers.authorization ?? ''} ${body}`)
        const nonce = new URL(request.url ?? '/', 'https://x').searchParams.get('nonce')
        if (!relay) response.end('{}')
        else void running.broker.identity.report(nonce).then((report) => response.end(report))
      })
    })
    await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve))
    const url = `https://127.0.0.1:${(between.address() as AddressInfo).port}`
    await expect(openBrokerAdmin(optionsOf({ url }))).rejects.toMatchObject({ code: 'channel_mismatch' })
    relay = false
    await expect(openBrokerAdmin(optionsOf({ url }))).rejects.toMatchObject({ code: 'report_malformed' })
    expect(seen).toHaveLength(2)
    for (const text of seen) {
      expect(text).not.toContain(adminToken)
      expect(text).not.toContain(toBase64(secret))
    }
    between.close()
    between.closeAllConnections()
    await other.close()
  })

  it('S13: what was verified too long ago is verified again before anything is sent', async () => {
    const admin = await openBrokerAdmin(optionsOf())
    running.clock.forward(601)
    await expect(admin.put({ ...offer, resource: 'models/late/1' })).rejects.toMatchObject({ code: 'policy_attestation_age' })
    admin.close()
    const again = await openBrokerAdmin(optionsOf())
    expect((await again.resources()).map(({ resource }) => resource)).not.toContain('models/late/1')
    again.close()
  })
})
