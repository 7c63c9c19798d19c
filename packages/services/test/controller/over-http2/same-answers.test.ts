import { randomBytes } from 'node:crypto'
import type { OutgoingHttpHeaders } from 'node:http'
import OpenAI from 'openai'
import { Agent, fetch as undiciFetch } from 'undici'
import { utf8 } from 'veritee/bytes'
import { sealRequest } from 'veritee/ehbp'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type Network, startNetwork } from '../../e2e/network.ts'
import { type Answer, clientOf, closeAll, protocols, type Question } from '../../http/http2/service.ts'
import { type OverTls, page, serveOverTls } from './transports.ts'

/** A controller answers the same over HTTP/2 as over HTTP/1.1, but for what belongs to connections. */

let network: Network
let served: OverTls
beforeAll(async () => {
  network = await startNetwork()
  served = await serveOverTls(network)
}, 60_000)
afterEach(closeAll)
afterAll(async () => {
  await served.listening.close()
  await network.close()
})

const chat = '/v1/chat/completions'
const question = { model: 'veritee-demo', temperature: 0, messages: [{ role: 'user', content: 'what is the capital of japan' }] }
const post = (body: string | Uint8Array, headers: OutgoingHttpHeaders = {}, path = chat): Question => ({
  method: 'POST',
  path,
  headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), ...headers },
  body,
})

/** Names of what is drawn for each answer. */
const drawn = new Set(['date', 'x-receipt-id', 'x-veritee-receipt-key'])
const ofConnections = new Set(['connection', 'keep-alive', 'transfer-encoding'])

function without({ status, headers, body, trailers }: Answer): unknown {
  const kept = Object.entries(headers).filter(([name]) => !name.startsWith(':') && !ofConnections.has(name))
  const shown = kept.map(([name, value]) => [name, drawn.has(name) ? 'drawn' : value])
  const text = body.replaceAll(/"id":"chatcmpl-[^"]+"/g, '"id":"drawn"').replaceAll(/"created":\d+/g, '"created":0')
  return { status, headers: Object.fromEntries(shown.toSorted()), body: text, trailers }
}

const cases: readonly (readonly [name: string, question: Question, status: number])[] = [
  ['readiness', { path: '/readyz' }, 200],
  ['models', { path: '/v1/models' }, 200],
  ['the head of models', { method: 'HEAD', path: '/v1/models' }, 200],
  ['the report', { path: '/v1/aci/attestation' }, 200],
  ['the description', { path: '/openapi.json' }, 200],
  ['sessions', { path: '/v1/aci/sessions' }, 200],
  ['the key of encrypted bodies', { path: '/.well-known/hpke-keys' }, 200],
  ['a plain answer', post(JSON.stringify(question), { traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01` }), 200],
  ['a stream', post(JSON.stringify({ ...question, stream: true })), 200],
  ['no such route', { path: '/nowhere' }, 404],
  ['another method', { method: 'DELETE', path: chat }, 404],
  ['a receipt that is not there', { path: '/v1/aci/receipts/rcpt-none' }, 404],
  ['a model that is not there', post('{"model":"none","messages":[]}'), 404],
  ['a body that is no JSON', post('{'), 400],
  ['a nonce that is none', post(JSON.stringify(question), { 'x-veritee-nonce': 'ff' }), 400],
  ['a challenge that is none', { path: '/v1/aci/attestation?nonce=ff' }, 400],
  ['an encrypted body that is none', post('x', { 'ehbp-encapsulated-key': '00' }), 400],
  ['a body that is said to be too long', { ...post('x'), headers: { 'content-length': 100_000_000 }, unended: true }, 413],
  ['a page that is allowed', post(JSON.stringify(question), { origin: page }), 200],
  ['the preflight of one', { method: 'OPTIONS', path: chat, headers: { origin: page, 'access-control-request-method': 'POST' } }, 204],
  ['a page from elsewhere', post(JSON.stringify(question), { origin: 'https://elsewhere.example' }), 403],
  ['another name', { path: '/healthz', headers: { host: 'attacker.example' } }, 421],
  ['an expectation', { path: '/healthz', headers: { expect: 'tea' } }, 417],
]

test.for(cases)('%s', async ([, asked, status]) => {
  const answers: Answer[] = []
  for (const protocol of protocols) answers.push(await clientOf(protocol, served.listening).ask(asked).answer)
  const [one, two] = answers
  expect([one?.status, two?.status]).toEqual([status, status])
  expect(two?.headers).toMatchObject({ 'x-aci-version': 'aci/1', 'x-aci-keyset-digest': network.controller.controller.identity.keysetDigest })
  for (const name of ofConnections) expect(two?.headers).not.toHaveProperty(name)
  expect(two === undefined ? null : without(two)).toEqual(one === undefined ? null : without(one))
})

test('S4: bodies that are encrypted to the controller, opened once, and refused where they come again or are for another key', async () => {
  const key = network.controller.controller.identity.keyset.e2ee_public_keys[0]?.public_key ?? ''
  const binding = { method: 'POST', model: 'veritee-demo', path: chat, session_id: null }
  for (const protocol of protocols) {
    const client = clientOf(protocol, served.listening)
    const sealed = await sealRequest({ publicKey: Buffer.from(key, 'hex'), keysetDigest: '' }, binding, utf8(JSON.stringify(question)))
    const first = await client.ask(post(sealed.body, sealed.headers)).answer
    expect([protocol, first.status, first.body.includes('Tokyo')]).toEqual([protocol, 200, false])
    expect(first.headers['ehbp-response-nonce']).toMatch(/^[0-9a-f]{64}$/)
    const again = await client.ask(post(sealed.body, sealed.headers)).answer
    expect([protocol, again.status, again.body.includes('ehbp_replayed')]).toEqual([protocol, 400, false])
    const other = await sealRequest({ publicKey: randomBytes(32), keysetDigest: '' }, binding, utf8(JSON.stringify(question)))
    const stale = await client.ask(post(other.body, other.headers)).answer
    expect([protocol, stale.status, stale.headers['content-type']]).toEqual([protocol, 422, 'application/problem+json'])
  }
})

test('clients that ask for no protocol, or for HTTP/1.1 alone, are answered over it as ever', async () => {
  served.versions.clear()
  const tls = { rejectUnauthorized: false }
  const dispatcher = new Agent({ allowH2: false, connect: tls })
  const openai = new OpenAI({
    apiKey: 'somebody',
    baseURL: `${served.listening.url}/v1`,
    fetch: ((url: string, init: object) => undiciFetch(url, { ...init, dispatcher })) as never,
  })
  const answer = await openai.chat.completions.create({
    model: 'veritee-demo',
    temperature: 0,
    messages: [{ role: 'user', content: 'what is the capital of japan' }],
  })
  expect(answer.choices[0]?.message.content).toContain('Tokyo')
  const stream = await openai.chat.completions.create({
    model: 'veritee-demo',
    temperature: 0,
    stream: true,
    messages: [{ role: 'user', content: 'what is the capital of japan' }],
  })
  let text = ''
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? ''
  expect(text).toContain('Tokyo')
  await dispatcher.close()
  expect([...served.versions]).toEqual(['1.1'])
})
