import type { RequestListener } from 'node:http'
import { concatAll } from 'veritee/bytes'
import { nodeTransport, type TransportResponse } from 'veritee/client'
import { openResponse } from 'veritee/ehbp'
import { EventSplitter, eventOf, parseReceipt, type Receipt, type SealedExchange, StreamTree, verifySealedExchange } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { admit, type RunningWorker, startWorker } from '../../src/demo/system.ts'
import { listen } from '../../src/http/listen.ts'
import { bytesOf, type Network, now, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath, openClient, prove, recordsOf, type SealingClient, sealTo, send, sha, workerReceipt } from './sealing-client.ts'

let network: Network
let client: SealingClient
beforeAll(async () => {
  network = await startNetwork()
  client = await openClient(network, nodeTransport(network.controller.api.url))
}, 60_000)
afterAll(async () => {
  client.service.transport.close()
  await network.close()
})

const controllerReceipt = async (id: string | undefined): Promise<Receipt> =>
  parseReceipt((await bytesOf(await client.service.transport.send({ method: 'GET', path: `/v1/aci/receipts/${id}` }))).toString())
const quarantine = (): unknown => network.controller.controller.registry.all()[0]?.quarantine

describe('S9: an encrypted stream that ends early', () => {
  test('S9: left by its requester, it is verified as a prefix, against the receipt of the worker', async () => {
    const body = chatBody(true, 'Tell me a long story about a dragon named Ruby.')
    const request = await sealTo(network, client, body)
    const abort = new AbortController()
    const response = await client.service.transport.send({
      method: 'POST',
      path: chatPath,
      headers: request.headers,
      body: request.body,
      signal: abort.signal,
    })
    const opened = await openResponse(request, response.status, response.headers)
    const splitter = new EventSplitter()
    const events: Uint8Array[] = []
    for await (const part of response.body) {
      for (const plain of await opened.frames.push(part)) events.push(...splitter.push(plain))
      if (events.length >= 3) break
    }
    abort.abort()
    const stream = new StreamTree()
    for (const event of events) await stream.append(event)
    const answer = {
      status: 200,
      headers: response.headers,
      body: Buffer.from(concatAll(events)),
      frames: [],
      wire: Buffer.alloc(0),
      request,
      opened,
    }
    const exchange: SealedExchange = {
      requestBody: body,
      responseHash: sha('unknown'),
      stream,
      complete: false,
      clientNonce: request.binding.client_nonce,
      transport: { enc: request.enc, responseNonce: opened.responseNonce },
      sessionId: network.sessionId,
      path: chatPath,
      wire: { requestHash: sha(request.body), responseHash: sha('unknown') },
    }
    const records = await recordsOf(network, client, answer)
    const proof = (await workerReceipt(network, client, answer, events.length)).body.toString()
    const verify = (workerPrefixProof: string | null): Promise<unknown> =>
      verifySealedExchange(exchange, { ...records, workerPrefixProof }, client.service.report, client.worker, now()).then(
        ({ outcome }) => outcome,
        ({ code }: { code: unknown }) => code,
      )
    expect(await verify(proof)).toBe('verified-prefix')
    expect(await verify(null)).toBe('receipt_missing')
    expect(eventOf(parseReceipt(records.receipt), 'veritee.outcome')?.outcome).toBe('aborted')
    expect(quarantine()).toBeNull()
  })
})

describe('S4: new keys', () => {
  test('S4: after new keys the old session is refused, the new one works, and receipts of before are fetched under it', async () => {
    const body = chatBody(false)
    const before = await send(client.service.transport, await sealTo(network, client, body))
    const stale = await sealTo(network, client, body)
    const { worker, server } = network.worker
    await worker.renew()
    server.renewTls(worker.identity.tls)
    const sessionId = await admit(network.controller, network.worker)
    expect(sessionId).not.toBe(network.sessionId)
    const refused = await client.service.transport.send({ method: 'POST', path: chatPath, headers: stale.headers, body: stale.body })
    expect(refused.status).toBe(412)
    await bytesOf(refused)
    // Under the new session, the body is for a key that is no longer there.
    const moved = { ...stale, headers: { ...stale.headers, 'x-veritee-session': sessionId } }
    await expect(send(client.service.transport, moved)).rejects.toMatchObject({ code: 'ehbp_stale_key' })

    const renewed = { ...network, sessionId }
    const next = await openClient(renewed, client.service.transport, sessionId)
    expect(Buffer.from(next.key.publicKey).equals(client.key.publicKey)).toBe(false)
    const answer = await send(client.service.transport, await sealTo(renewed, next, body))
    expect((await prove(renewed, next, answer, body)).outcome).toBe('verified')
    const kept = await workerReceipt(renewed, next, before)
    expect(kept.status).toBe(200)
    expect(eventOf(parseReceipt(kept.body.toString()), 'veritee.transport')?.enc).toBe(before.request.enc)
    const own = await controllerReceipt(before.headers['x-receipt-id'])
    expect(eventOf(own, 'veritee.opaque')?.session_id).toBe(network.sessionId)
  })
})

describe('S10: a worker that states something else', () => {
  test('S10: is out of service, and the receipt of the controller says why', async () => {
    const { worker } = network.worker
    const sessionId = await admit(network.controller, network.worker)
    const current = { ...network, sessionId }
    const fresh = await openClient(current, client.service.transport, sessionId)
    const sign = worker.identity.signReceipt.bind(worker.identity)
    let times = 0
    // The second signature of an exchange is that of the statement.
    Object.assign(worker.identity, {
      signReceipt: (message: Uint8Array) => (times++ === 1 ? sign(Buffer.concat([message, Buffer.of(0)])) : sign(message)),
    })
    const answer = await send(client.service.transport, await sealTo(current, fresh, chatBody(false)))
    Object.assign(worker.identity, { signReceipt: sign })
    const receipt = await controllerReceipt(answer.headers['x-receipt-id'])
    expect(eventOf(receipt, 'veritee.upstream_receipt')).toMatchObject({ result: 'mismatch', digest: null })
    expect(eventOf(receipt, 'veritee.upstream_receipt')?.reason).toContain('receipt_signature_invalid')
    expect(String(quarantine())).toContain('its statement did not match')
  })
})

describe('S4: a worker that has gone wrong since it was verified', () => {
  /** A worker that is admitted, and in whose place somebody with its TLS key then answers. */
  async function replaced(handle: RequestListener): Promise<{ response: TransportResponse; worker: RunningWorker; close: () => Promise<void> }> {
    const worker = await startWorker(network.machine, [network.model.served], 0, now)
    const sessionId = await admit(network.controller, worker)
    const target = { ...network, sessionId }
    const own = await openClient(target, client.service.transport, sessionId)
    const { port } = worker.server
    await worker.server.close()
    const bind = { host: '127.0.0.1', port, tls: worker.worker.identity.tls, simulated: true, apiKeys: false }
    const listening = await listen(bind, handle, worker.worker.keysetDigestOf)
    const request = await sealTo(target, own, chatBody(true))
    const response = await client.service.transport.send({ method: 'POST', path: chatPath, headers: request.headers, body: request.body })
    return { response, worker, close: () => listening.close() }
  }
  const stateOf = ({ worker }: RunningWorker): string | null | undefined =>
    network.controller.controller.registry.all().find(({ service }) => service.report.keysetDigest === worker.identity.keysetDigest)?.quarantine

  test('S4: and answers in plain, is out of service; its words go nowhere', async () => {
    const { response, worker, close } = await replaced((request, answer) => void request.resume().once('end', () => answer.end('{"secret":1}')))
    expect([response.status, (await bytesOf(response)).toString().includes('secret')]).toEqual([502, false])
    expect(stateOf(worker)).toContain('in plain')
    const receipt = await controllerReceipt(response.headers['x-receipt-id'])
    expect([eventOf(receipt, 'veritee.outcome')?.outcome, eventOf(receipt, 'veritee.upstream_receipt')?.result]).toEqual(['error', 'absent'])
    await close()
  })

  test('S9: and breaks off, ends in a connection that is cut, and a receipt over what came', async () => {
    const sent = Buffer.alloc(1000, 'x')
    const { response, worker, close } = await replaced((request, answer) => {
      if (request.method === 'GET') return void answer.writeHead(404).end()
      request.resume().once('end', () => {
        answer.writeHead(200, { 'content-type': 'text/event-stream', 'ehbp-response-nonce': 'ab'.repeat(32), 'x-receipt-id': 'rcpt-none' })
        answer.write(sent, () => setImmediate(() => answer.destroy()))
      })
    })
    expect(response.status).toBe(200)
    await expect(bytesOf(response)).rejects.toThrow()
    const receipt = await controllerReceipt(response.headers['x-receipt-id'])
    expect([eventOf(receipt, 'veritee.outcome')?.outcome, eventOf(receipt, 'veritee.upstream_receipt')?.result]).toEqual(['error', 'absent'])
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(sha(sent))
    expect(stateOf(worker)).toContain('its statement did not match')
    await close()
  })
})
