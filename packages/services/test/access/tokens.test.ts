import type { IncomingMessage } from 'node:http'
import { publicVerif, TOKEN_TYPES, Token, TokenChallenge } from '@cloudflare/privacypass-ts'
import { concatAll, fromHex, toHex } from 'veritee/bytes'
import { parseToken, requestBytes, tokenAuthorization, tokenOfAuthorization } from 'veritee/tokens'
import { afterEach, describe, expect, test } from 'vitest'
import type { Access, Grant } from '../../src/controller/stages/access.ts'
import { HttpError } from '../../src/http/errors.ts'
import { noLimits } from './store.ts'
import { type Counter, type CounterOptions, openCounter } from './tokens.ts'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})
async function counter(options: CounterOptions = {}): Promise<Counter> {
  const opened = await openCounter(options)
  closing.push(opened.close)
  return opened
}

const asking = (authorization: string, url = '/v1/chat/completions', remoteAddress = '192.0.2.1'): IncomingMessage =>
  ({ method: 'POST', url, headers: { authorization }, socket: { remoteAddress } }) as IncomingMessage

function serve(access: Access, authorization: string, bytes = 4, answer: number | null = null): Grant | HttpError {
  const incoming = asking(authorization)
  const refusal = access.authenticate?.(incoming) ?? null
  return (refusal ?? access.admit(incoming, 'm', bytes, answer)) as Grant | HttpError
}
const codeOf = (outcome: unknown): unknown => (outcome instanceof HttpError ? [outcome.status, outcome.code] : 'granted')
const changed = (authorization: string, at: number): string => {
  const token = tokenOfAuthorization(authorization) ?? new Uint8Array(0)
  return tokenAuthorization(token.map((byte, i) => (i === at ? byte ^ 1 : byte)))
}

describe('a token', () => {
  test('is good for one request, and no two find what is kept of the other', async () => {
    const { access, key, buy, tokens } = await counter()
    const [a = '', b = ''] = await buy((await key()).key, 2)
    const [first, second] = [serve(access, a), serve(access, b)]
    expect([codeOf(first), codeOf(second), codeOf(serve(access, a)), codeOf(serve(access, b))]).toEqual([
      'granted',
      'granted',
      [401, 'access_token_spent'],
      [401, 'access_token_spent'],
    ])
    expect((first as Grant).salt).toBeDefined()
    expect((first as Grant).salt).not.toBe((second as Grant).salt)
    expect((first as Grant).headers).toBeUndefined()
    ;(first as Grant).settle({ receiptId: 'r', model: 'm', outcome: 'complete', usage: { promptTokens: 3, completionTokens: 4 } })
    ;(second as Grant).settle({ receiptId: 's', model: 'm', outcome: 'error', usage: null })
    expect(tokens.totals).toEqual({ issued: 2, spent: 2, usedTokens: 7 })
  })

  test('has no turn of its own in a queue: as many as somebody has, they wait in that of his address', async () => {
    const { access, key, buy } = await counter()
    const tokens = await buy((await key()).key, 3)
    const tenants = tokens.map((token, i) => {
      const incoming = asking(token, '/v1/chat/completions', i < 2 ? `2001:db8:1:1::${i}` : '2001:db8:1:2::1')
      access.authenticate(incoming)
      return (access.admit(incoming, 'm', 4, null) as Grant).tenant
    })
    expect(tenants).toEqual(['address 2001:db8:1:1', 'address 2001:db8:1:1', 'address 2001:db8:1:2'])
  })

  test('is good for one of two requests whose bodies come at the same time', async () => {
    const { access, key, buy } = await counter()
    const [token = ''] = await buy((await key()).key, 1)
    const requests = [asking(token), asking(token), asking(token)]
    // All are let through before a body is read: none has been spent.
    expect(requests.map((incoming) => access.authenticate(incoming))).toEqual([null, null, null])
    expect(requests.map((incoming) => codeOf(access.admit(incoming, 'm', 4, null)))).toEqual([
      'granted',
      [401, 'access_token_spent'],
      [401, 'access_token_spent'],
    ])
  })

  test('that was spent still lets its holder ask for the receipt, encrypted, and run nothing', async () => {
    const { access, key, buy } = await counter()
    const [token = ''] = await buy((await key()).key, 1)
    serve(access, token)
    expect(access.authenticate(asking(token, '/v1/veritee/receipts'))).toBeNull()
    expect(codeOf(access.authenticate(asking(token)))).toEqual([401, 'access_token_spent'])
  })

  test.each<[string, string, (token: string) => string]>([
    ['access_token_malformed', 'nothing', () => 'PrivateToken'],
    ['access_token_malformed', 'another type', (token) => changed(token, 1)],
    ['access_token_malformed', 'half of it', (token) => `${token.slice(0, 200)}"`],
    ['access_token_invalid', 'another nonce', (token) => changed(token, 2)],
    ['access_token_invalid', 'another challenge', (token) => changed(token, 40)],
    ['access_token_unknown_key', 'another key id', (token) => changed(token, 70)],
    ['access_token_invalid', 'another signature', (token) => changed(token, 200)],
  ])('is refused with %s: %s; and it says where others are to be had', async (code, _, change) => {
    const { access, key, buy, tokens } = await counter()
    const [token = ''] = await buy((await key()).key, 1)
    const refused = access.authenticate(asking(change(token)))
    expect(codeOf(refused)).toEqual([401, code])
    expect(refused?.headers['www-authenticate']).toBe(tokens.challenge)
    expect(tokens.challenge).toMatch(/^Bearer, PrivateToken challenge="AAI[\w-]+=*", token-key="MII[\w=-]+"$/)
    expect(codeOf(serve(access, token))).toBe('granted')
  })

  test('of another controller is refused, also where that one has the same name', async () => {
    const [one, other] = [await counter(), await counter()]
    const [token = ''] = await other.buy((await other.key()).key, 1)
    expect(codeOf(serve(one.access, token))).toEqual([401, 'access_token_unknown_key'])
  })

  test('ends with the keyset of its key, and sooner where two more are in force', async () => {
    let at = Date.parse('2026-01-01T00:00:00Z')
    const { access, key, buy, tokens } = await counter({ now: () => new Date(at) })
    const [a = '', b = '', c = ''] = await buy((await key()).key, 3)
    at += 86_399_000
    expect(codeOf(serve(access, a))).toBe('granted')
    at += 1000
    expect(codeOf(serve(access, b))).toEqual([401, 'access_token_unknown_key'])
    at -= 1000
    for (let i = 0; i < 2; i++) tokens.follow(await tokens.next(), at / 1000 + 86_400)
    expect(codeOf(serve(access, b))).toBe('granted')
    tokens.follow(await tokens.next(), at / 1000 + 86_400)
    expect(codeOf(serve(access, c))).toEqual([401, 'access_token_unknown_key'])
  })

  test('pays for so many tokens of prompt and answer, and is not spent by what asks for more', async () => {
    const { access, key, buy } = await counter({ requestTokens: 100 })
    const [token = ''] = await buy((await key()).key, 1)
    expect(codeOf(serve(access, token, 40, 91))).toEqual([400, 'access_token_limit'])
    expect(codeOf(serve(access, token, 401))).toEqual([400, 'access_token_limit'])
    expect(codeOf(serve(access, token, 40, 90))).toBe('granted')
  })
})

describe('issuance', () => {
  test('refuses who has no API key', async () => {
    const { post } = await counter()
    const answer = await post(null, new Uint8Array(requestBytes))
    expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([401, 'invalid_api_key'])
  })

  test('refuses keys without the right to it, and revoked ones', async () => {
    const { ring, buy, key } = await counter()
    const { key: without } = await ring.create({ name: 'x', models: null, limits: noLimits, expires: null })
    await expect(buy(without, 1)).rejects.toThrow('access_tokens_not_allowed')
    const { key: gone, id } = await key()
    await ring.revoke(id)
    await expect(buy(gone, 1)).rejects.toThrow('invalid_api_key')
  })

  test('charges for the most that each token can cost, before it is used, and gives nothing back', async () => {
    const { key, buy, spending, access } = await counter({ requestTokens: 1000 })
    const { key: own, id } = await key({ limits: { ...noLimits, tokens_per_month: 3500 } })
    const [token = ''] = await buy(own, 2)
    expect(spending.of(id)).toEqual({ requests: 2, tokens: 2000 })
    const grant = serve(access, token) as Grant
    grant.settle({ receiptId: 'r', model: 'm', outcome: 'complete', usage: { promptTokens: 1, completionTokens: 1 } })
    expect(spending.of(id)).toEqual({ requests: 2, tokens: 2000 })
    await expect(buy(own, 2)).rejects.toThrow('insufficient_quota')
    expect(spending.of(id)).toEqual({ requests: 2, tokens: 2000 })
    await buy(own, 1)
    expect(spending.of(id)).toEqual({ requests: 3, tokens: 3000 })
  })

  test('counts against requests and tokens per minute; a batch that is more than a minute allows is told to be smaller', async () => {
    const { key, buy } = await counter({ requestTokens: 10 })
    const { key: slow } = await key({ limits: { ...noLimits, requests_per_minute: 4 } })
    await expect(buy(slow, 5)).rejects.toThrow('access_token_batch_too_large')
    await buy(slow, 3)
    await expect(buy(slow, 2)).rejects.toThrow('rate_limit_exceeded')
    await buy(slow, 1)
    const { key: small } = await key({ limits: { ...noLimits, tokens_per_minute: 25 } })
    await expect(buy(small, 3)).rejects.toThrow('access_token_batch_too_large')
    await buy(small, 2)
    await expect(buy(small, 1)).rejects.toThrow('rate_limit_exceeded')
  })

  test('ends where one key has issued what it may, charges nothing then, and new keys are due before', async () => {
    const { key, buy, tokens, spending } = await counter({ capacity: 4 })
    const { key: own, id } = await key()
    await buy(own, 2)
    expect(tokens.worn).toBe(false)
    await buy(own, 1)
    expect(tokens.worn).toBe(true)
    await expect(buy(own, 2)).rejects.toThrow('access_tokens_exhausted')
    expect(spending.of(id).requests).toBe(3)
    tokens.follow(await tokens.next(), Date.now() / 1000 + 86_400)
    expect(tokens.worn).toBe(false)
  })

  test.each<[string, (good: Uint8Array) => Uint8Array, string?]>([
    ['nothing', () => new Uint8Array(0)],
    ['a byte more', (good) => concatAll([good, Uint8Array.of(0)])],
    ['another type', (good) => good.map((byte, i) => (i === 1 ? 1 : byte))],
    ['another key', (good) => good.map((byte, i) => (i === 2 ? byte ^ 1 : byte))],
    ['an element above the modulus', (good) => good.map((byte, i) => (i > 2 ? 0xff : byte))],
    ['one of two that is malformed', (good) => concatAll([good, good.map((byte, i) => (i > 2 ? 0xff : byte))])],
    ['another media type', (good) => good, 'application/octet-stream'],
  ])('refuses %s, and charges nothing', async (_, change, type) => {
    const { key, post, issuer, spending } = await counter()
    const { key: own, id } = await key()
    const good = concatAll([Uint8Array.of(0, 2, Number.parseInt(issuer.key.id.slice(-2), 16)), new Uint8Array(256).fill(1)])
    const answer = await post(own, change(good), type)
    expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([400, 'access_token_request_malformed'])
    expect(spending.of(id)).toEqual({ requests: 0, tokens: 0 })
    expect((await post(own, good)).status).toBe(200)
  })

  test('signs once in a round of the event loop, however many batches are asked for at the same time, and they take turns', async () => {
    const { key, buy, issuer } = await counter()
    let round = 0
    let timer: NodeJS.Immediate
    const count = (): void => {
      round++
      timer = setImmediate(count)
    }
    const rounds: number[] = []
    const sign = issuer.sign.bind(issuer)
    issuer.sign = (blinded) => {
      rounds.push(round)
      return sign(blinded)
    }
    const { key: own } = await key()
    count()
    await Promise.all([buy(own, 12), buy(own, 12), buy(own, 12)]).finally(() => clearImmediate(timer))
    expect([rounds.length, new Set(rounds).size]).toEqual([36, 36])
  })

  test('goes on after a signature that came out wrong', async () => {
    const { issuer } = await counter()
    const sign = issuer.sign.bind(issuer)
    issuer.sign = () => {
      throw new TypeError('miscalculated')
    }
    const wrong = issuer.signInTurn(new Uint8Array(256))
    await expect(wrong).rejects.toThrow('miscalculated')
    issuer.sign = sign
    expect((await issuer.signInTurn(new Uint8Array(256).fill(1))).length).toBe(256)
  })

  test('of more than a hundred at a time is refused', async () => {
    const { key, post } = await counter()
    expect((await post((await key()).key, new Uint8Array(101 * requestBytes))).status).toBe(413)
  })

  test('works with @cloudflare/privacypass-ts as it is, and its token is served', async () => {
    const { key, post, issuer, tokens, access } = await counter()
    const client = new publicVerif.Client(publicVerif.BlindRSAMode.PSS)
    const challenge = Buffer.from(tokens.extension(issuer)['veritee.access_tokens'].challenge, 'base64url')
    const request = await client.createTokenRequest(TokenChallenge.deserialize(new Uint8Array(challenge)), issuer.key.spki)
    const answer = new Uint8Array(await (await post((await key()).key, request.serialize())).arrayBuffer())
    const token = await client.finalize(publicVerif.TokenResponse.deserialize(answer))
    expect(codeOf(serve(access, tokenAuthorization(token.serialize())))).toBe('granted')
    expect(Token.deserialize(TOKEN_TYPES.BLIND_RSA, token.serialize()).authInput.tokenType).toBe(2)
  })

  test('S20: what passes an issuer, and what it keeps and stores, has nothing in common with the tokens that come of it', async () => {
    const seen: string[] = []
    const { key, buy, issuer, shared, spending, tokens } = await counter()
    const sign = issuer.sign.bind(issuer)
    issuer.sign = (blinded) => {
      const signed = sign(blinded)
      seen.push(toHex(blinded), toHex(signed))
      return signed
    }
    const { key: own, id } = await key()
    const made = (await buy(own, 3)).map((authorization) => parseToken(tokenOfAuthorization(authorization) ?? new Uint8Array(0)))
    await spending.sync()
    const rows = await Promise.all(['keys', 'spending'].map((table) => shared.store.authority.list(table, '', 100)))
    const kept = `${seen.join(' ')} ${rows
      .flat()
      .map((row) => `${JSON.stringify(row)} ${Buffer.from(row.content).toString('hex')}`)
      .join(' ')} ${JSON.stringify(tokens.totals)}`
    expect(seen).toHaveLength(6)
    expect(made).toHaveLength(3)
    for (const token of made)
      for (const part of [token?.nonce, token?.authenticator, token?.input]) expect(kept).not.toContain(toHex(part ?? fromHex('00')).slice(0, 32))
    // What is known of the account is how much, and nothing more.
    expect(spending.of(id)).toEqual({ requests: 3, tokens: 3000 })
  })
})
