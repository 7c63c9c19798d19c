import { utf8 } from 'veritee/bytes'
import { nodeTransport } from 'veritee/client'
import { type SealedRequest, sealRequest } from 'veritee/ehbp'
import { eventOf, parseReceipt, verifySealedExchange } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { admit, type RunningWorker, startWorker } from '../../src/demo/system.ts'
import { bytesOf, meddled, type Network, now, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath, exchangeOf, openClient, recordsOf, type SealingClient, sealTo, send } from './sealing-client.ts'

let network: Network
let client: SealingClient
let other: RunningWorker
let otherSession: string
beforeAll(async () => {
  network = await startNetwork()
  other = await startWorker(network.machine, [network.model.served], 0, now)
  otherSession = await admit(network.controller, other)
  client = await openClient(network, nodeTransport(network.controller.api.url))
}, 60_000)
afterAll(async () => {
  client.service.transport.close()
  await other.server.close()
  await network.close()
})

const code = async (run: () => Promise<unknown>): Promise<unknown> =>
  run().then(
    () => 'accepted',
    (error: unknown) => (error as { code?: unknown }).code,
  )
const sealed = (changes: Partial<SealedRequest['binding']> = {}): Promise<SealedRequest> => sealTo(network, client, chatBody(false), changes)
const post = (request: SealedRequest, path: string, headers: { [name: string]: string } = {}): ReturnType<typeof send> =>
  send(client.service.transport, request, path, headers)
const errorOf = (body: Buffer): unknown => (JSON.parse(body.toString()) as { error: { code: unknown } }).error.code
const quarantines = (): unknown[] => network.controller.controller.registry.all().map(({ quarantine }) => quarantine)

describe('S4: the key', () => {
  test('S4: of a session that names a genuine worker, but with the report of another one, is not believed', async () => {
    const swap = meddled(network.controller.api.url, {
      request: (request) => ({ ...request, path: request.path.replace(`/workers/${network.sessionId}/`, `/workers/${otherSession}/`) }),
    })
    expect(await code(() => openClient(network, swap))).toBe('session_mismatch')
    swap.close()
  })

  test('S4: in the report of the genuine worker, exchanged on the way, is not believed', async () => {
    const swap = meddled(network.controller.api.url, {
      response: ({ path }, body) =>
        path.includes('/workers/') ? Buffer.from(body.toString().replace(/("algo":"veritee\.ehbp[^}]*"public_key":")../, '$1ff')) : body,
    })
    expect(await code(() => openClient(network, swap))).toBe('report_keyset_mismatch')
    swap.close()
  })

  test('S4: of stale evidence is not believed', async () => {
    let kept: Buffer | null = null
    const replay = meddled(network.controller.api.url, {
      response: ({ path }, body) => {
        if (!path.includes('/workers/')) return body
        kept ??= body
        return kept
      },
    })
    expect(await code(() => openClient(network, replay))).toBe('accepted')
    expect(await code(() => openClient(network, replay))).toBe('report_nonce_mismatch')
    replay.close()
  })

  test('S4: from the well-known path is never asked for: no request of a sealing client names it', async () => {
    const watched = meddled(network.controller.api.url, {})
    await openClient(network, watched)
    expect(watched.sent.map(({ path }) => path).filter((path) => path.includes('well-known'))).toEqual([])
    watched.close()
  })

  test('S4: of the controller opens nothing at the worker', async () => {
    const publicKey = Buffer.from(network.controller.controller.identity.keyset.e2ee_public_keys[0]?.public_key ?? '', 'hex')
    const request = await sealRequest(
      { publicKey, keysetDigest: '' },
      { method: 'POST', model: 'veritee-demo', path: chatPath, session_id: network.sessionId },
      chatBody(false),
    )
    expect(await code(() => post(request, chatPath))).toBe('ehbp_stale_key')
  })
})

describe('S4: a body carried elsewhere', () => {
  test('S4: to another path is refused by the worker, encrypted and with a receipt', async () => {
    const answer = await post(await sealed({ path: chatPath }), '/v1/completions')
    expect(answer.status).toBe(400)
    expect(errorOf(answer.body)).toBe('ehbp_binding_mismatch')
    const records = await recordsOf(network, client, answer)
    const own = parseReceipt(records.workerReceipt)
    expect(eventOf(own, 'veritee.outcome')?.outcome).toBe('refused')
    expect(own.endpoint).toBe('/v1/completions')
    const exchange = await exchangeOf(network, answer, chatBody(false))
    expect(await code(() => verifySealedExchange(exchange, records, client.service.report, client.worker, now()))).toBe('receipt_transport_mismatch')
    expect(quarantines()).toEqual([null, null])
  })

  test('S4: under another nonce is refused by the worker', async () => {
    const answer = await post(await sealed(), chatPath, { 'x-veritee-nonce': 'ab'.repeat(32) })
    expect([answer.status, errorOf(answer.body)]).toEqual([400, 'ehbp_binding_mismatch'])
    expect(quarantines()).toEqual([null, null])
  })

  test('S4: to another worker opens nothing there', async () => {
    expect(await code(async () => post(await sealed(), chatPath, { 'x-veritee-session': otherSession }))).toBe('ehbp_stale_key')
    expect(quarantines()).toEqual([null, null])
  })

  test('S4: under another session of the same worker is refused by the worker, and not held against it', async () => {
    const answer = await post(await sealed({ session_id: otherSession }), chatPath, { 'x-veritee-session': network.sessionId })
    expect([answer.status, errorOf(answer.body)]).toEqual([400, 'ehbp_binding_mismatch'])
    expect(quarantines()).toEqual([null, null])
  })

  test('S4: with a line that names another model than the body is refused by the worker', async () => {
    const answer = await post(await sealed({ model: 'cheap-model' }), chatPath)
    expect([answer.status, errorOf(answer.body)]).toEqual([400, 'ehbp_binding_mismatch'])
  })

  test('S4: past the controller, straight to the worker without its session, is refused', async () => {
    const worker = nodeTransport(network.worker.server.url)
    const request = await sealed()
    const { 'x-veritee-session': _, ...without } = request.headers
    const refused = await send(worker, { ...request, headers: without }, chatPath)
    expect([refused.status, errorOf(refused.body)]).toEqual([400, 'ehbp_binding_mismatch'])
    worker.close()
  })

  test('S4: to a controller, without its line or with one of another request, is refused encrypted', async () => {
    const publicKey = Buffer.from(network.controller.controller.identity.keyset.e2ee_public_keys[0]?.public_key ?? '', 'hex')
    const toController = (path: string): Promise<SealedRequest> =>
      sealRequest({ publicKey, keysetDigest: '' }, { method: 'POST', model: 'veritee-demo', path, session_id: null }, chatBody(false))
    const good = await post(await toController(chatPath), chatPath)
    expect(good.status).toBe(200)
    const moved = await post(await toController('/v1/completions'), chatPath)
    expect([moved.status, errorOf(moved.body)]).toEqual([400, 'ehbp_binding_mismatch'])
    const { 'x-veritee-binding': _, ...headers } = (await toController(chatPath)).headers
    const request = await toController(chatPath)
    const stripped = await send(client.service.transport, { ...request, headers: { ...headers, 'ehbp-encapsulated-key': request.enc } }, chatPath)
    expect([stripped.status, errorOf(stripped.body)]).toEqual([400, 'malformed_json'])
  })
})

describe('S4: a body delivered twice', () => {
  test.for(['worker', 'controller'] as const)('S4: is opened once, at the %s', async (where) => {
    const publicKey = Buffer.from(network.controller.controller.identity.keyset.e2ee_public_keys[0]?.public_key ?? '', 'hex')
    const request =
      where === 'worker'
        ? await sealed()
        : await sealRequest(
            { publicKey, keysetDigest: '' },
            { method: 'POST', model: 'veritee-demo', path: chatPath, session_id: null },
            chatBody(false),
          )
    const answers = await Promise.all([post(request, chatPath), post(request, chatPath), post(request, chatPath)])
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 400, 400])
    expect(answers.filter(({ status }) => status === 400).map(({ body }) => errorOf(body))).toEqual(['ehbp_replayed', 'ehbp_replayed'])
    const again = await post(request, chatPath)
    expect([again.status, errorOf(again.body)]).toEqual([400, 'ehbp_replayed'])
    expect(quarantines()).toEqual([null, null])
  })
})

describe('S4: receipts', () => {
  test('S4: of the controller for one exchange, paired with the receipt of the worker for another, prove nothing', async () => {
    const body = chatBody(false)
    const [first, second] = [await post(await sealed(), chatPath), await post(await sealed(), chatPath)]
    const [ours, theirs] = [await recordsOf(network, client, first), await recordsOf(network, client, second)]
    const exchange = await exchangeOf(network, first, body)
    const verify = (records: typeof ours): Promise<unknown> =>
      code(() => verifySealedExchange(exchange, records, client.service.report, client.worker, now()))
    expect(await verify(ours)).toBe('accepted')
    expect(await verify({ ...ours, workerReceipt: theirs.workerReceipt })).toBe('receipt_upstream_mismatch')
    expect(await verify({ ...theirs, workerReceipt: ours.workerReceipt })).toBe('receipt_request_mismatch')
  })
})

describe('what is no encrypted request', () => {
  const transport = (): SealingClient['service']['transport'] => client.service.transport
  test.for([
    ['a session for a body that is not encrypted', { 'x-veritee-session': 'ab'.repeat(32) }, 400],
    ['a session that is none', { 'x-veritee-session': 'x', 'ehbp-encapsulated-key': 'ab'.repeat(32) }, 400],
    ['an encapsulated key of 31 bytes', { 'ehbp-encapsulated-key': 'ab'.repeat(31) }, 400],
    ['an encapsulated key in capitals', { 'ehbp-encapsulated-key': 'AB'.repeat(32) }, 400],
    ['an encapsulated key of zeros', { 'ehbp-encapsulated-key': '00'.repeat(32) }, 400],
    ['an unknown binding', { 'ehbp-encapsulated-key': 'ab'.repeat(32), 'x-veritee-binding': 'veritee.ehbp.v2' }, 400],
    ['a plain body under an encapsulated key', { 'ehbp-encapsulated-key': 'ab'.repeat(32) }, 400],
  ] as const)('%s is refused in plain', async ([, headers, status]) => {
    const response = await transport().send({ method: 'POST', path: chatPath, headers, body: utf8('{"model":"veritee-demo","messages":[]}') })
    expect(response.status).toBe(status)
    expect(response.headers['ehbp-response-nonce']).toBeUndefined()
    await bytesOf(response)
  })

  test('an unknown session is 412, with a receipt that names no model', async () => {
    const request = await sealed()
    const headers = { ...request.headers, 'x-veritee-session': 'ab'.repeat(32) }
    const response = await transport().send({ method: 'POST', path: chatPath, headers, body: request.body })
    expect(response.status).toBe(412)
    expect(JSON.parse((await bytesOf(response)).toString())).toMatchObject({ error: { type: 'session_not_accepted' } })
    const receipt = parseReceipt(
      (await bytesOf(await transport().send({ method: 'GET', path: `/v1/aci/receipts/${response.headers['x-receipt-id']}` }))).toString(),
    )
    expect([receipt.model, eventOf(receipt, 'veritee.opaque')?.enc]).toEqual([null, request.enc])
  })
})
