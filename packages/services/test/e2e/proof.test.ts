import { utf8 } from 'veritee/bytes'
import { ask, chatBody, connect, nodeTransport } from 'veritee/client'
import { eventOf, parseReceipt, receiptDigest } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { admit, startController, startWorker } from '../../src/demo/system.ts'
import { bytesOf, type Network, now, startNetwork } from './network.ts'

let network: Network
beforeAll(async () => {
  network = await startNetwork()
})
afterAll(() => network.close())

const endpoint = '/v1/chat/completions'
const body = (stream: boolean, prompt = 'Who are you?'): Uint8Array => chatBody('veritee-demo', prompt, { stream, temperature: 0 })

describe('a verified inference through a controller', () => {
  test.for([true, false])('every proof stands, stream %s', async (stream) => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    expect(service.verdict).toMatchObject({ verdict: 'accepted', scope: 'policy', simulated: true })
    const answer = await ask(service, endpoint, body(stream))
    expect(answer.proof).toMatchObject({ outcome: 'verified', simulated: true, inferenceOutcome: 'complete' })
    expect(answer.proof.model.files.map((file) => file.sha256)).toEqual([network.model.fileDigest])
    expect(answer.proof.session?.id).toBe(network.sessionId)
    expect(answer.proof.checks.map((check) => check.id)).toEqual(['receipt', 'session', 'worker.evidence', 'worker.receipt', 'model'])
    const inference = answer.proof.worker === null ? undefined : eventOf(answer.proof.worker.receipt, 'veritee.inference')
    expect(inference?.parameters).toMatchObject({ temperature: '0' })
    service.transport.close()
  })

  test('the controller keyset is bound by its own quote, and its session claims are honest about simulation', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    const { proof } = await ask(service, endpoint, body(false))
    expect(proof.session?.document.claims).toMatchObject({
      tee_attested: { status: 'refuted' },
      tcb_up_to_date: { status: 'unknown' },
      model_weights_provenance: { status: 'asserted', source: 'verifier_derived' },
      extra: { simulated: true },
    })
    service.transport.close()
  })

  test('S9: a stream that is left early is verified as a prefix, against controller and worker alike', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    let events = 0
    const answer = await ask(service, endpoint, body(true, 'Tell me a story about a dragon named Ruby.'), { onEvent: () => ++events < 5 })
    expect(answer.proof.outcome).toBe('verified-prefix')
    expect(events).toBe(5)
    const signed = eventOf(answer.proof.receipt, 'veritee.stream')
    expect(signed?.events).toBeGreaterThanOrEqual(5)
    expect(eventOf(answer.proof.receipt, 'veritee.upstream_receipt')?.result).toBe('match')
    expect(network.controller.controller.registry.all()[0]?.quarantine).toBeNull()
    service.transport.close()
  })

  test('S10: the client nonce is echoed by controller and worker, and two equal requests give receipts that are not interchangeable', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    const [first, second] = [await ask(service, endpoint, body(false)), await ask(service, endpoint, body(false))]
    for (const { proof, clientNonce } of [first, second]) {
      expect(eventOf(proof.receipt, 'veritee.request')?.client_nonce).toBe(clientNonce)
      expect(proof.worker === null ? null : eventOf(proof.worker.receipt, 'veritee.request')?.client_nonce).toBe(clientNonce)
    }
    expect(first.clientNonce).not.toBe(second.clientNonce)
    service.transport.close()
  })

  test('constraints are consumed, the bytes forwarded are recomputable, and a foreign pin is refused with a signed receipt', async () => {
    const service = await connect(nodeTransport(network.controller.api.url), network.options())
    const pinned = utf8(
      `{"provider": {"aci_session_ids":["${network.sessionId}"]}, "model":"veritee-demo","messages":[{"role":"user","content":"Hello!"}]}`,
    )
    expect((await ask(service, endpoint, pinned)).proof.outcome).toBe('verified')
    const foreign = utf8(
      `{"provider":{"aci_session_ids":["${'0'.repeat(64)}"]},"model":"veritee-demo","messages":[{"role":"user","content":"Hello!"}]}`,
    )
    const refused = await service.transport.send({ method: 'POST', path: endpoint, body: foreign })
    expect(refused.status).toBe(412)
    expect(JSON.parse((await bytesOf(refused)).toString())).toMatchObject({ error: { type: 'session_not_accepted' } })
    const receipt = await service.transport.send({ method: 'GET', path: `/v1/aci/receipts/${refused.headers['x-receipt-id']}` })
    const parsed = parseReceipt((await bytesOf(receipt)).toString())
    expect(eventOf(parsed, 'upstream.verified')).toMatchObject({ result: 'failed', required: true })
    expect(eventOf(parsed, 'request.forwarded')).toBeUndefined()
    service.transport.close()
  })

  test('receipts of one enclave form a chain without gaps', async () => {
    const service = await connect(nodeTransport(network.worker.server.url), network.options({ role: 'worker' }))
    const answers = [await ask(service, endpoint, body(false)), await ask(service, endpoint, body(true)), await ask(service, endpoint, body(false))]
    const links = answers.map(({ proof }) => eventOf(proof.receipt, 'veritee.chain'))
    for (const [i, link] of links.slice(1).entries()) {
      expect(link?.sequence).toBe((links[i]?.sequence ?? 0) + 1)
      expect(link?.previous).toBe(await receiptDigest((answers[i] as (typeof answers)[number]).proof.receipt))
    }
    service.transport.close()
  })
})

describe('a worker asked directly', () => {
  test('is a service of its own: TLS to its attested key, receipt with weights, no session', async () => {
    const service = await connect(nodeTransport(network.worker.server.url), network.options({ role: 'worker' }))
    expect(service.verdict.checks.find((check) => check.id === 'policy.channel')).toMatchObject({ status: 'pass' })
    const { proof } = await ask(service, endpoint, body(true))
    expect(proof).toMatchObject({ outcome: 'verified', session: null, worker: null, model: { name: 'veritee-demo' } })
    service.transport.close()
  })

  test('S7: evidence of one role never satisfies the policy of another', async () => {
    const error: unknown = await connect(nodeTransport(network.worker.server.url), network.options({ role: 'controller' })).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toMatchObject({ code: 'policy_identity' })
    const { worker } = network.policy.roles
    const asController = { ...network.policy, roles: { ...network.policy.roles, controller: worker } } as Network['policy']
    await expect(connect(nodeTransport(network.worker.server.url), network.options({ policy: asController }))).rejects.toMatchObject({
      code: 'policy_role',
    })
  })
})

describe('keys', () => {
  test('two enclaves never share keys', async () => {
    const other = await startWorker(network.machine, [network.model.served], 0, now)
    const keys = [network.worker, other].map(({ worker }) => worker.identity.keyset)
    const all = keys.flatMap((keyset) => [
      ...keyset.receipt_signing_keys.map((key) => key.public_key),
      ...keyset.tls_public_keys.map((key) => key.spki_sha256),
    ])
    expect(new Set(all).size).toBe(4)
    expect(other.worker.identity.keysetDigest).not.toBe(network.worker.worker.identity.keysetDigest)
    await other.server.close()
  })

  test('a restart changes the keyset digest and a client that verified before notices, before it relies on anything', async () => {
    const first = await startController(network.machine, network.policy, { api: 0, control: 0 }, now)
    await admit(first, network.worker)
    const { port } = first.api
    const service = await connect(nodeTransport(first.api.url), network.options())
    expect((await ask(service, endpoint, body(false))).proof.outcome).toBe('verified')
    await first.api.close()
    await first.control.close()
    const second = await startController(network.machine, network.policy, { api: port, control: 0 }, now)
    await admit(second, network.worker)
    expect(second.controller.identity.keysetDigest).not.toBe(service.report.keysetDigest)
    await expect(ask(service, endpoint, body(false))).rejects.toMatchObject({ code: 'keyset_changed' })
    const again = await connect(nodeTransport(second.api.url), network.options())
    expect((await ask(again, endpoint, body(false))).proof.outcome).toBe('verified')
    for (const stop of [second.api.close, second.control.close, second.controller.close, first.controller.close]) await stop()
  })
})
