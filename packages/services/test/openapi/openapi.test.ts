import { Ajv2020 } from 'ajv/dist/2020.js'
import { utf8 } from 'veritee/bytes'
import { nodeTransport, type Transport } from 'veritee/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Registration, signRegistration } from '../../src/enclave/runtime/admission/registration.ts'
import { bytesOf, type Network, startNetwork } from '../e2e/network.ts'
import { demanded, toolUser, weather } from '../e2e/tool-models.ts'
import { chatBody, openClient, sealTo, send } from '../ehbp/sealing-client.ts'

/** Requests and answers of a running system, held against the documents that it serves of itself. */

interface Content {
  readonly schema: { readonly $ref?: string }
  readonly 'x-event-data'?: { readonly $ref: string }
}
interface Operation {
  readonly requestBody?: { readonly content: { readonly 'application/json': Content } }
  readonly responses: {
    readonly [status: string]: {
      readonly headers: { readonly [name: string]: unknown }
      readonly content: { readonly 'application/json': Content; readonly 'text/event-stream'?: Content }
    }
  }
}
interface Document {
  readonly paths: { readonly [path: string]: { readonly [method: string]: Operation } }
  readonly components: object
}

let network: Network
const transports: { [name: string]: Transport } = {}
const documents: { [name: string]: Document } = {}
const validators: { [name: string]: Ajv2020 } = {}
const names = ['worker', 'api', 'control'] as const
type Name = (typeof names)[number]

beforeAll(async () => {
  network = await startNetwork((model) => [model, toolUser(model), demanded(model)])
  transports.worker = nodeTransport(network.worker.server.url)
  transports.api = nodeTransport(network.controller.api.url)
  transports.control = nodeTransport(network.controller.control.url)
  for (const name of names) {
    const document = JSON.parse(
      (await bytesOf(await (transports[name] as Transport).send({ method: 'GET', path: '/openapi.json' }))).toString(),
    ) as Document
    documents[name] = document
    validators[name] = new Ajv2020({ strict: false, allErrors: true }).addSchema({
      $id: 'https://openapi.invalid/document',
      components: document.components,
    })
  }
})
afterAll(async () => {
  for (const transport of Object.values(transports)) transport.close()
  await network.close()
})

/** What is wrong with a value. Schemas that are not references stand for themselves. */
function complaints(name: Name, { $ref, ...rest }: { readonly $ref?: string }, value: unknown): unknown {
  const ajv = validators[name] as Ajv2020
  const inside = JSON.parse(JSON.stringify($ref === undefined ? rest : { $ref }).replaceAll('"#/', '"https://openapi.invalid/document#/')) as object
  const validate = ajv.compile(inside)
  return validate(value) ? [] : validate.errors
}

const asked = new Set<string>()

interface Asked {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: Buffer
}

/** Asks, and holds question and answer against the document: status, headers, bodies, the data of each event. */
async function exchange(
  name: Name,
  method: 'get' | 'post',
  path: string,
  template: string,
  body?: object,
  headers: { [name: string]: string } = {},
): Promise<Asked> {
  asked.add(`${name} ${method} ${template}`)
  const operation = documents[name]?.paths[template]?.[method]
  if (operation === undefined) throw new Error(`${method} ${template} is not in the document of ${name}`)
  const answer = await (transports[name] as Transport).send({
    method: method === 'get' ? 'GET' : 'POST',
    path,
    headers,
    ...(body !== undefined && { body: utf8(JSON.stringify(body)) }),
  })
  const bytes = await bytesOf(answer)
  const told = operation.responses[String(answer.status)] ?? operation.responses.default
  if (told === undefined) throw new Error(`no status ${answer.status}`)
  const succeeded = answer.status < 300
  if (succeeded) {
    expect(operation.responses).toHaveProperty(String(answer.status))
    const schema = operation.requestBody?.content['application/json'].schema
    if (schema !== undefined) expect(complaints(name, schema, body)).toEqual([])
    for (const header of Object.keys(told.headers)) expect(answer.headers).toHaveProperty(header.toLowerCase())
  }
  if (answer.headers['content-type']?.startsWith('text/event-stream') === true) {
    const schema = told.content['text/event-stream']?.['x-event-data'] ?? {}
    const data = bytes
      .toString()
      .split('\n\n')
      .map((event) => /^(?:event: .*\n)?data: (\{.*\})$/.exec(event)?.[1])
      .filter((found) => found !== undefined)
    expect(data.length).toBeGreaterThan(2)
    for (const event of data) expect(complaints(name, schema, JSON.parse(event))).toEqual([])
  } else expect(complaints(name, told.content['application/json'].schema, JSON.parse(bytes.toString()))).toEqual([])
  return { status: answer.status, headers: answer.headers, body: bytes }
}

/** Of an exchange that was encrypted to the worker. */
async function statement(): Promise<void> {
  const client = await openClient(network, transports.api as Transport)
  const { headers } = await send(transports.worker as Transport, await sealTo(network, client, chatBody(false), { session_id: null }))
  await ok('worker', 'get', `/v1/veritee/statements/${headers['x-receipt-id']}`, '/v1/veritee/statements/{id}')
  expect((await exchange('worker', 'get', '/v1/veritee/statements/none', '/v1/veritee/statements/{id}')).status).toBe(404)
}

const ok = async (...all: Parameters<typeof exchange>): Promise<Asked> => {
  const answer = await exchange(...all)
  expect(answer.status).toBeLessThan(300)
  return answer
}

test('what is not of its schema is found', () => {
  for (const name of [
    'ChatCompletion',
    'ChatCompletionChunk',
    'Response',
    'ResponseStreamEvent',
    'Completion',
    'EmbeddingList',
    'Error',
    'CreateResponseRequest',
  ])
    expect(complaints('api', { $ref: `#/components/schemas/${name}` }, { id: 'x', surprise: 1 })).not.toEqual([])
})

const messages = [{ role: 'user', content: 'what is the capital of japan' }]
const hello = { model: 'veritee-demo', temperature: 0, messages }
const schema = { type: 'object', properties: { a: { type: 'boolean' } }, required: ['a'], additionalProperties: false }
const flatWeather = { type: 'function', ...weather.function }
const inferences: readonly (readonly [title: string, path: string, body: object])[] = [
  ['a chat', '/v1/chat/completions', { ...hello, user: 'u', max_tokens: null, provider: { aci_verified: true } }],
  ['a chat with logprobs and n', '/v1/chat/completions', { ...hello, logprobs: true, top_logprobs: 1, n: 2, seed: 3, stop: ['x'] }],
  ['a streamed chat', '/v1/chat/completions', { ...hello, stream: true, stream_options: { include_usage: true }, logprobs: true }],
  ['calls', '/v1/chat/completions', { ...hello, model: 'tool-user', tools: [weather] }],
  ['streamed calls', '/v1/chat/completions', { ...hello, model: 'tool-user', tools: [weather], stream: true }],
  ['a form', '/v1/chat/completions', { ...hello, response_format: { type: 'json_schema', json_schema: { name: 'n', schema } } }],
  ['a text', '/v1/completions', { model: 'veritee-demo', prompt: 'Once upon', logprobs: 1, max_tokens: 4 }],
  ['a streamed text of tokens', '/v1/completions', { model: 'veritee-demo', prompt: [300, 301], stream: true, max_tokens: 4 }],
  ['a response', '/v1/responses', { model: 'veritee-demo', input: 'Hello!', instructions: 'Be brief.', metadata: { a: 'b' }, temperature: 0 }],
  [
    'a response with logprobs',
    '/v1/responses',
    { model: 'veritee-demo', input: messages, include: ['message.output_text.logprobs'], top_logprobs: 1 },
  ],
  ['a streamed response', '/v1/responses', { model: 'veritee-demo', input: messages, stream: true, max_output_tokens: 5 }],
  ['calls in a response', '/v1/responses', { model: 'tool-user', input: 'How?', tools: [flatWeather] }],
  ['streamed calls in a response', '/v1/responses', { model: 'tool-user', input: 'How?', tools: [flatWeather], stream: true }],
  ['vectors', '/v1/embeddings', { model: 'veritee-demo', input: ['a fox', 'a dog'] }],
  ['vectors in base64', '/v1/embeddings', { model: 'veritee-demo', input: 'a fox', encoding_format: 'base64' }],
]

describe.for(['worker', 'api'] as const)('the document of %s holds', (name) => {
  test.for(inferences)('for %s', async ([, path, body]) => {
    await ok(name, 'post', path, path, body)
  })

  test('for what is read', async () => {
    const { headers } = await ok(name, 'post', '/v1/chat/completions', '/v1/chat/completions', { ...hello, stream: true })
    const id = String(headers['x-receipt-id'])
    await ok(name, 'get', `/v1/aci/receipts/${id}`, '/v1/aci/receipts/{id}')
    await ok(name, 'get', `/v1/aci/receipts/${id}?prefix=1`, '/v1/aci/receipts/{id}')
    await ok(name, 'get', '/v1/models', '/v1/models')
    await ok(name, 'get', '/v1/models/veritee-demo', '/v1/models/{model}')
    await ok(name, 'get', `/v1/aci/attestation?nonce=${'ab'.repeat(32)}`, '/v1/aci/attestation')
    await ok(name, 'get', `/v1/veritee/keysets/${headers['x-aci-keyset-digest']}`, '/v1/veritee/keysets/{digest}')
    await ok(name, 'get', '/v1/veritee/releases', '/v1/veritee/releases')
    await ok(name, 'get', '/healthz', '/healthz')
    await ok(name, 'get', '/openapi.json', '/openapi.json')
    if (name === 'worker') return await statement()
    const attestation = `/v1/veritee/workers/${network.sessionId}/attestation?nonce=${'ab'.repeat(32)}`
    await ok(name, 'get', attestation, '/v1/veritee/workers/{session}/attestation')
    await ok(name, 'get', '/readyz', '/readyz')
    await ok(name, 'get', `/v1/veritee/receipts/${id}/upstream`, '/v1/veritee/receipts/{id}/upstream')
    await ok(name, 'get', '/v1/aci/sessions', '/v1/aci/sessions')
    await ok(name, 'get', '/v1/veritee/replicas', '/v1/veritee/replicas')
    await ok(name, 'get', `/v1/aci/sessions/${network.sessionId}`, '/v1/aci/sessions/{id}')
  })

  test.for([
    ['a malformed request', '/v1/chat/completions', { ...hello, temperature: 9 }, 400],
    ['what is not offered', '/v1/responses', { model: 'veritee-demo', input: 'x', store: true }, 400],
    ['an unknown model', '/v1/embeddings', { model: 'gpt-4o', input: 'x' }, 404],
    ['a foreign pin', '/v1/completions', { model: 'veritee-demo', prompt: 'x', provider: { aci_session_ids: ['0'.repeat(64)] } }, 412],
  ] as const)('for the error of %s', async ([, path, body, status]) => {
    expect((await exchange(name, 'post', path, path, body)).status).toBe(status)
  })

  test('for the errors of reading', async () => {
    expect((await exchange(name, 'get', '/v1/models/gpt-4o', '/v1/models/{model}')).status).toBe(404)
    expect((await exchange(name, 'get', '/v1/aci/receipts/none', '/v1/aci/receipts/{id}')).status).toBe(404)
    expect((await exchange(name, 'get', '/v1/aci/attestation?nonce=x', '/v1/aci/attestation')).status).toBe(400)
  })
})

test('the document of control holds', async () => {
  const { url } = network.worker.server
  const { identity } = network.worker.worker
  const registration = async (purpose: Registration['purpose'], at = url): Promise<object> => {
    const { body } = await ok('control', 'post', '/v1/workers/nonce', '/v1/workers/nonce')
    const { nonce, keyset_digest: controller } = JSON.parse(body.toString()) as { nonce: string; keyset_digest: string }
    const fields = { purpose, url: at, controller, nonce, ticket: network.worker.worker.tickets.give(), operatorSignature: null }
    return JSON.parse(signRegistration(identity, fields)) as object
  }
  await ok('control', 'get', '/v1/workers', '/v1/workers')
  await ok('control', 'get', `/v1/workers/${identity.keysetDigest}`, '/v1/workers/{keyset}')
  await ok('control', 'post', '/v1/workers', '/v1/workers', await registration('register'))
  await ok('control', 'get', '/openapi.json', '/openapi.json')
  await ok('control', 'get', '/v1/aci/attestation', '/v1/aci/attestation')
  await ok('control', 'get', '/v1/veritee/releases', '/v1/veritee/releases')
  expect((await exchange('control', 'post', '/v1/workers', '/v1/workers', await registration('register', 'http://x'))).status).toBe(403)
  expect((await exchange('control', 'post', '/v1/workers', '/v1/workers', { url })).status).toBe(400)
  await ok('control', 'post', '/v1/workers/leave', '/v1/workers/leave', await registration('leave'))
})

test('a controller without access tokens has no directory of their keys', async () => {
  const path = '/.well-known/private-token-issuer-directory'
  expect((await exchange('api', 'get', path, path)).status).toBe(404)
})

test('every operation was asked, but for readiness of a worker, which its process answers', () => {
  const all = names.flatMap((name) =>
    Object.entries(documents[name]?.paths ?? {}).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${name} ${method} ${path}`)),
  )
  expect(all.filter((operation) => !asked.has(operation))).toEqual(['worker get /readyz'])
})
