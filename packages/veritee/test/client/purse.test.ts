import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto'
import { concatAll, utf8 } from 'veritee/bytes'
import { accessTokenExtension, base64Url, challengeBytes, parseTokenKey, tokenDirectoryPath, tokenKeySpki } from 'veritee/tokens'
import { expect, test } from 'vitest'
import type { Service } from '../../src/client/establish.ts'
import type { Call } from '../../src/client/exchange/call.ts'
import type { Sent } from '../../src/client/exchange/sending.ts'
import { readBody, serviceMessage } from '../../src/client/fetch-text.ts'
import { TokenPurse } from '../../src/client/tokens/purse.ts'
import type { Transport, TransportRequest, TransportResponse } from '../../src/client/transport.ts'

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const spki = tokenKeySpki(new Uint8Array(Buffer.from(pair.publicKey.export({ format: 'jwk' }).n ?? '', 'base64url')))
const { id } = await parseTokenKey(spki)
const terms = { challenge: base64Url(challengeBytes('x.example', 'x.example')), keys: [{ token_key_id: id, request_tokens: 10, models: null }] }
const service = { report: { descriptor: { extensions: { [accessTokenExtension]: terms } } }, transport: { spki: null } } as unknown as Service
const at = { service, url: 'https://x.example' }
const call: Call = {
  method: 'POST',
  path: '/v1/chat/completions',
  headers: { authorization: 'Bearer mine' },
  body: null,
  signal: new AbortController().signal,
}

/** A purse at an issuer that gives `most` tokens at a time; what is to happen later waits until the test says so. */
function issuerOf(most: number) {
  const asked: number[] = []
  const waiting: { readonly run: () => void; readonly delayMs: number }[] = []
  const answer = (status: number, body: Uint8Array): TransportResponse => ({
    status,
    headers: {},
    body: (async function* () {
      yield body
    })(),
  })
  const send = async ({ path, body = new Uint8Array(0), headers = {} }: TransportRequest): Promise<TransportResponse> => {
    if (path === tokenDirectoryPath) return answer(200, utf8(JSON.stringify({ 'token-keys': [{ 'token-type': 2, 'token-key': base64Url(spki) }] })))
    expect(headers.authorization).toBe('Bearer vk-own')
    const count = body.length / 259
    asked.push(count)
    if (count > most) return answer(400, utf8('{"error":{"message":"m","code":"access_token_batch_too_large"}}'))
    const sign = (i: number): Uint8Array =>
      privateDecrypt({ key: pair.privateKey, padding: constants.RSA_NO_PADDING }, body.subarray(259 * i + 3, 259 * (i + 1)))
    return answer(200, concatAll(Array.from({ length: count }, (_, i) => sign(i))))
  }
  const open = (): Transport => ({ origin: at.url, loopback: false, spki: null, send, close: () => undefined })
  const later = (run: () => void, delayMs: number): void => void waiting.push({ run, delayMs })
  return { asked, waiting, purse: new TokenPurse({ apiKey: 'vk-own', timeoutMs: 600_000, open, readBody, serviceMessage, later }) }
}

const sentWith = (status: number, given: Call, receipt?: string): Sent =>
  ({
    call: given,
    abort: new AbortController(),
    response: { status, headers: receipt === undefined ? {} : { 'x-receipt-id': receipt } },
  }) as unknown as Sent

test('tokens are got ahead, always as many, and more of them at some later moment and not that of a request', async () => {
  const { purse, asked, waiting } = issuerOf(100)
  await purse.ready(at)
  expect(asked).toEqual([16])
  const shown = new Set<string>()
  for (let i = 0; i < 8; i++) shown.add((await purse.send(at, call, async (paid) => sentWith(200, paid))).call.headers.authorization ?? '')
  expect([shown.size, shown.has('Bearer mine'), waiting.length]).toEqual([8, false, 0])
  await purse.send(at, call, async (paid) => sentWith(200, paid))
  expect([asked, waiting.length]).toEqual([[16], 1])
  expect(waiting[0]?.delayMs).toBeGreaterThanOrEqual(0)
  expect(waiting[0]?.delayMs).toBeLessThan(20_000)
  waiting[0]?.run()
  await purse.send(at, call, async (paid) => sentWith(200, paid))
  while (asked.length < 2) await new Promise((resolve) => setImmediate(resolve))
  expect(asked).toEqual([16, 16])
})

test('fewer are asked for where the limits of the key are lower, and none where they are lower than one costs', async () => {
  const some = issuerOf(3)
  await some.purse.ready(at)
  expect(some.asked).toEqual([16, 8, 4, 2])
  const none = issuerOf(0)
  await expect(none.purse.ready(at)).rejects.toMatchObject({ code: 'access_tokens_unavailable' })
  expect(none.asked).toEqual([16, 8, 4, 2, 1])
})

test('where a token is refused another one is taken, twice, the last of them from a new batch; then the refusal is the answer', async () => {
  const { purse, asked } = issuerOf(100)
  const shown: string[] = []
  const refused = await purse.send(at, call, async (paid) => {
    shown.push(paid.headers.authorization ?? '')
    return sentWith(401, paid)
  })
  expect([refused.response.status, new Set(shown).size, asked]).toEqual([401, 3, [16, 16]])
  // What was got anew is not thrown away: who refuses everything costs a token for each attempt, and not a batch for each request.
  await purse.send(at, call, async (paid) => sentWith(401, paid))
  expect(asked).toEqual([16, 16])
})

test('what asks for a receipt shows the token of its request, any other GET shows nothing', async () => {
  const { purse } = issuerOf(100)
  const sent = await purse.send(at, call, async (paid) => sentWith(200, paid, 'rcpt-1'))
  const get = (path: string): unknown => purse.unsigned({ ...call, method: 'GET', path }).headers.authorization
  expect(get('/v1/aci/receipts/rcpt-1')).toBe(sent.call.headers.authorization)
  expect(get('/v1/veritee/receipts/rcpt-1/upstream')).toBe(sent.call.headers.authorization)
  expect([get('/v1/aci/receipts/rcpt-2'), get('/v1/models')]).toEqual([undefined, undefined])
})

test('of what a caller sends, nothing goes with a token that names an account or ties requests together', async () => {
  const { purse } = issuerOf(100)
  const told = { accept: 'application/json', 'content-type': 'application/json' }
  const telling = {
    'x-api-key': 'mine',
    'api-key': 'mine',
    cookie: 'a=b',
    'openai-organization': 'o',
    traceparent: '00-1',
    'x-stainless-os': 'x',
    'user-agent': 'u',
  }
  const given = { ...call, headers: { ...call.headers, ...told, ...telling } }
  const { call: paid } = await purse.send(at, given, async (one) => sentWith(200, one))
  expect(paid.headers).toEqual({ ...told, authorization: expect.stringMatching(/^PrivateToken /) })
  expect(purse.unsigned({ ...given, method: 'GET', path: '/v1/models' }).headers).toEqual(told)
})

test('a service that never says whether it gives tokens holds nobody for ever', async () => {
  const silent = ({ signal }: TransportRequest): Promise<never> =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new TypeError('gave up'))))
  const open = (): Transport => ({ origin: at.url, loopback: false, spki: null, send: silent, close: () => undefined })
  const purse = new TokenPurse({ apiKey: 'vk-own', timeoutMs: 1, open, readBody, serviceMessage })
  await expect(purse.send(at, call, async (paid) => sentWith(200, paid))).rejects.toThrow('gave up')
})

test('a purse that was closed gets no more tokens, also not those that it meant to get later', async () => {
  const { purse, asked, waiting } = issuerOf(100)
  for (let i = 0; i < 9; i++) await purse.send(at, call, async (paid) => sentWith(200, paid))
  purse.close()
  for (const { run } of waiting) run()
  await expect(purse.send(at, call, async (paid) => sentWith(200, paid))).rejects.toThrow('closed')
  expect(asked).toEqual([16])
})

test.for([
  ['none', []],
  ['none for every model', [{ challenge: terms.challenge, keys: [{ token_key_id: id, request_tokens: 10, models: ['m'] }] }]],
  ['none when they are asked for', [terms]],
] as const)('a service that issues %s is an error, and nothing is asked for ever', async ([, said]) => {
  const { purse, asked } = issuerOf(100)
  const left: unknown[] = [...said]
  const extensions = {
    get [accessTokenExtension](): unknown {
      return left.shift()
    },
  }
  const without = { service: { ...service, report: { descriptor: { extensions } } } as unknown as Service, url: at.url }
  await expect(purse.send(without, call, async (paid) => sentWith(200, paid))).rejects.toMatchObject({ code: 'access_tokens_unavailable' })
  expect(asked).toEqual([])
})
