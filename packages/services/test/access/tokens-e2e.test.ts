import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { intelSgxRootCa, parsePem, type Trust } from 'veritee/attestation'
import { utf8 } from 'veritee/bytes'
import {
  type Connection,
  type ConnectionOptions,
  connect,
  nodeTransport,
  type Transport,
  type TransportRequest,
  type TransportResponse,
} from 'veritee/client'
import { parsePolicy } from 'veritee/policy'
import { tokenDirectoryPath, tokenIssuePath } from 'veritee/tokens'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RecentProofs } from '../../../veritee/src/bin/proxy/recent.ts'
import { startProxy } from '../../../veritee/src/bin/proxy/server.ts'
import { runKeys } from '../../src/bin/commands/keys.ts'
import type { Renewing } from '../../src/process/run.ts'
import { exchange } from '../../src/validator/audit/exchange.ts'
import { openPath } from '../../src/validator/audit/path.ts'
import { freePortBase } from '../e2e/free-ports.ts'
import { bytesOf } from '../e2e/network.ts'
import { startController, startWorker } from '../process/start.ts'

const token = 'a-credential-that-nobody-would-guess-0123456789'
const model = 'veritee-demo'
let directory = ''
let worker: Renewing
let controller: Renewing
let apiKey = ''
const reported: string[] = []
const closing: (() => void)[] = []
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'veritee-tokens-'))
  await writeFile(join(directory, 'token'), `${token}\n`)
  const control = await freePortBase()
  worker = await startWorker([...simulate('w'), '--model', 'demo', '--controller', `https://127.0.0.1:${control}`])
  const trusting = ['--policy', join(directory, 'w', 'policy.json'), '--root', join(directory, 'w', 'root.pem'), '--control-port', control]
  const admin = ['--admin-port', '0', '--admin-token-file', join(directory, 'token')]
  const access = ['--api-keys', '--access-tokens', '--access-token-size', '2000', '--metrics-port', '0']
  controller = await startController([...simulate('c'), '--tls', ...trusting, ...admin, ...access], { report: (line) => void reported.push(line) })
  const made = await runKeys('create', ['--name', 'test', '--access-tokens', ...to(), '--json'])
  apiKey = (JSON.parse(made) as { key: string }).key
  const waiting = nodeTransport(controller.ready.url ?? '')
  while ((await waiting.send({ method: 'GET', path: '/readyz' })).status !== 200) await new Promise((resolve) => setTimeout(resolve, 20))
  waiting.close()
}, 120_000)
afterAll(async () => {
  for (const close of closing.splice(0)) close()
  await controller?.close()
  await worker?.close()
  await rm(directory, { recursive: true, force: true })
})

const simulate = (name: string): string[] => ['--tee', 'simulate', '--state', join(directory, name), '--port', '0']
const to = (): string[] => [
  ...['--admin', String(controller.ready.admin), '--policy', join(directory, 'c', 'policy.json')],
  ...['--root', join(directory, 'c', 'root.pem'), '--admin-token-file', join(directory, 'token')],
]

const trusted = async (): Promise<Trust> => ({ roots: [intelSgxRootCa, ...parsePem(await readFile(join(directory, 'c', 'roots.pem'), 'utf8'))] })

interface Sent extends TransportRequest {
  /** Which of the connections of this client it went over. */
  readonly over: number
}

/** A client, and all that it sends. `edit` may change what comes back. */
async function client(
  changes: Partial<ConnectionOptions> = {},
  edit: (path: string, body: string) => string = (_, body) => body,
): Promise<{ readonly connection: Connection; readonly sent: Sent[] }> {
  const sent: Sent[] = []
  let opened = 0
  const openTransport = (url: string, pin: string | null): Transport => {
    const inner = nodeTransport(url, pin)
    const over = opened++
    return {
      origin: inner.origin,
      loopback: inner.loopback,
      get spki() {
        return inner.spki
      },
      close: () => inner.close(),
      send: async (request) => {
        sent.push({ ...request, over })
        const answer = await inner.send(request)
        if (request.path !== tokenDirectoryPath) return answer
        const text = edit(request.path, (await bytesOf(answer)).toString())
        return {
          ...answer,
          body: (async function* () {
            yield utf8(text)
          })(),
        }
      },
    }
  }
  const trust = await trusted()
  const policy = await readFile(join(directory, 'c', 'policy.json'), 'utf8')
  const options = { policy, trust, apiKey, accessTokens: true, openTransport, ...changes }
  const connection = await connect(controller.ready.url ?? '', options)
  closing.push(() => connection.close())
  return { connection, sent }
}

const question = { model, max_tokens: 4, messages: [{ role: 'user', content: 'Who are you?' }] } as const
const post = (connection: Connection, body: object = question): Promise<Response> =>
  connection.fetch(`${connection.baseURL}/chat/completions`, { method: 'POST', body: JSON.stringify(body) })
const authorizationOf = ({ headers }: TransportRequest): string => headers?.authorization ?? 'none'
const isToken = (request: TransportRequest): boolean => authorizationOf(request).startsWith('PrivateToken ')

describe('S20: with access tokens', () => {
  test("OpenAI's client asks unchanged, plain and streamed, each time with another token, and the API key goes to the issuer alone", async () => {
    const { connection, sent } = await client()
    const proofs: string[] = []
    connection.onProof(({ status }) => proofs.push(status))
    const openai = new OpenAI({ baseURL: connection.baseURL, apiKey, fetch: connection.fetch, maxRetries: 0 })
    expect((await openai.models.list()).data.map(({ id }) => id)).toContain(model)
    const { data, response } = await openai.chat.completions.create({ ...question, messages: [...question.messages] }).withResponse()
    expect(data.choices[0]?.message.content).toBeTruthy()
    expect((await connection.proofOf(response)).error).toBeNull()
    let streamed = ''
    for await (const part of await openai.chat.completions.create({ ...question, messages: [...question.messages], stream: true }))
      streamed += part.choices[0]?.delta.content ?? ''
    expect(streamed).toBe(data.choices[0]?.message.content)
    expect(proofs).toEqual(['verified', 'verified'])
    const asked = sent.filter(({ path }) => path === '/v1/chat/completions')
    expect(asked).toHaveLength(2)
    expect(asked.every(isToken)).toBe(true)
    expect(new Set(asked.map(authorizationOf)).size).toBe(2)
    // Everywhere else: a token is shown for what proves its own answer only, and the key where tokens are issued, over a connection that nothing else goes over.
    const withKey = sent.filter((request) => authorizationOf(request).startsWith('Bearer '))
    expect(withKey.map(({ path }) => path)).toEqual([tokenIssuePath])
    const over = new Set(withKey.map((request) => request.over))
    for (const request of sent.filter((one) => over.has(one.over))) expect([tokenIssuePath, tokenDirectoryPath]).toContain(request.path)
    for (const { path } of sent.filter(isToken)) expect(path).toMatch(/^\/v1\/(?:chat\/completions$|(?:aci|veritee)\/receipts\/|aci\/sessions\/)/)
    expect(sent.filter(({ path }) => /attestation|sessions|models/.test(path)).map(authorizationOf)).not.toContain(`Bearer ${apiKey}`)
  })

  test.each(['controller', 'worker'] as const)('bodies are encrypted to the %s', async (encryptTo) => {
    const { connection, sent } = await client({ encryptTo })
    const proof = await connection.proofOf(await post(connection))
    expect([proof.error, proof.bytes.encryptedTo]).toEqual([null, encryptTo])
    for (const request of sent.filter(({ path }) => path.includes('/attestation'))) expect(authorizationOf(request)).toBe('none')
    expect(sent.filter((request) => authorizationOf(request).startsWith('Bearer ')).map(({ path }) => path)).toEqual([tokenIssuePath])
  })

  test('a receipt is for who shows the token of its request, spent as it is; another token finds none', async () => {
    const { connection, sent } = await client()
    const id = (await post(connection)).headers.get('x-receipt-id') ?? ''
    await post(connection)
    const [own = 'none', other = 'none'] = sent.filter(({ path }) => path === '/v1/chat/completions').map(authorizationOf)
    const transport = nodeTransport(controller.ready.url ?? '')
    const get = async (headers: { authorization?: string }, path = `/v1/aci/receipts/${id}`): Promise<number> =>
      (await transport.send({ method: 'GET', path, headers })).status
    expect([await get({ authorization: own }), await get({ authorization: other }), await get({})]).toEqual([200, 404, 401])
    expect(await get({ authorization: own }, `/v1/veritee/receipts/${id}/upstream`)).toBe(200)
    expect(await get({ authorization: `Bearer ${apiKey}` })).toBe(404)
    // Through the connection, which knows whose receipt is whose.
    expect((await connection.fetch(`${connection.baseURL}/aci/receipts/${id}`, { headers: { authorization: 'Bearer x' } })).status).toBe(200)
    transport.close()
  })

  test('a token that was spent, and one that somebody made himself, run nothing; they are refused as OpenAI refuses', async () => {
    const { connection, sent } = await client()
    await post(connection)
    const spent = sent.filter(({ path }) => path === '/v1/chat/completions').map(authorizationOf)[0] ?? ''
    const transport = nodeTransport(controller.ready.url ?? '')
    const ask = async (authorization: string): Promise<unknown> => {
      const headers = { authorization, 'content-type': 'application/json' }
      const answer = await transport.send({ method: 'POST', path: '/v1/chat/completions', headers, body: utf8(JSON.stringify(question)) })
      const { error } = JSON.parse((await bytesOf(answer)).toString()) as { error: { code: string; type: string; param: null } }
      return [
        answer.status,
        error.type,
        error.code,
        answer.headers['www-authenticate']?.includes('PrivateToken challenge='),
        answer.headers['x-receipt-id'],
      ]
    }
    expect(await ask(spent)).toEqual([401, 'invalid_request_error', 'access_token_spent', true, undefined])
    expect(await ask(`PrivateToken token="${'A'.repeat(472)}"`)).toEqual([401, 'invalid_request_error', 'access_token_malformed', true, undefined])
    expect(await ask('Bearer vk-none')).toEqual([401, 'invalid_request_error', 'invalid_api_key', true, undefined])
    transport.close()
  })

  test('of requests at several endpoints with one token at the same time, one runs', async () => {
    const { connection, sent } = await client()
    // Refused before it is spent: the token is good, and known here.
    await post(connection, { ...question, max_tokens: 2000 })
    const [authorization = ''] = sent.filter(({ path }) => path === '/v1/chat/completions').map(authorizationOf)
    const bodies: readonly (readonly [string, object])[] = [
      ['chat/completions', question],
      ['chat/completions', { ...question, stream: true }],
      ['completions', { model, prompt: 'Who', max_tokens: 4 }],
      ['responses', { model, input: 'Who', max_output_tokens: 4 }],
      ['embeddings', { model, input: 'Who' }],
    ]
    const headers = { authorization, 'content-type': 'application/json' }
    const transports = bodies.map(() => nodeTransport(controller.ready.url ?? ''))
    const statuses = await Promise.all(
      bodies.map(async ([path, body], i) => {
        const answer = await (transports[i] as Transport).send({ method: 'POST', path: `/v1/${path}`, headers, body: utf8(JSON.stringify(body)) })
        await bytesOf(answer)
        return answer.status
      }),
    )
    for (const transport of transports) transport.close()
    expect(statuses.filter((status) => status === 401)).toHaveLength(bodies.length - 1)
  })

  test('what a token does not pay for is refused', async () => {
    const { connection } = await client()
    const answer = await post(connection, { ...question, max_tokens: 2000 })
    expect([answer.status, await answer.json()]).toMatchObject([400, { error: { code: 'access_token_limit' } }])
  })

  test('a key that is not the one that the quote binds is refused, before an API key is sent', async () => {
    const sent: string[] = []
    const other = (_: string, body: string): string =>
      body.replace(/"token-key":"[^"]*"/, (found) => found.replace(/AQ(?=[\w-]{40}AQAB)/, 'Ag').replace('MII', 'MIJ'))
    await expect(
      client({}, (path, body) => {
        sent.push(path)
        return other(path, body)
      }),
    ).rejects.toMatchObject({ code: 'access_token_invalid', kind: 'untrusted' })
    // Twice: the service could have had new keys meanwhile.
    expect(sent).toEqual([tokenDirectoryPath, tokenDirectoryPath])
  })

  test('new keys of the service: its clients get tokens of those and go on', async () => {
    const { connection, sent } = await client()
    await post(connection)
    await controller.renew()
    const proof = await connection.proofOf(await post(connection))
    expect(proof.error).toBeNull()
    // Over the connection that it has, it goes on under the keyset that it verified, and its tokens are taken.
    await connection.verify()
    expect((await connection.proofOf(await post(connection))).error).toBeNull()
    expect(sent.filter(({ path }) => path === tokenIssuePath).length).toBeGreaterThan(1)
  })

  test('without an API key, or with one that has no right to tokens, nothing is opened', async () => {
    const { key } = JSON.parse(await runKeys('create', ['--name', 'plain', ...to(), '--json'])) as { key: string }
    await expect(client({ apiKey: key })).rejects.toMatchObject({ code: 'access_tokens_unavailable', kind: 'configuration' })
    const policy = await readFile(join(directory, 'c', 'policy.json'), 'utf8')
    await expect(connect(controller.ready.url ?? '', { policy, trust: await trusted(), accessTokens: true })).rejects.toMatchObject({ code: 'usage' })
    // The same key serves as before where nobody asks for tokens.
    const transport = nodeTransport(controller.ready.url ?? '')
    const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
    expect((await transport.send({ method: 'POST', path: '/v1/chat/completions', headers, body: utf8(JSON.stringify(question)) })).status).toBe(200)
    transport.close()
  })

  test("S20: a validator's probes show a token each and no account, through the client that everybody has", async () => {
    const sent: TransportRequest[] = []
    const openTransport = (url: string, pin: string | null): Transport => {
      const inner = nodeTransport(url, pin)
      const noted = (request: TransportRequest): Promise<TransportResponse> => {
        sent.push(request)
        return inner.send(request)
      }
      // What `inner` learns of the connection is asked for later than now.
      return new Proxy(inner, {
        get: (of, name) => (name === 'send' ? noted : Reflect.get(of, name)),
      })
    }
    const policy = parsePolicy(await readFile(join(directory, 'c', 'policy.json'), 'utf8'))
    const trust = await trusted()
    const now = (): Date => new Date()
    const options = { policy, trust, now, operators: ['11'.repeat(32)], encryptTo: 'none', apiKey, accessTokens: true, openTransport } as const
    const path = await openPath(controller.ready.url ?? '', options)
    closing.push(() => path.connection.close())
    const clock = { clockMs: () => 0, signal: new AbortController().signal }
    for (let i = 0; i < 2; i++) {
      const { proof, failure, seen } = await exchange(path, utf8(JSON.stringify(question)), {}, clock)
      expect([failure, proof?.status]).toEqual([null, 'verified'])
      expect(seen.workerReceipt).toContain('veritee.inference')
    }
    const asked = sent.filter(({ path: where }) => where === '/v1/chat/completions').map(authorizationOf)
    expect(new Set(asked.map((value) => value.slice(0, 13)))).toEqual(new Set(['PrivateToken ']))
    expect(new Set(asked).size).toBe(2)
    expect(sent.filter((request) => authorizationOf(request).startsWith('Bearer ')).map(({ path: where }) => where)).toEqual([tokenIssuePath])
  })

  test('a local proxy asks with them, whatever its applications send', async () => {
    const { connection, sent } = await client()
    const proxy = await startProxy({ connection, recent: new RecentProofs(8), host: '127.0.0.1', port: 0, open: false, apiKey, log: () => undefined })
    const openai = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: 'of an application', maxRetries: 0 })
    const answer = await openai.chat.completions.create({ ...question, messages: [...question.messages] })
    expect(answer.choices[0]?.message.content).toBeTruthy()
    await proxy.close()
    expect(sent.filter(({ path }) => path === '/v1/chat/completions').every(isToken)).toBe(true)
    expect(sent.filter((request) => authorizationOf(request).startsWith('Bearer ')).map(({ path }) => path)).toEqual([tokenIssuePath])
  })

  test('figures are totals, and nothing of tokens or their holders is in the log', async () => {
    const { sent } = await client()
    const metrics = await (await fetch(`${controller.ready.operations}/metrics`)).text()
    expect(metrics).toMatch(/veritee_access_tokens_total\{event="issued"\} [1-9]/)
    expect(metrics).toMatch(/veritee_access_tokens_total\{event="spent"\} [1-9]/)
    expect(metrics).toMatch(/veritee_access_token_usage_total [1-9]/)
    const log = reported.join('\n')
    expect(log).not.toContain(apiKey)
    expect(log).not.toContain('PrivateToken')
    expect(sent.length).toBeGreaterThan(0)
  })
})

test('a key with a choice of models gets no right to tokens', async () => {
  await expect(runKeys('create', ['--name', 'x', '--access-tokens', '--model', model, ...to()])).rejects.toMatchObject({ code: 'usage' })
  expect(await runKeys('list', to())).toMatch(/test .* yes/)
})
