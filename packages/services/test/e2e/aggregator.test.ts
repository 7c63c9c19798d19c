import { jcsDigest, sha256Digest, utf8 } from 'veritee/bytes'
import { nodeTransport, type Transport } from 'veritee/client'
import { eventOf, parseReceipt, type Receipt } from 'veritee/receipt'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { admit, startController } from '../../src/demo/system.ts'
import { bytesOf, type Network, now, startNetwork } from './network.ts'

/** The rules of aci/1 for aggregators (its sections 4.1, 5.2, 5.3, 7.5 and 8), one test each where nothing else shows them. */

let network: Network
let transport: Transport
beforeAll(async () => {
  network = await startNetwork()
  transport = nodeTransport(network.controller.api.url)
})
afterAll(async () => {
  transport.close()
  await network.close()
})

const messages = '"messages":[{"role":"user","content":"Hello!"}]'
const bodyOf = (provider: string, more = ''): string => `{"model":"veritee-demo",${messages}${more},"provider":${provider}}`

interface Answered {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: Buffer
  readonly receipt: Receipt
}

async function asked(body: string): Promise<Answered> {
  const { status, headers, ...answer } = await transport.send({ method: 'POST', path: '/v1/chat/completions', body: utf8(body) })
  const bytes = await bytesOf({ status, headers, ...answer })
  return { status, headers, body: bytes, receipt: parseReceipt(await got(`/v1/aci/receipts/${headers['x-receipt-id']}`)) }
}

async function got(path: string): Promise<string> {
  return (await bytesOf(await transport.send({ method: 'GET', path }))).toString()
}

async function sessions(query = ''): Promise<{ session_id: string; evidence: object }[]> {
  const { api_version, sessions: found } = JSON.parse(await got(`/v1/aci/sessions${query}`)) as { api_version: string; sessions: [] }
  expect(api_version).toBe('aci/1')
  return found
}

/** What every refusal has: the headers, and a signed record of exactly this answer that says that nothing was served. */
async function expectRefusal({ headers, body, receipt }: Answered): Promise<void> {
  expect(headers).toMatchObject({ 'x-aci-version': 'aci/1', 'x-aci-keyset-digest': receipt.keysetDigest })
  expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(await sha256Digest(body))
  expect(eventOf(receipt, 'veritee.outcome')?.outcome).toBe('refused')
}

test('section 4.1: a controller serves as an aggregator, a worker directly', async () => {
  const worker = nodeTransport(network.worker.server.url)
  const serving = async (of: Transport): Promise<unknown> =>
    (JSON.parse((await bytesOf(await of.send({ method: 'GET', path: '/v1/aci/attestation' }))).toString()) as { service_capabilities: object })
      .service_capabilities
  expect(await serving(transport)).toMatchObject({ serving: 'aggregator' })
  expect(await serving(worker)).toMatchObject({ serving: 'direct' })
  worker.close()
})

test.for([
  ['aci_verified', '{"aci_verified":true}'],
  ['aci_verified false, which leaves the rule of this controller as it is', '{"aci_verified":false}'],
  ['members of provider that are not of aci/1', '{"order":["a"]}'],
] as const)('section 5.3: %s is served by a verified worker', async ([, provider]) => {
  const { status, receipt } = await asked(bodyOf(provider))
  expect(status).toBe(200)
  expect(eventOf(receipt, 'upstream.verified')).toMatchObject({ result: 'verified', required: true, session_id: network.sessionId })
})

test('section 5.3: constraints are not forwarded, and the rest of provider is', async () => {
  const { receipt } = await asked(bodyOf('{"aci_verified":true,"order":["a"]}'))
  expect(eventOf(receipt, 'request.forwarded')?.body_hash).toBe(await sha256Digest(utf8(bodyOf('{"order":["a"]}'))))
})

test('section 5.3: a pin beside others that cannot serve is enough; an empty list, or one of no ids, is no list', async () => {
  expect((await asked(bodyOf(`{"aci_session_ids":["${'0'.repeat(64)}","${network.sessionId}"]}`))).status).toBe(200)
  for (const list of ['[]', '["x"]', '"x"', `["${network.sessionId.toUpperCase()}"]`]) {
    const answer = await transport.send({ method: 'POST', path: '/v1/chat/completions', body: utf8(bodyOf(`{"aci_session_ids":${list}}`)) })
    expect([answer.status, (await bytesOf(answer)).toString()]).toEqual([400, expect.stringContaining('invalid_request_error')])
  }
})

test('section 8: a session is addressed by its content, abbreviated in lists, and one of another model is not among them', async () => {
  const [entry, ...others] = await sessions('?model=veritee-demo')
  expect(others).toEqual([])
  expect(entry).toMatchObject({ session_id: network.sessionId, evidence: { digest: expect.stringMatching(/^sha256:/) as string } })
  expect(entry?.evidence).not.toHaveProperty('data')
  const document = JSON.parse(await got(`/v1/aci/sessions/${network.sessionId}`)) as { upstream_name: string }
  expect(await jcsDigest(document)).toBe(`sha256:${network.sessionId}`)
  expect(document).not.toHaveProperty('session_id')
  expect(await sessions('?model=other')).toEqual([])
  expect(await sessions(`?upstream_name=${encodeURIComponent(document.upstream_name)}`)).toHaveLength(1)
  expect(await sessions('?upstream_name=other')).toEqual([])
})

test('section 8: verifying again makes a new session and leaves the old one as it was, but no longer to be pinned', async () => {
  const before = await got(`/v1/aci/sessions/${network.sessionId}`)
  await asked(bodyOf('{}'))
  const next = await admit(network.controller, network.worker)
  expect(next).not.toBe(network.sessionId)
  expect(await got(`/v1/aci/sessions/${network.sessionId}`)).toBe(before)
  expect((await sessions()).map(({ session_id }) => session_id)).toEqual([next])
  const refused = await asked(bodyOf(`{"aci_session_ids":["${network.sessionId}"]}`))
  expect(refused.status).toBe(412)
  expect(eventOf(refused.receipt, 'upstream.verified')).toMatchObject({ result: 'failed', required: true, model_id: 'veritee-demo' })
  await expectRefusal(refused)
  expect(eventOf((await asked(bodyOf('{}'))).receipt, 'upstream.verified')).toMatchObject({ session_id: next })
})

test("section 7.5: the worker's own refusal comes under a receipt that cites its session", async () => {
  const refused = await asked(bodyOf('{}', ',"best_of":3'))
  expect([refused.status, refused.body.toString()]).toEqual([400, expect.stringContaining('best_of')])
  expect(eventOf(refused.receipt, 'upstream.verified')).toMatchObject({ result: 'verified' })
  expect(eventOf(refused.receipt, 'veritee.upstream_receipt')).toMatchObject({ result: 'absent' })
  await expectRefusal(refused)
})

test("section 7.6: the worker's receipt that one cites needs the same credential, by whatever id, and so do prefix proofs", async () => {
  const authorization = 'Bearer key-one'
  const answer = await transport.send({
    method: 'POST',
    path: '/v1/responses',
    headers: { authorization },
    body: utf8('{"model":"veritee-demo","input":"Hello!","stream":true,"temperature":0}'),
  })
  const id = answer.headers['x-receipt-id'] ?? ''
  const [, responseId = ''] = /"id":"(resp_\w+)"/.exec((await bytesOf(answer)).toString()) ?? []
  const statusOf = async (path: string, key?: string): Promise<number> =>
    (await transport.send({ method: 'GET', path, headers: key === undefined ? {} : { authorization: key } })).status
  for (const path of [id, responseId].flatMap((one) => [`/v1/aci/receipts/${one}`, `/v1/veritee/receipts/${one}/upstream`]))
    for (const query of ['', '?prefix=1'])
      expect([await statusOf(path + query), await statusOf(path + query, 'Bearer key-two'), await statusOf(path + query, authorization)]).toEqual([
        401, 404, 200,
      ])
})

test('section 7.1: a stream that is left has a receipt, over the events that were sent', async () => {
  const story = '"messages":[{"role":"user","content":"Tell me a story about a dragon named Ruby."}]'
  const answer = await transport.send({
    method: 'POST',
    path: '/v1/chat/completions',
    body: utf8(`{"model":"veritee-demo",${story},"stream":true}`),
  })
  for await (const _ of answer.body) break
  const receipt = parseReceipt(await got(`/v1/aci/receipts/${answer.headers['x-receipt-id']}`))
  expect(eventOf(receipt, 'veritee.outcome')?.outcome).toBe('aborted')
  expect(eventOf(receipt, 'veritee.stream')?.events).toBeGreaterThan(0)
  expect(eventOf(receipt, 'veritee.upstream_receipt')?.result).toBe('match')
})

test('section 5.3: where no verified worker serves the model, the refusal is 503, with a receipt', async () => {
  const [worker] = network.controller.controller.registry.all()
  if (worker === undefined) throw new Error('no worker')
  network.controller.controller.registry.quarantine(worker, 'for this test', 'session')
  const refused = await asked(bodyOf('{"aci_verified":true}'))
  expect(refused.status).toBe(503)
  expect(refused.headers['retry-after']).toBe('5')
  expect(JSON.parse(refused.body.toString())).toMatchObject({ error: { type: 'upstream_verification_failed' } })
  expect(eventOf(refused.receipt, 'request.forwarded')).toBeUndefined()
  await expectRefusal(refused)
  expect(await sessions()).toEqual([])
  await admit(network.controller, network.worker)
})

test('a controller that knows no worker does not know which models there are: 503, which clients ask again, and not 404', async () => {
  const bare = await startController(network.machine, network.policy, { api: 0, control: 0 }, now)
  const answer = await fetch(`${bare.api.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify({ model: 'veritee-demo', messages: [] }) })
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
  expect(await answer.json()).toMatchObject({ error: { type: 'upstream_verification_failed' } })
  await bare.controller.close()
  for (const one of [bare.api, bare.control]) await one.close()
})
