import { fromHex, utf8 } from 'veritee/bytes'
import { nodeTransport, type Transport } from 'veritee/client'
import { type SealedRequest, sealRequest } from 'veritee/ehbp'
import { parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesOf, type Network, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath, send } from './sealing-client.ts'

const path = '/v1/veritee/receipts'
let network: Network
let transport: Transport
beforeAll(async () => {
  network = await startNetwork()
  transport = nodeTransport(network.controller.api.url)
}, 60_000)
afterAll(async () => {
  transport?.close()
  await network?.close()
})

function sealed(body: Uint8Array, to: { readonly path: string; readonly model: string | null }): Promise<SealedRequest> {
  const { keyset, keysetDigest } = network.controller.controller.identity
  const publicKey = fromHex(keyset.e2ee_public_keys[0]?.public_key ?? '')
  return sealRequest({ publicKey, keysetDigest }, { method: 'POST', session_id: null, ...to }, body)
}

async function ask(question: object): Promise<{ readonly status: number; readonly text: string; readonly wire: string }> {
  const answer = await send(transport, await sealed(utf8(JSON.stringify(question)), { path, model: null }), path)
  return { status: answer.status, text: answer.body.toString(), wire: answer.wire.toString('latin1') }
}

async function inClear(of: string, credential: string): Promise<string> {
  return (await bytesOf(await transport.send({ method: 'GET', path: of, headers: { authorization: `Bearer ${credential}` } }))).toString()
}

describe('S6: receipts of a controller, asked for and given encrypted', () => {
  let id = ''
  const credential = 'the-token-of-this-requester'
  beforeAll(async () => {
    const request = await sealed(chatBody(true), { path: chatPath, model: 'veritee-demo' })
    const answer = await send(transport, request, chatPath, { authorization: `Bearer ${credential}` })
    expect(answer.status).toBe(200)
    id = answer.headers['x-receipt-id'] ?? ''
  })

  test('are those that are given in clear, and nothing of them or of the credential is on the wire', async () => {
    const own = await ask({ credential, document: 'receipt', prefix: null, receipt_id: id })
    expect([own.status, own.text]).toEqual([200, await inClear(`/v1/aci/receipts/${id}`, credential)])
    expect(own.wire).not.toContain(parseReceipt(own.text).receiptId)
    const upstream = await ask({ credential, document: 'upstream', prefix: null, receipt_id: id })
    expect([upstream.status, upstream.text]).toEqual([200, await inClear(`/v1/veritee/receipts/${id}/upstream`, credential)])
    for (const document of ['receipt', 'upstream']) {
      const proof = await ask({ credential, document, prefix: 1, receipt_id: id })
      const at = document === 'receipt' ? `/v1/aci/receipts/${id}` : `/v1/veritee/receipts/${id}/upstream`
      expect([proof.status, proof.text]).toEqual([200, await inClear(`${at}?prefix=1`, credential)])
    }
  })

  test.each<[string, object, number]>([
    ['without its credential', { credential: null, document: 'receipt', prefix: null }, 401],
    ['with another credential', { credential: 'another', document: 'receipt', prefix: null }, 404],
    ['a document of another kind', { credential, document: 'session', prefix: null }, 400],
    ['a prefix that it has not', { credential, document: 'receipt', prefix: 100_000 }, 404],
    ['a member too many', { credential, document: 'receipt', prefix: null, more: 1 }, 400],
  ])('%s there is none', async (_, question, status) => {
    expect((await ask({ receipt_id: id, ...question })).status).toBe(status)
  })

  test('a question carried from another path, and one in clear, are refused', async () => {
    const question = utf8(JSON.stringify({ credential, document: 'receipt', prefix: null, receipt_id: id }))
    const carried = await send(transport, await sealed(question, { path: chatPath, model: null }), path)
    expect(carried.status).toBe(400)
    const plain = await transport.send({ method: 'POST', path, headers: { 'content-type': 'application/json' }, body: question })
    await bytesOf(plain)
    expect(plain.status).toBe(404)
  })
})
