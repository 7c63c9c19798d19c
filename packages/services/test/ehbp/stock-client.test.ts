import { createTransport, Identity, KeyConfigMismatchError, Transport } from 'ehbp'
import { nodeTransport } from 'veritee/client'
import { eventOf, parseReceipt } from 'veritee/receipt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bytesOf, type Network, startNetwork } from '../e2e/network.ts'
import { chatBody, chatPath, sha, textOf } from './sealing-client.ts'

let network: Network
let url: string
beforeAll(async () => {
  network = await startNetwork()
  url = `${network.controller.api.url}${chatPath}`
}, 60_000)
afterAll(() => network.close())

const json = { 'content-type': 'application/json' }

describe('the ehbp client of its own project, unmodified, at the controller', () => {
  test('finds the key of the keyset in force', async () => {
    const transport = await createTransport(network.controller.api.url)
    expect(await transport.getServerPublicKeyHex()).toBe(network.controller.controller.identity.keyset.e2ee_public_keys[0]?.public_key)
  })

  test.for([false, true])('gets an answer, stream %s, and the receipt is over the restored bytes', async (stream) => {
    const transport = await createTransport(network.controller.api.url)
    const body = chatBody(stream)
    const response = await transport.post(url, Buffer.from(body), { headers: json })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-length')).toBeNull()
    expect(response.headers.get('x-veritee-receipt-key')).toBeNull()
    expect(response.headers.get('x-veritee-sealed-receipt-key')).toMatch(/^[0-9a-f]{96}$/)
    const text = await response.text()
    expect(textOf(text)).toBe('The capital of Japan is Tokyo.')
    expect(text.endsWith('data: [DONE]\n\n')).toBe(stream)
    const direct = nodeTransport(network.controller.api.url)
    const path = `/v1/aci/receipts/${response.headers.get('x-receipt-id')}`
    const receipt = parseReceipt((await bytesOf(await direct.send({ method: 'GET', path }))).toString())
    expect(eventOf(receipt, 'request.received')?.body_hash).toBe(sha(body))
    expect(eventOf(receipt, 'response.returned')?.body_hash).toBe(sha(text))
    expect(eventOf(receipt, 'veritee.transport')).toMatchObject({ response_nonce: response.headers.get('ehbp-response-nonce'), client_nonce: null })
    expect(eventOf(receipt, 'veritee.upstream_receipt')?.result).toBe('match')
    expect(receipt.model).toBe('veritee-demo')
    direct.close()
  })

  test('errors after the body was opened are encrypted too', async () => {
    const transport = await createTransport(network.controller.api.url)
    for (const [body, status] of [
      ['{"model":"other","messages":[]}', 404],
      ['no JSON', 400],
      [JSON.stringify({ model: 'veritee-demo', messages: [], provider: { aci_session_ids: ['0'.repeat(64)] } }), 412],
    ] as const) {
      const response = await transport.post(url, body, { headers: json })
      expect(response.status).toBe(status)
      expect(response.headers.get('ehbp-response-nonce')).not.toBeNull()
      expect(await response.json()).toHaveProperty('error')
    }
  })

  test('a stale key is told as its protocol has it', async () => {
    const stale = await Identity.generate()
    const transport = new Transport(stale, new URL(network.controller.api.url).host)
    await expect(transport.post(url, Buffer.from(chatBody(false)), { headers: json })).rejects.toThrow(KeyConfigMismatchError)
  })

  test('plain requests go on as before, and answers to them are plain', async () => {
    const transport = await createTransport(network.controller.api.url)
    const models = await transport.get(`${network.controller.api.url}/v1/models`)
    expect(models.headers.get('ehbp-response-nonce')).toBeNull()
    expect(await models.json()).toMatchObject({ object: 'list' })
  })
})
