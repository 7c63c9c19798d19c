import { describe, expect, it } from 'vitest'
import { intelSgxRootCa } from '../../src/attestation/index.ts'
import { connect, fetchText, nodeTransport, RejectedError, type Transport } from '../../src/client/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { judgedAt, measured, nonceOf, start } from '../receipt/enclaves.ts'
import { policyOf } from '../receipt/scenario.ts'
import { serveHttp, serveHttps, tlsIdentity } from './servers.ts'
import { apiKey, connected, fakeService, optionsFor, strictChannel } from './service.ts'

describe('connect', () => {
  it('verifies over loopback, sends one GET and nothing of the caller’s, and keeps what a third party needs', async () => {
    const fake = await fakeService()
    const service = await connected(fake, { apiKey })
    expect(fake.requests).toEqual(['GET /v1/aci/attestation'])
    expect(fake.credentials).toEqual([undefined])
    expect(service.report.keysetDigest).toBe(fake.controller.digest)
    expect(service.report.fresh).toBe(true)
    expect(service.reportText).toContain(service.nonce)
    expect(service.verdict).toMatchObject({ verdict: 'accepted', simulated: true })
  })
  it('draws another nonce each time', async () => {
    const fake = await fakeService()
    expect((await connected(fake)).nonce).not.toBe((await connected(fake)).nonce)
  })
  it('over TLS to the attested key is a channel; to any other key it is channel_mismatch', async () => {
    const tls = await tlsIdentity()
    const fake = await fakeService({}, tls)
    const service = await connected(fake, { policy: strictChannel() })
    expect(service.verdict.checks.find(({ id }) => id === 'policy.channel')?.status).toBe('pass')
    // Somebody stands between, relays the genuine report and has a key of his own.
    const stranger = await tlsIdentity()
    const relay = await serveHttps(stranger, async (request, response) => {
      const upstream = nodeTransport(fake.url)
      response.end(await fetchText(upstream, { method: 'GET', path: request.url ?? '/' }, 1 << 20))
      upstream.close()
    })
    expect(await refusal(() => connected(relay, { policy: strictChannel() }))).toBe('channel_mismatch')
  })
  it('plain HTTP is a channel for policies that say loopback only, and on loopback only', async () => {
    const fake = await fakeService()
    expect(await refusal(() => connected(fake, { policy: strictChannel() }))).toBe('policy_channel')
    const far: Transport = { ...nodeTransport(fake.url), loopback: false }
    expect(await refusal(async () => connect(far, await optionsFor()))).toBe('policy_channel')
  })
  it('rejects with a verdict that lists every check', async () => {
    const fake = await fakeService()
    const policy = policyOf({}, { identity: [{ mrenclave: measured('other').mrenclave }] })
    const error = await connected(fake, { policy }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(RejectedError)
    expect(error).toMatchObject({ code: 'policy_identity', verdict: { verdict: 'rejected' } })
    expect((error as RejectedError).verdict?.checks.length).toBeGreaterThan(30)
  })
  it.each<[string, Parameters<typeof fakeService>[0], string]>([
    ['a report over another nonce', { report: (text) => text.replaceAll(/"nonce":"[0-9a-f]{64}"/g, `"nonce":"${nonceOf('other')}"`) }, 'accepted'],
    ['an edited keyset', { report: (text) => text.replace('"receipt-1"', '"receipt-2"') }, 'report_keyset_mismatch'],
    [
      'an edited descriptor',
      { report: (text) => text.replace('"operator_key":null', `"operator_key":"${nonceOf('x')}"`) },
      'report_descriptor_mismatch',
    ],
    ['another way of serving', { report: (text) => text.replace('"serving":"aggregator"', '"serving":"direct"') }, 'report_malformed'],
    ['no JSON', { report: () => '<html>' }, 'report_malformed'],
    ['an error', { answers: { '/v1/aci/attestation': { status: 503, body: '{"error":{"message":"busy"}}' } } }, 'service_refused'],
    ['a report past its bound', { report: (text) => text + ' '.repeat(1 << 20) }, 'response_too_large'],
  ])('meets %s', async (_, behaviour, code) => {
    expect(await refusal(async () => connected(await fakeService(behaviour)))).toBe(code)
  })
  it('a replayed report of the same service is refused: the nonce is this connection’s own', async () => {
    const fake = await fakeService()
    const { reportText } = await connected(fake)
    fake.behaviour.report = () => reportText
    expect(await refusal(() => connected(fake))).toBe('report_nonce_mismatch')
  })
  it('S15: without the simulator’s root among the trusted ones nothing is accepted', async () => {
    expect(await refusal(async () => connected(await fakeService(), { trust: { roots: [intelSgxRootCa] } }))).toBe('chain_untrusted')
  })
  it('S7: a service of another role is refused, and so is a policy without the role', async () => {
    const fake = await fakeService()
    const { controller } = policyOf().roles
    const asWorker = { version: 'veritee.policy.v1' as const, roles: { worker: controller } } as ReturnType<typeof policyOf>
    expect(await refusal(() => connected(fake, { role: 'worker', policy: asWorker }))).toBe('policy_role')
    const before = fake.requests.length
    expect(await refusal(() => connected(fake, { role: 'broker' }))).toBe('policy_role_missing')
    expect(fake.requests.length).toBe(before)
  })
  it('S25: the age of an attestation counts from the drawing of the nonce, however slowly the report comes', async () => {
    let now = judgedAt
    const fake = await fakeService({ beforeReport: () => (now = new Date(judgedAt.getTime() + 120_000)) })
    expect(await refusal(() => connected(fake, { now: () => now, policy: policyOf({}, { maxAttestationAge: 60 }) }))).toBe('policy_attestation_age')
    now = judgedAt
    expect((await connected(fake, { now: () => now })).attestedAt).toEqual(judgedAt)
  })
  it('a keyset that has ended is refused', async () => {
    expect(await refusal(async () => connected(await fakeService(), { now: () => new Date(start.getTime() + 86_400_000) }))).toBe('keyset_expired')
  })
  it('an API key is in no error message', async () => {
    const { url } = await serveHttp((request, response) =>
      response.writeHead(500).end(JSON.stringify({ error: { message: JSON.stringify(request.headers) } })),
    )
    const error = await connect(nodeTransport(url), await optionsFor({ apiKey })).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'service_refused' })
    expect(String((error as Error).message)).not.toContain(apiKey)
  })
})
