import { constants, createHash, createPrivateKey, generateKeyPairSync, type KeyObject, privateDecrypt } from 'node:crypto'
import { publicVerif, TOKEN_TYPES, Token, TokenChallenge } from '@cloudflare/privacypass-ts'
import { concat, fromHex, toHex, utf8 } from 'veritee/bytes'
import {
  accessTokenExtension,
  accessTokenTerms,
  base64Url,
  blind,
  challengeBytes,
  challengeOf,
  encodePss,
  fromBase64Url,
  keyOfDirectory,
  parseToken,
  parseTokenKey,
  requestToken,
  tokenAuthorization,
  tokenChallenge,
  tokenKeySpki,
  tokenOfAuthorization,
} from 'veritee/tokens'
import { describe, expect, test } from 'vitest'
import { inverse, vectors } from './vectors.ts'

const big = (hex: string): bigint => BigInt(`0x${hex}`)
const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const modulus = new Uint8Array(Buffer.from(pair.publicKey.export({ format: 'jwk' }).n ?? '', 'base64url'))
const sign = (key: KeyObject, blinded: Uint8Array): Uint8Array => new Uint8Array(privateDecrypt({ key, padding: constants.RSA_NO_PADDING }, blinded))
const { BlindRSAMode, Client, Issuer, TokenRequest, TokenResponse } = publicVerif
const { BLIND_RSA } = TOKEN_TYPES

test('RFC 9474 appendix A: the encoding, the blinded message and the signature of RSABSSA-SHA384-PSS-Deterministic', async () => {
  const v = vectors.blind_rsa
  const key = { n: big(v.n), e: big(v.e) }
  const [message, salt] = [fromHex(v.input_msg), fromHex(v.salt)]
  expect(toHex(await encodePss(message, salt, key.n.toString(2).length - 1))).toBe(v.encoded_msg)
  const blinded = await blind(key, message, { salt, r: inverse(big(v.inv), key.n) })
  expect(toHex(blinded.blinded)).toBe(v.blinded_msg)
  expect(toHex(blinded.finalize(fromHex(v.blind_sig)))).toBe(v.sig)
})

test.each(vectors.inputs.map((v, i) => [i, v] as const))('RFC 9577 appendix A, %i: the challenge and what a token signs', (_, v) => {
  const text = (hex: string): string => Buffer.from(hex, 'hex').toString()
  const challenge = challengeBytes(text(v.issuer_name), text(v.origin_info), fromHex(v.redemption_context))
  const digest = createHash('sha256').update(challenge).digest('hex')
  expect(`0002${v.nonce}${digest}${v.token_key_id}`).toBe(v.token_authenticator_input)
})

describe.each(vectors.issuance.map((v, i) => [i, v] as const))('RFC 9578 appendix, %i', (_, v) => {
  test('is asked for, signed and finalized to the byte', async () => {
    const key = await parseTokenKey(fromHex(v.pkS))
    const random = { salt: fromHex(v.salt), r: big(v.blind) }
    const pending = await requestToken(key, fromHex(v.token_challenge), fromHex(v.nonce), random)
    expect(toHex(pending.request)).toBe(v.token_request)
    const signed = sign(createPrivateKey(Buffer.from(v.skS, 'hex')), pending.request.subarray(3))
    expect(toHex(signed)).toBe(v.token_response)
    const token = pending.finalize(signed)
    expect(toHex(token)).toBe(v.token)
    expect(parseToken(token)).toMatchObject({ keyId: key.id, nonce: fromHex(v.nonce) })
  })
})

describe('another implementation, @cloudflare/privacypass-ts', () => {
  const challenge = challengeBytes('issuer.example', 'issuer.example')

  test('reads our challenge, signs what we blind, and takes the token', async () => {
    expect(TokenChallenge.deserialize(challenge)).toMatchObject({ tokenType: 2, issuerName: 'issuer.example', originInfo: ['issuer.example'] })
    const keys = await Issuer.generateKey(BlindRSAMode.PSS, { modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) })
    const issuer = new Issuer(BlindRSAMode.PSS, 'issuer.example', keys.privateKey, keys.publicKey)
    const { n = '' } = await crypto.subtle.exportKey('jwk', keys.publicKey)
    const key = await parseTokenKey(tokenKeySpki(new Uint8Array(Buffer.from(n, 'base64url'))))
    expect(key.id).toBe(toHex(await issuer.tokenKeyID()))
    const pending = await requestToken(key, challenge)
    const response = await issuer.issue(TokenRequest.deserialize(BLIND_RSA, pending.request))
    const token = pending.finalize(response.serialize())
    expect(await issuer.verify(Token.deserialize(BLIND_RSA, token))).toBe(true)
  })

  test('finalizes what our issuer signs into a token that we read', async () => {
    const key = await parseTokenKey(tokenKeySpki(modulus))
    const client = new Client(BlindRSAMode.PSS)
    const request = (await client.createTokenRequest(TokenChallenge.deserialize(challenge), key.spki)).serialize()
    expect(request[2]).toBe(fromHex(key.id)[31])
    const token = (await client.finalize(TokenResponse.deserialize(sign(pair.privateKey, request.subarray(3))))).serialize()
    expect(parseToken(token)).toMatchObject({ keyId: key.id })
    expect(tokenOfAuthorization(tokenAuthorization(token))).toEqual(token)
  })
})

describe('what comes from others', () => {
  const spki = tokenKeySpki(modulus)
  const changed = (bytes: Uint8Array, at: number, bits = 1): Uint8Array => bytes.map((byte, i) => (i === at ? byte ^ bits : byte))

  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ['an exponent of 3', concat(spki.subarray(0, -1), Uint8Array.of(3))],
    ['another algorithm', changed(spki, 20)],
    ['a byte more', concat(spki, Uint8Array.of(0))],
    ['a byte less', spki.subarray(0, -1)],
    ['a modulus of 2047 bits', changed(spki, 81, 0x80)],
    ['an even modulus', changed(spki, 336)],
    ['the same key as rsaEncryption', new Uint8Array(pair.publicKey.export({ format: 'der', type: 'spki' }))],
  ])('is no key: %s', async (_, bytes) => {
    await expect(parseTokenKey(bytes)).rejects.toMatchObject({ code: 'access_token_invalid' })
  })

  test.each<[string, (signed: Uint8Array) => Uint8Array]>([
    ['a changed signature', (signed) => changed(signed, 100)],
    ['one that is too short', (signed) => signed.subarray(1)],
    ['one that is too long', (signed) => concat(Uint8Array.of(0), signed)],
    ['zero', () => new Uint8Array(256)],
    ['one', () => changed(new Uint8Array(256), 255)],
    ['a number above the modulus', () => new Uint8Array(256).fill(0xff)],
    ['one of another key', (signed) => sign(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey, changed(signed, 0, signed[0]))],
  ])('is no signature: %s', async (_, change) => {
    const pending = await requestToken(await parseTokenKey(spki), utf8('challenge'))
    const signed = sign(pair.privateKey, pending.request.subarray(3))
    expect(() => pending.finalize(change(signed))).toThrow(expect.objectContaining({ code: 'access_token_invalid' }))
    expect(pending.finalize(signed)).toHaveLength(354)
  })

  test('a modulus that shares a factor with what was drawn is refused', async () => {
    const key = await parseTokenKey(spki)
    await expect(blind(key.rsa, utf8('m'), { salt: new Uint8Array(48), r: 0n })).rejects.toMatchObject({ code: 'access_token_invalid' })
  })

  const token = concat(Uint8Array.of(0, 2), new Uint8Array(352).fill(7))
  test.each<[string, string]>([
    ['a key', 'Bearer vk-x'],
    ['no token', 'PrivateToken'],
    ['an empty one', 'PrivateToken token=""'],
    ['half a quote', tokenAuthorization(token).slice(0, -1)],
    ['another parameter', `${tokenAuthorization(token)}, realm="x"`],
    ['a byte more', `PrivateToken token="${base64Url(concat(token, Uint8Array.of(1, 2, 3)))}"`],
    ['another alphabet', tokenAuthorization(token).replace('BwcH', 'Bw+H')],
  ])('is no authorization by token: %s', (_, value) => {
    expect(tokenOfAuthorization(value)).toBeNull()
  })

  test('an authorization may lack its quotes; its scheme is of either case', () => {
    expect(tokenOfAuthorization(tokenAuthorization(token).replaceAll('"', '').replace('PrivateToken', 'privatetoken'))).toEqual(token)
  })

  test('a token of another type or length is none', () => {
    expect(parseToken(token)).not.toBeNull()
    expect([changed(token, 0), changed(token, 1), token.subarray(1), concat(token, Uint8Array.of(0))].map(parseToken)).toEqual([
      null,
      null,
      null,
      null,
    ])
  })

  test('a blinded element shows nothing of its token: two requests for one nonce differ, and none of the token is in either', async () => {
    const key = await parseTokenKey(spki)
    const nonce = new Uint8Array(32).fill(5)
    const [a, b] = [await requestToken(key, utf8('c'), nonce), await requestToken(key, utf8('c'), nonce)]
    expect(toHex(a.request)).not.toBe(toHex(b.request))
    const shown = toHex(sign(pair.privateKey, a.request.subarray(3)))
    const made = parseToken(a.finalize(fromHex(shown)))
    expect(toHex(made?.authenticator ?? a.request)).not.toBe(shown)
    expect(toHex(a.request)).not.toContain(toHex(nonce))
  })
})

describe('terms in a descriptor', () => {
  const challenge = challengeBytes('issuer.example', 'issuer.example')
  const spki = tokenKeySpki(modulus)
  const named = { token_key_id: createHash('sha256').update(spki).digest('hex'), request_tokens: 4096, models: null }
  const terms = { challenge: base64Url(challenge), keys: [named] }
  const directory = (...keys: readonly string[]): string =>
    JSON.stringify({ 'issuer-request-uri': '/v1/veritee/tokens', 'token-keys': keys.map((key) => ({ 'token-type': 2, 'token-key': key })) })

  test('are read as they are written, and absent where there are none', () => {
    expect(accessTokenTerms({ extensions: { [accessTokenExtension]: terms } })).toEqual(terms)
    expect(challengeOf(terms)).toEqual(challenge)
    expect(accessTokenTerms({ extensions: {} })).toBeNull()
  })

  test.each<[string, unknown]>([
    ['nothing', null],
    ['without keys', { challenge: '' }],
    ['with more', { ...terms, more: 1 }],
    ['with a short id', { ...terms, keys: [{ ...named, token_key_id: 'ab' }] }],
    ['with a model that is none', { ...terms, keys: [{ ...named, models: [1] }] }],
    ['with too many keys', { ...terms, keys: Array.from({ length: 17 }, () => named) }],
  ])('%s are refused', (_, value) => {
    expect(() => accessTokenTerms({ extensions: { [accessTokenExtension]: value } })).toThrow(expect.objectContaining({ code: 'report_malformed' }))
  })

  test('a challenge of another alphabet is refused', () => {
    expect(() => challengeOf({ ...terms, challenge: '+/' })).toThrow(expect.objectContaining({ code: 'report_malformed' }))
  })

  test('S20: a key counts only where the quote binds it: one that a controller made for a single client is refused', async () => {
    const own = tokenKeySpki(
      new Uint8Array(Buffer.from(generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }).n ?? '', 'base64url')),
    )
    expect((await keyOfDirectory(directory(base64Url(own), '!', base64Url(spki)), named)).id).toBe(named.token_key_id)
    await expect(keyOfDirectory(directory(base64Url(own)), named)).rejects.toMatchObject({ code: 'access_token_invalid' })
    await expect(keyOfDirectory('{}', named)).rejects.toMatchObject({ code: 'service_refused' })
    await expect(keyOfDirectory('no', named)).rejects.toMatchObject({ code: 'service_refused' })
  })

  test('go with a challenge for clients of Privacy Pass alone', () => {
    expect(tokenChallenge(challenge, spki)).toBe(`PrivateToken challenge="${base64Url(challenge)}", token-key="${base64Url(spki)}"`)
    expect(fromBase64Url(base64Url(spki))).toEqual(spki)
  })
})
