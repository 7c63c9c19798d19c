import { type AddressInfo, connect as connectSocket, createServer } from 'node:net'
import { utf8 } from 'veritee/bytes'
import { nodeTransport, type Transport, type TransportRequest } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { signRegistration } from '../../src/enclave/runtime/admission/registration.ts'
import { bytesOf, type Network, startNetwork } from './network.ts'

/** Bad input gets a clear error in OpenAI's shape, from controller and worker alike; never a stack trace, never a crash. */

let network: Network
const transports: { [name: string]: Transport } = {}
beforeAll(async () => {
  network = await startNetwork()
  transports.controller = nodeTransport(network.controller.api.url)
  transports.worker = nodeTransport(network.worker.server.url)
})
afterAll(async () => {
  for (const transport of Object.values(transports)) transport.close()
  await network.close()
})

const post = (body: string | Uint8Array, headers: { [name: string]: string } = {}): TransportRequest => ({
  method: 'POST',
  path: '/v1/chat/completions',
  headers: { 'content-type': 'application/json', ...headers },
  body: typeof body === 'string' ? utf8(body) : body,
})
const get = (path: string, headers: { [name: string]: string } = {}): TransportRequest => ({ method: 'GET', path, headers })
const messages = '"messages":[{"role":"user","content":"Hello!"}]'
const chat = (more = '', model = 'veritee-demo'): string => `{"model":"${model}",${messages}${more}}`

async function errorOf(
  name: string,
  request: TransportRequest,
): Promise<{ status: number; type: string; code: string | null; message: string; headers: { readonly [name: string]: string } }> {
  const transport = transports[name] as Transport
  const answer = await transport.send(request)
  const body = (await bytesOf(answer)).toString()
  expect(answer.headers['x-aci-version']).toBe('aci/1')
  expect(answer.headers['x-aci-keyset-digest']).toMatch(/^sha256:[0-9a-f]{64}$/)
  const { error } = JSON.parse(body) as { error: { message: string; type: string; code: string | null; param: string | null } }
  expect(Object.keys(error).sort()).toEqual(['code', 'message', 'param', 'type'])
  expect(error.message).not.toMatch(/\n\s+at |node_modules|\.ts:/)
  return { status: answer.status, headers: answer.headers, type: error.type, code: error.code, message: error.message }
}

const cases: readonly (readonly [string, TransportRequest, number, string])[] = [
  ['no body', post(''), 400, 'invalid_request_error'],
  ['malformed JSON', post('{"model":'), 400, 'invalid_request_error'],
  ['a JSON array', post('[]'), 400, 'invalid_request_error'],
  ['duplicate members', post(`{"model":"veritee-demo","model":"other",${messages}}`), 400, 'invalid_request_error'],
  ['__proto__', post(chat(',"__proto__":{}')), 400, 'invalid_request_error'],
  ['JSON nested 10,000 deep', post(`${'['.repeat(10_000)}${']'.repeat(10_000)}`), 400, 'invalid_request_error'],
  ['invalid UTF-8', post(Uint8Array.of(0x7b, 0xff, 0xfe, 0x7d)), 400, 'invalid_request_error'],
  ['an oversized body', post(new Uint8Array((8 << 20) + 1)), 413, 'invalid_request_error'],
  ['an unknown model', post(chat('', 'gpt-4o')), 404, 'invalid_request_error'],
  ['a model that is no string', post(`{"model":7,${messages}}`), 400, 'invalid_request_error'],
  ['no model', post(`{${messages}}`), 400, 'invalid_request_error'],
  ['n of 5', post(chat(',"n":5')), 400, 'invalid_request_error'],
  ['a prompt longer than the context', post(chat().replace('Hello!', 'word '.repeat(3000))), 400, 'invalid_request_error'],
  ['a nonce of the wrong length', post(chat(), { 'x-veritee-nonce': 'abcd' }), 400, 'invalid_request_error'],
  ['an upper-case nonce', post(chat(), { 'x-veritee-nonce': 'AB'.repeat(32) }), 400, 'invalid_request_error'],
  ['an unknown aci_ constraint', post(chat(',"provider":{"aci_surprise":true}')), 400, 'invalid_request_error'],
  [
    'constraints that contradict each other',
    post(chat(`,"provider":{"aci_verified":false,"aci_session_ids":["${'0'.repeat(64)}"]}`)),
    400,
    'invalid_request_error',
  ],
  ['a pinned session that is not served', post(chat(`,"provider":{"aci_session_ids":["${'0'.repeat(64)}"]}`)), 412, 'session_not_accepted'],
  ['an attestation nonce of the wrong length', get('/v1/aci/attestation?nonce=abcd'), 400, 'invalid_request_error'],
  ['an empty attestation nonce', get('/v1/aci/attestation?nonce='), 400, 'invalid_request_error'],
  ['an unknown receipt', get('/v1/aci/receipts/rcpt-0'), 404, 'not_found'],
  ['a receipt id with a path in it', get('/v1/aci/receipts/..%2f..%2fetc'), 404, 'not_found'],
  ['an unknown session', get(`/v1/aci/sessions/${'0'.repeat(64)}`), 404, 'not_found'],
  ['an unknown route', get('/v1/unknown'), 404, 'not_found'],
  ['the wrong method', get('/v1/chat/completions'), 404, 'not_found'],
]

describe.for(['controller', 'worker'])('the %s', (name) => {
  test.for(cases)('answers %s', async ([, request, status, type]) => {
    expect(await errorOf(name, request)).toMatchObject({ status, type })
  })

  test('binds a receipt to the credential of its request: none is 401, another is 404', async () => {
    const transport = transports[name] as Transport
    const answer = await transport.send(post(chat(), { authorization: 'Bearer key-one' }))
    await bytesOf(answer)
    const path = `/v1/aci/receipts/${answer.headers['x-receipt-id']}`
    expect(await errorOf(name, get(path))).toMatchObject({ status: 401, type: 'unauthorized' })
    expect(await errorOf(name, get(path, { authorization: 'Bearer key-two' }))).toMatchObject({ status: 404, type: 'not_found' })
    expect((await transport.send(get(path, { authorization: 'Bearer key-one' }))).status).toBe(200)
  })

  test('serves a receipt by its chat id too, and prefix proofs of streams only', async () => {
    const transport = transports[name] as Transport
    const answer = await transport.send(post(chat()))
    const { id } = JSON.parse((await bytesOf(answer)).toString()) as { id: string }
    expect(JSON.parse((await bytesOf(await transport.send(get(`/v1/aci/receipts/${id}`)))).toString())).toMatchObject({
      receipt_id: answer.headers['x-receipt-id'],
    })
    expect(await errorOf(name, get(`/v1/aci/receipts/${id}?prefix=1`))).toMatchObject({ status: 404 })
    for (const prefix of ['0', '-1', 'x', '1e3', ''])
      expect(await errorOf(name, get(`/v1/aci/receipts/${id}?prefix=${prefix}`))).toMatchObject({ status: 400 })
  })

  test('survives all of it', async () => {
    expect((await (transports[name] as Transport).send(post(chat()))).status).toBe(200)
  })
})

test('S22: challenged reports are limited per address with Retry-After; the one without a nonce is served from cache', async () => {
  const nonce = 'ab'.repeat(32)
  const answers = await Promise.all(
    Array.from({ length: 60 }, () => (transports.controller as Transport).send(get(`/v1/aci/attestation?nonce=${nonce}`))),
  )
  const statuses = answers.map(({ status }) => status)
  for (const answer of answers) await bytesOf(answer)
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThan(10)
  const refused = answers.find(({ status }) => status === 429)
  expect(Number(refused?.headers['retry-after'])).toBeGreaterThan(0)
  expect((await (transports.controller as Transport).send(get('/v1/aci/attestation'))).status).toBe(200)
})

test('S22: workers register on the control port only, and metrics or admin routes are on no public port', async () => {
  for (const path of ['/v1/workers', '/metrics', '/attest', '/api/v1/attest', '/attest_workers', '/register_worker'])
    expect(await errorOf('controller', get(path))).toMatchObject({ status: 404, type: 'not_found' })
})

test('headers beyond the bound and garbage instead of HTTP end that connection only', async () => {
  const { port } = network.controller.api
  for (const garbage of [`GET / HTTP/1.1\r\nx: ${'a'.repeat(40_000)}\r\n\r\n`, 'garbage\r\n\r\n']) {
    const { promise, resolve } = Promise.withResolvers<string>()
    let seen = ''
    const socket = connectSocket(port, '127.0.0.1', () => socket.write(garbage))
    socket.on('data', (part) => {
      seen += part.toString()
    })
    socket.on('close', () => resolve(seen))
    socket.on('error', () => resolve(seen))
    expect(await promise).toMatch(/^HTTP\/1\.1 4\d\d /)
  }
  expect((await (transports.controller as Transport).send(get('/v1/models'))).status).toBe(200)
})

describe('the control port', () => {
  const say = async (path: string, body: string): Promise<{ status: number; code: unknown; answer: { [name: string]: unknown } }> => {
    const transport = nodeTransport(network.controller.control.url)
    const answer = await transport.send({ method: 'POST', path, body: utf8(body) })
    const parsed = JSON.parse((await bytesOf(answer)).toString()) as { [name: string]: unknown; error?: { code: unknown } }
    transport.close()
    return { status: answer.status, code: parsed.error?.code ?? null, answer: parsed }
  }
  const register = async (body: string): Promise<{ status: number; code: unknown }> => {
    const { status, code } = await say('/v1/workers', body)
    return { status, code }
  }
  /** Under the keys of a worker that is genuine. */
  const registration = async (url: string, identity = network.worker.worker.identity): Promise<string> => {
    const { answer } = await say('/v1/workers/nonce', '')
    const { nonce, keyset_digest: controller } = answer as { nonce: string; keyset_digest: string }
    return signRegistration(identity, { purpose: 'register', url, controller, nonce, ticket: null, operatorSignature: null })
  }

  test.for([
    ['no JSON', 'x', 400, 'registration_malformed'],
    ['a missing member', '{"url":"https://127.0.0.1:1"}', 400, 'registration_malformed'],
    ['the form that nobody signed', `{"url":"https://127.0.0.1:1","keyset_digest":"sha256:${'0'.repeat(64)}"}`, 400, 'registration_malformed'],
  ] as const)('refuses %s', async ([, body, status, code]) => {
    expect(await register(body)).toEqual({ status, code })
  })

  test.for([
    ['plain http', 'http://127.0.0.1:1', 403, 'address_refused'],
    ['a name', 'https://metadata.internal', 403, 'address_refused'],
    ['cloud metadata', 'https://169.254.169.254', 403, 'address_refused'],
    ['cloud metadata in IPv6 clothes', 'https://[::ffff:169.254.169.254]', 403, 'address_refused'],
    ['link-local IPv6', 'https://[fe80::1]', 403, 'address_refused'],
    ['the unspecified address', 'https://0.0.0.0', 403, 'address_refused'],
    ['credentials in the URL', 'https://a:b@127.0.0.1', 403, 'address_refused'],
    ['nobody there', 'https://127.0.0.1:1', 502, 'service_unavailable'],
  ] as const)('refuses %s', async ([, url, status, code]) => {
    expect(await register(await registration(url))).toEqual({ status, code })
  })

  test('refuses a second address for a keyset that serves already: one enclave is one worker', async () => {
    const relay = createServer((near) => {
      const far = connectSocket(network.worker.server.port, '127.0.0.1')
      near.pipe(far).pipe(near)
      for (const socket of [near, far]) socket.on('error', () => undefined)
    })
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
    const { port } = relay.address() as AddressInfo
    expect(await register(await registration(`https://127.0.0.1:${port}`))).toEqual({ status: 403, code: 'worker_duplicate' })
    relay.close()
  })

  test('refuses a worker that registers another keyset than its evidence binds', async () => {
    // The keys are somebody's own, and the address is that of a genuine worker.
    const other = network.controller.controller.identity
    expect(await register(await registration(network.worker.server.url, other))).toEqual({ status: 403, code: 'keyset_changed' })
  })
})
