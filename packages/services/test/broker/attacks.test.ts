import { constants, generateKeyPairSync, privateDecrypt } from 'node:crypto'
import type { ClientRequest } from 'node:http'
import https from 'node:https'
import { type Json, toBase64 } from 'veritee/bytes'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openJwe, teePubkeyOf } from '../../src/enclave/runtime/kbs/index.ts'
import {
  adminToken,
  attest,
  attestationBody,
  authenticate,
  cookieIn,
  descriptorOf,
  digestOf,
  type EvidenceParts,
  enclaves,
  evidenceOf,
  get,
  type Handshake,
  newTeeKey,
  policyText,
  quoterOf,
  type RunningBroker,
  said,
  secret,
  send,
  startBroker,
} from './system.ts'

const name = 'models/demo/1'
let running: RunningBroker
beforeAll(async () => {
  running = await startBroker()
  await running.put(name)
  await running.put('models/quote/1', { evidence: 'quote' })
})
afterAll(() => running.close())

/** An honest handshake up to the token. */
async function attested(of: RunningBroker = running): Promise<Handshake & { readonly token: string }> {
  const shake = await authenticate(of.kbs.url)
  const reply = await attest(of.kbs.url, shake.cookie, attestationBody(await evidenceOf(of, shake)))
  expect(said(reply)).toBe('200')
  return { ...shake, token: (reply.json as { token: string }).token }
}

type Parts = (shake: Handshake, honest: EvidenceParts) => EvidenceParts | Promise<EvidenceParts>

describe('evidence that is not what it should be', () => {
  const cases: readonly (readonly [string, string, Parts])[] = [
    ['honest evidence passes', '200', (_, honest) => honest],
    [
      'S13: the key of somebody else beside an honest quote',
      '401 kbs_binding_mismatch',
      (_, honest) => ({ ...honest, pubkey: teePubkeyOf(newTeeKey()) as unknown as Json }),
    ],
    [
      'S13: a quote over a nonce of another session',
      '401 kbs_binding_mismatch',
      async (shake, honest) => {
        const stale = await authenticate(running.kbs.url)
        const { quote } = await evidenceOf(running, { ...stale, teeKey: shake.teeKey })
        return { ...honest, quote }
      },
    ],
    ['S13: evidence as a whole from another session', '401 kbs_nonce_mismatch', async () => evidenceOf(running, await authenticate(running.kbs.url))],
    [
      'S1: the quote of an aci/1 report, over the same nonce',
      '401 kbs_binding_mismatch',
      async (shake, honest) => {
        const nonce = Buffer.from(shake.nonce, 'base64').toString('hex')
        const quote = await quoterOf(running.platform).quote({ purpose: 'aci.report_data.v1', keysetDigest: `sha256:${'ab'.repeat(32)}`, nonce })
        return { ...honest, quote }
      },
    ],
    [
      'S7: another descriptor than the quote binds',
      '401 report_descriptor_mismatch',
      (_, honest) => ({ ...honest, descriptor: descriptorOf('worker', { operator_key: 'aa'.repeat(32) }) }),
    ],
    [
      'S7: another descriptor, with its digest beside the quote',
      '401 kbs_binding_mismatch',
      (_, honest) => {
        const descriptor = descriptorOf('worker', { operator_key: 'aa'.repeat(32) })
        return { ...honest, descriptor, additional: `{"veritee":{"descriptor":"${digestOf(descriptor)}"}}` }
      },
    ],
    ['S7: the descriptor taken out, the binding left', '401 kbs_request_malformed', (_, honest) => ({ ...honest, descriptor: null })],
    ['S7: the binding taken out', '401 kbs_binding_mismatch', (_, honest) => ({ ...honest, additional: '', descriptor: null })],
    [
      'S7: the binding in another spelling',
      '401 kbs_request_malformed',
      (_, honest) => ({ ...honest, additional: honest.additional.replace(':', ': ') }),
    ],
    [
      'evidence of a device that is not judged',
      '401 kbs_evidence_unsupported',
      (_, honest) => ({ ...honest, additional: '{"nvidia":{"evidence":"x"}}', descriptor: null }),
    ],
    [
      'a changed byte in the signed part of the quote',
      '401 quote_signature_invalid',
      (_, honest) => ({ ...honest, quote: honest.quote.map((byte, i) => (i === 48 + 64 ? byte ^ 1 : byte)) }),
    ],
    ['a quote cut short', '401 quote_malformed', (_, honest) => ({ ...honest, quote: honest.quote.subarray(0, 400) })],
    ['collateral that lacks a part', '401 collateral_missing', (_, honest) => ({ ...honest, collateral: { ...honest.collateral, pck_crl: '' } })],
  ]
  it.each(cases)('%s', async (_title, expected, change) => {
    const shake = await authenticate(running.kbs.url)
    const parts = await change(shake, await evidenceOf(running, shake))
    expect(said(await attest(running.kbs.url, shake.cookie, attestationBody(parts)))).toBe(expected)
  })

  it('S22: a descriptor that is too large to be kept', async () => {
    const shake = await authenticate(running.kbs.url)
    const descriptor = descriptorOf('worker', { extensions: { more: 'x'.repeat(33_000) } })
    const descriptorDigest = digestOf(descriptor)
    const quote = await quoterOf(running.platform).quote({ purpose: 'kbs.rcar.v0', nonce: shake.nonce, teeKey: shake.teeKey, descriptorDigest })
    const parts = { ...(await evidenceOf(running, shake)), descriptor, quote, additional: `{"veritee":{"descriptor":"${descriptorDigest}"}}` }
    expect(said(await attest(running.kbs.url, shake.cookie, attestationBody(parts)))).toBe('401 kbs_request_malformed')
  })

  it('S13: a key that is no key to encrypt to', async () => {
    const { n, e } = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' })
    const modulus = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }).n ?? ''
    const exponents = ['AQ', 'Aw', 'AQAA', 'AQAAAAE', Buffer.alloc(200, 0xff).toString('base64url')]
    const good = teePubkeyOf(newTeeKey()) as unknown as { [name: string]: Json }
    const private_ = { ...good, d: 'AAAA' }
    for (const pubkey of [
      { ...good, alg: 'RSA1_5' },
      { ...good, alg: 'none' },
      { ...good, crv: 'P-384' },
      { ...good, y: good.x ?? null },
      { ...good, x: '' },
      { ...good, x: 12 },
      private_,
      { kty: 'RSA', alg: 'RSA1_5', n: n ?? '', e: e ?? '' },
      { kty: 'RSA', alg: 'RSA-OAEP-256', n: n ?? '', e: e ?? '' },
      ...exponents.map((exponent) => ({ kty: 'RSA', alg: 'RSA-OAEP-256', n: modulus, e: exponent })),
      { kty: 'oct', k: 'AAAA' },
      null,
      'key',
    ]) {
      const shake = await authenticate(running.kbs.url)
      const body = attestationBody({ ...(await evidenceOf(running, shake)), pubkey })
      expect(said(await attest(running.kbs.url, shake.cookie, body)), JSON.stringify(pubkey)).toBe('401 kbs_request_malformed')
    }
  })
})

describe('nonces and sessions', () => {
  it('S13: a session planted by somebody else gives him what only the victim can open', async () => {
    const attacker = await authenticate(running.kbs.url)
    const victim = { ...attacker, teeKey: newTeeKey() }
    expect(said(await attest(running.kbs.url, attacker.cookie, attestationBody(await evidenceOf(running, victim))))).toBe('200')
    const { json } = await get(running.kbs.url, name, { cookie: attacker.cookie })
    expect(() => openJwe(json, attacker.teeKey)).toThrowError(expect.objectContaining({ code: 'kbs_jwe_invalid' }))
    expect(openJwe(json, victim.teeKey)).toEqual(secret)
  })

  it('S13: of several cookies the first session counts; other spellings are none', async () => {
    const { cookie } = await attested()
    const id = cookie.slice(cookie.indexOf('=') + 1)
    const other = `kbs-session-id=${'0'.repeat(32)}`
    for (const [header, expected] of [
      [`a=b; ${cookie}`, '200'],
      [`${cookie}; ${other}`, '200'],
      [`${other}; ${cookie}`, '401 kbs_session_unknown'],
      [`x${cookie}`, '401 kbs_session_unknown'],
      [`kbs-session-id="${id}"`, '401 kbs_session_unknown'],
      [`kbs-session-id=${id.toUpperCase()}x`, '401 kbs_session_unknown'],
      [`kbs-session-id=${id}0`, '401 kbs_session_unknown'],
      [`KBS-SESSION-ID=${id}`, '401 kbs_session_unknown'],
    ] as const)
      expect(said(await get(running.kbs.url, name, { cookie: header })), header).toBe(expected)
  })

  it('S22: sessions are bounded, the oldest go first, and an attested one counts apart from those that wait', async () => {
    const { Sessions } = await import('../../src/enclave/broker/sessions.ts')
    const sessions = new Sessions(
      () => new Date(0),
      () => 0,
    )
    const [first, second] = [sessions.challenge('sgx'), sessions.challenge('sgx')]
    const drawn = { drawnAt: new Date(0), drawnMs: 0 }
    const whole = sessions.attest({ id: second.id, ...drawn } as unknown as Parameters<typeof sessions.attest>[0])
    for (let i = 0; i < 4096; i++) sessions.challenge('sgx')
    expect(() => sessions.take(first.id)).toThrowError(expect.objectContaining({ code: 'kbs_session_unknown' }))
    expect(sessions.ofSession(second.id)).toBe(whole)
    for (let i = 0; i < 1024; i++) sessions.attest({ id: `${i}`, ...drawn } as unknown as Parameters<typeof sessions.attest>[0])
    expect(() => sessions.ofSession(second.id)).toThrowError(expect.objectContaining({ code: 'kbs_session_unknown' }))
    expect(() => sessions.ofToken(whole.tokenId)).toThrowError(expect.objectContaining({ code: 'kbs_token_invalid' }))
  })

  it('S22: all addresses of one IPv6 network share its places', async () => {
    const { Places } = await import('../../src/enclave/broker/places.ts')
    const places = new Places()
    const leave = Array.from({ length: 16 }, (_, i) => places.enter(`2001:db8:0:1::${i.toString(16)}`))
    expect(() => places.enter('2001:db8:0:1:ffff::1')).toThrowError(expect.objectContaining({ status: 503 }))
    places.enter('2001:db8:0:2::1')
    leave[0]?.()
    places.enter('2001:db8:0:1:ffff::1')
  })

  it('S22: evidence that is sent slowly takes a bounded number of places, and gives them back', async () => {
    const slow: ClientRequest[] = []
    for (let i = 0; i < 16; i++) {
      const { cookie } = await authenticate(running.kbs.url)
      const options = { method: 'POST', headers: { cookie, 'content-length': '500000' }, rejectUnauthorized: false }
      const request = https.request(`${running.kbs.url}/kbs/v0/attest`, options)
      request.on('error', () => undefined)
      request.write('{')
      slow.push(request)
    }
    const shake = await authenticate(running.kbs.url)
    const body = attestationBody(await evidenceOf(running, shake))
    let answer = '200'
    // Until the last of them has arrived; a place that is refused leaves the nonce unused.
    for (let i = 0; i < 200 && answer === '200'; i++) {
      const probe = await authenticate(running.kbs.url)
      answer = said(await attest(running.kbs.url, probe.cookie, { nothing: 1 })).replace('401 kbs_request_malformed', '200')
    }
    expect(answer).toBe('503 kbs_busy')
    for (const request of slow) request.destroy()
    for (let i = 0; i < 200 && answer !== '200'; i++) answer = said(await attest(running.kbs.url, shake.cookie, body))
    expect(answer).toBe('200')
  })

  it('S13: a nonce serves once, whatever came of it', async () => {
    const shake = await authenticate(running.kbs.url)
    const body = attestationBody(await evidenceOf(running, shake))
    expect(said(await attest(running.kbs.url, shake.cookie, body))).toBe('200')
    expect(said(await attest(running.kbs.url, shake.cookie, body))).toBe('401 kbs_session_unknown')

    const failed = await authenticate(running.kbs.url)
    const good = attestationBody(await evidenceOf(running, failed))
    expect(said(await attest(running.kbs.url, failed.cookie, { nothing: 1 }))).toBe('401 kbs_request_malformed')
    expect(said(await attest(running.kbs.url, failed.cookie, good))).toBe('401 kbs_session_unknown')
  })

  it('S13: of two that arrive together, one passes', async () => {
    const shake = await authenticate(running.kbs.url)
    const body = attestationBody(await evidenceOf(running, shake))
    const replies = await Promise.all([1, 2, 3].map(() => attest(running.kbs.url, shake.cookie, body)))
    expect(replies.map(said).sort()).toEqual(['200', '401 kbs_session_unknown', '401 kbs_session_unknown'])
  })

  it('S13: a nonce waits a minute, an attestation stands five', async () => {
    const own = await startBroker()
    await own.put(name)
    const late = await authenticate(own.kbs.url)
    const body = attestationBody(await evidenceOf(own, late))
    own.clock.forward(60)
    expect(said(await attest(own.kbs.url, late.cookie, body))).toBe('401 kbs_session_unknown')
    const { cookie, token } = await attested(own)
    own.clock.forward(299)
    expect(said(await get(own.kbs.url, name, { cookie }))).toBe('200')
    own.clock.forward(1)
    expect(said(await get(own.kbs.url, name, { cookie }))).toBe('401 kbs_session_unknown')
    expect(said(await get(own.kbs.url, name, { authorization: `Bearer ${token}` }))).toBe('401 kbs_token_invalid')
    await own.close()
  })

  it('S13: a stolen cookie or token gives what only the enclave can open', async () => {
    const { cookie, token, teeKey } = await attested()
    for (const headers of [{ cookie }, { authorization: `Bearer ${token}` }]) {
      const reply = await get(running.kbs.url, name, headers)
      expect(() => openJwe(reply.json, newTeeKey())).toThrowError(expect.objectContaining({ code: 'kbs_jwe_invalid' }))
      expect(openJwe(reply.json, teeKey)).toEqual(secret)
    }
  })

  it('S13: a stolen cookie does not take another key', async () => {
    const victim = await attested()
    const thief = { ...victim, teeKey: newTeeKey() }
    const reply = await attest(running.kbs.url, victim.cookie, attestationBody(await evidenceOf(running, thief)))
    expect(said(reply)).toBe('401 kbs_session_unknown')
    expect(openJwe((await get(running.kbs.url, name, { cookie: victim.cookie })).json, victim.teeKey)).toEqual(secret)
  })

  it.each([
    ['none', ''],
    ['a session that was never given', `kbs-session-id=${'0'.repeat(32)}`],
    ['no session id', 'kbs-session-id=../../x'],
    ['another cookie', `other=${'0'.repeat(32)}`],
  ])('S13: a resource for the cookie of %s', async (_title, cookie) => {
    expect(said(await get(running.kbs.url, name, { cookie }))).toBe('401 kbs_session_unknown')
  })

  it('S13: a session that waits for its evidence gets nothing', async () => {
    const { cookie } = await authenticate(running.kbs.url)
    expect(said(await get(running.kbs.url, name, { cookie }))).toBe('401 kbs_session_unknown')
  })
})

describe('tokens', () => {
  it('S13: of another broker, changed, unsigned or with another algorithm are refused', async () => {
    const other = await startBroker({ platform: running.platform })
    await other.put(name)
    const foreign = (await attested(other)).token
    const { token } = await attested()
    const [header = '', claims = '', signature = ''] = token.split('.')
    const b64 = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const decoded = JSON.parse(Buffer.from(claims, 'base64url').toString()) as object
    const none = b64({ typ: 'JWT', alg: 'none' })
    for (const wrong of [
      foreign,
      `${header}.${b64({ ...decoded, exp: 99_999_999_999 })}.${signature}`,
      `${none}.${claims}.`,
      `${none}.${claims}.${signature}`,
      `${foreign.split('.')[0]}.${claims}.${signature}`,
      `${header}.${claims}`,
      `${token}.more`,
      'x',
    ])
      expect(said(await get(running.kbs.url, name, { authorization: `Bearer ${wrong}` })), wrong).toBe('401 kbs_token_invalid')
    await other.close()
  })
})

describe('credentials of one surface at another', () => {
  it('S22: a token opens no admin interface, and its credential releases nothing', async () => {
    const { token } = await attested()
    for (const path of ['resources', 'audit']) expect((await running.tell('GET', path, undefined, token)).status).toBe(401)
    expect(said(await get(running.kbs.url, name, { authorization: `Bearer ${adminToken}` }))).toBe('401 kbs_token_invalid')
  })
})

describe('the trail', () => {
  it('S22: noise of askers that have proven nothing does not push out what is known of others', async () => {
    const { newState, recorded } = await import('../../src/enclave/broker/store/index.ts')
    const line = { at: '', event: 'refusal', resource: null, version: null, policy: null, code: 'x', descriptor: null, simulated: null } as const
    let state = recorded(newState(), { ...line, measurement: 'ab' })
    for (let i = 0; i < 3000; i++) state = recorded(state, { ...line, measurement: null })
    expect(state.refusals).toHaveLength(1024)
    expect(state.refusals[0]).toMatchObject({ seq: 1, measurement: 'ab' })
    expect(state.refusals.at(-1)).toMatchObject({ seq: 3001 })
    for (let i = 0; i < 1024; i++) state = recorded(state, { ...line, measurement: 'cd' })
    expect(state.refusals).toHaveLength(1024)
    expect(state.refusals.every(({ measurement }) => measurement === 'cd')).toBe(true)
  })
})

describe('revocation', () => {
  it('S11: stops the next release, also to sessions and tokens that live', async () => {
    const resource = 'models/revoked/1'
    await running.put(resource)
    const { cookie, token } = await attested()
    expect(said(await get(running.kbs.url, resource, { cookie }))).toBe('200')
    await running.tell('POST', 'revoke', { resource })
    expect(said(await get(running.kbs.url, resource, { cookie }))).toBe('401 kbs_resource_revoked')
    expect(said(await get(running.kbs.url, resource, { authorization: `Bearer ${token}` }))).toBe('401 kbs_resource_revoked')
    expect(JSON.stringify(running.store.state.resources[resource])).not.toContain(toBase64(secret))
  })

  it('S11: a policy that comes with a rotation is judged for sessions that live', async () => {
    const resource = 'models/tightened/1'
    await running.put(resource)
    const { cookie } = await attested()
    const value = toBase64(secret)
    await running.tell('POST', 'rotate', { resource, value, policy: policyText({ simulated: 'refuse' }), evidence: 'veritee' })
    expect(said(await get(running.kbs.url, resource, { cookie }))).toBe('401 policy_simulated')
  })
})

describe('requests that are none', () => {
  it.each([
    ['an older version', { version: '0.3.0' }, '401 kbs_version_unsupported'],
    ['the first version', { version: '0.1.1' }, '401 kbs_version_unsupported'],
    ['a later version', { version: '0.5.0' }, '401 kbs_version_unsupported'],
    ['a version that is no text', { version: 4 }, '401 kbs_request_malformed'],
    ['a sample TEE', { tee: 'sample' }, '401 kbs_tee_unsupported'],
    ['another TEE', { tee: 'snp' }, '401 kbs_tee_unsupported'],
    ['another member', { more: true }, '401 kbs_request_malformed'],
  ] as const)('auth with %s', async (_title, change, expected) => {
    const json = { version: '0.4.0', tee: 'sgx', 'extra-params': '', ...change }
    expect(said(await send(running.kbs.url, { method: 'POST', path: '/kbs/v0/auth', json }))).toBe(expected)
  })

  it('bodies that are too large or no JSON', async () => {
    const post = async (path: string, body: Uint8Array) => said(await send(running.kbs.url, { method: 'POST', path, body }))
    expect(await post('/kbs/v0/auth', new Uint8Array(8193).fill(0x20))).toBe('413 kbs_request_malformed')
    const { cookie } = await authenticate(running.kbs.url)
    const body = new Uint8Array(524_289).fill(0x20)
    expect(said(await send(running.kbs.url, { method: 'POST', path: '/kbs/v0/attest', headers: { cookie }, body }))).toBe('413 kbs_request_malformed')
    for (const text of ['', '{', '[]', 'null', '{"version":"0.4.0","version":"0.4.0"}', '\u00ff'])
      expect(await post('/kbs/v0/auth', Buffer.from(text, 'latin1')), text).toBe('401 kbs_request_malformed')
  })

  it('S13: paths that lead elsewhere', async () => {
    const { cookie } = await attested()
    for (const path of [
      '../admin/x',
      'models/demo/../demo/1',
      'models/demo/.1',
      'models/demo',
      'models/demo/1/2',
      'models%2fdemo%2f1',
      'models/demo/1?x=1',
      '',
    ])
      expect(said(await get(running.kbs.url, path, { cookie })), path).toBe('401 kbs_request_malformed')
    expect(said(await get(running.kbs.url, 'models/demo/2', { cookie }))).toBe('404 kbs_resource_unknown')
    expect(said(await get(running.kbs.url, '__proto__/a/b', { cookie }))).toBe('404 kbs_resource_unknown')
    for (const path of ['/kbs/v0/', '/kbs/v0/attest/more', '/kbs/v0/resource-policy', '/kbs/v0/attestation-policy', '/kbs/v0/nebula-ca'])
      expect((await send(running.kbs.url, { method: 'POST', path, json: {} })).status, path).toBe(404)
    expect((await send(running.kbs.url, { method: 'POST', path: `/kbs/v0/resource/${name}`, json: {} })).status).toBe(404)
  })

  it('names are not told to who has shown nothing', async () => {
    for (const resource of [name, 'models/never/was']) expect(said(await get(running.kbs.url, resource, {}))).toBe('401 kbs_session_unknown')
  })

  it('S22: too many requests of one address wait', async () => {
    const own = await startBroker({ rateLimit: { perSecond: 1, burst: 3 } })
    const replies = []
    for (let i = 0; i < 5; i++) replies.push(await send(own.kbs.url, { method: 'POST', path: '/kbs/v0/auth', json: {} }))
    expect(replies.map(({ status }) => status)).toEqual([401, 401, 401, 429, 429])
    expect(replies.at(-1)?.headers['retry-after']).toBe('1')
    expect(own.store.state.refusals.map(({ code }) => code)).toEqual(Array(3).fill('kbs_request_malformed'))
    await own.close()
  })
})

describe('quotes without a descriptor', () => {
  const plain: Parts = async (shake, honest) => {
    const quote = await quoterOf(running.platform).quote({ purpose: 'kbs.rcar.v0', nonce: shake.nonce, teeKey: shake.teeKey, descriptorDigest: null })
    return { ...honest, quote, additional: '', descriptor: null }
  }

  it('need collateral of the broker', async () => {
    const shake = await authenticate(running.kbs.url)
    const body = attestationBody(await plain(shake, await evidenceOf(running, shake)))
    expect(said(await attest(running.kbs.url, shake.cookie, body))).toBe('401 collateral_missing')
  })

  it('S7: get resources that ask for a quote, and no others', async () => {
    const own = await startBroker({ platform: running.platform, peerCollateral: async () => running.platform.collateral })
    await own.put(name)
    await own.put('models/quote/1', { evidence: 'quote' })
    const shake = await authenticate(own.kbs.url)
    const body = attestationBody(await plain(shake, await evidenceOf(own, shake)))
    expect(said(await attest(own.kbs.url, shake.cookie, body))).toBe('200')
    expect(said(await get(own.kbs.url, name, { cookie: shake.cookie }))).toBe('401 kbs_descriptor_missing')
    expect(said(await get(own.kbs.url, 'models/quote/1', { cookie: shake.cookie }))).toBe('200')
    await own.close()
  })

  it('S7: saying more never gives more: a descriptor of another role is refused there too', async () => {
    const shake = await authenticate(running.kbs.url)
    const body = attestationBody(await evidenceOf(running, shake, enclaves.worker, 'controller'))
    expect(said(await attest(running.kbs.url, shake.cookie, body))).toBe('200')
    expect(said(await get(running.kbs.url, 'models/quote/1', { cookie: shake.cookie }))).toBe('401 policy_role')
  })
})

it('S13: RSA keys are encrypted to with OAEP', async () => {
  // Our quoter quotes no RSA keys, so this goes past it, as Trustee's attester would.
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { n = '', e = '' } = publicKey.export({ format: 'jwk' })
  const { rcarReportData, parseTeePubkey } = await import('../../src/enclave/runtime/kbs/index.ts')
  const { jwk } = parseTeePubkey({ kty: 'RSA', alg: 'RSA-OAEP-256', n, e })
  const own = await startBroker({ platform: running.platform, peerCollateral: async () => running.platform.collateral })
  await own.put(name, { evidence: 'quote' })
  const shake = await authenticate(own.kbs.url)
  const quote = await own.platform.quote(enclaves.worker, rcarReportData({ nonce: shake.nonce, teePubkey: jwk, additionalEvidence: '' }))
  const honest = await evidenceOf(own, shake)
  const reply = await attest(
    own.kbs.url,
    shake.cookie,
    attestationBody({ ...honest, quote, pubkey: jwk as unknown as Json, additional: '', descriptor: null }),
  )
  expect(said(reply)).toBe('200')
  expect(cookieIn(reply)).toBe(shake.cookie)
  const jwe = (await get(own.kbs.url, name, { cookie: shake.cookie })).json as { encrypted_key: string; protected: string }
  expect(Buffer.from(jwe.protected, 'base64url').toString()).toBe('{"alg":"RSA-OAEP-256","enc":"A256GCM"}')
  const wrapped = Buffer.from(jwe.encrypted_key, 'base64url')
  expect(privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }, wrapped)).toHaveLength(32)
  await own.close()
})
