import { generateKeyPairSync, sign } from 'node:crypto'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { certificatePem, issueSelfSignedTls } from '../../src/attestation/pki/issue.ts'
import { nodeGet } from '../../src/client/index.ts'
import { refusal } from './evidence.ts'
import { startPccs } from './pccs.ts'

const settings = { signal: AbortSignal.timeout(20_000), maxBytes: 1000 }
let server: https.Server
let url: string
let ca: string

beforeAll(async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { certificate } = await issueSelfSignedTls({
    publicKey: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }).subarray(-64)),
    sign: (message) => new Uint8Array(sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })),
    dnsNames: ['localhost'],
    ipAddresses: [],
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
  })
  ca = certificatePem(certificate)
  server = https.createServer({ key: privateKey.export({ type: 'pkcs8', format: 'pem' }), cert: ca }, (_, response) => response.end('body'))
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  url = `https://localhost:${(server.address() as AddressInfo).port}/`
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

describe('WebPKI', () => {
  test('a certificate of no known authority is refused', async () => {
    const error = await refusal(nodeGet()(url, settings))
    expect(error.code).toBe('service_unavailable')
    expect(error.cause).toMatchObject({ code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  })

  test('under its authority it is accepted', async () => {
    const { status, body } = await nodeGet({ ca })(url, settings)
    expect([status, new TextDecoder().decode(body)]).toEqual([200, 'body'])
  })

  test('for another host it is refused', async () => {
    const error = await refusal(nodeGet({ ca })(url.replace('localhost', '127.0.0.1'), settings))
    expect(error.code).toBe('service_unavailable')
    expect(error.cause).toMatchObject({ code: expect.stringMatching(/ERR_TLS_CERT_ALTNAME_INVALID|ECONNREFUSED/) })
  })
})

describe('bounds', () => {
  test('a body above the bound is an error, not a part', async () => {
    expect((await refusal(nodeGet({ ca })(url, { ...settings, maxBytes: 3 }))).code).toBe('response_too_large')
  })

  test('the signal ends it', async () => {
    const abort = new AbortController()
    abort.abort()
    expect((await refusal(nodeGet({ ca })(url, { ...settings, signal: abort.signal }))).code).toBe('service_unavailable')
  })

  test.for(['http://pccs.example/', 'ftp://127.0.0.1/', 'data:,x'])('%s is a usage error', async (target) => {
    expect(() => nodeGet()(target, settings)).toThrow(expect.objectContaining({ code: 'usage' }))
  })

  test('every status is an answer; a redirect is not followed', async () => {
    const pccs = await startPccs({} as never, { answer: () => ({ status: 200, headers: {}, body: '' }) })
    try {
      expect((await nodeGet()(`${pccs.url}/elsewhere`, settings)).status).toBe(404)
    } finally {
      await pccs.close()
    }
  })
})
