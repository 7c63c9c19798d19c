import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { fromHex, type Json, jcs, jcsDigest, sha256Digest, toHex, utf8 } from '../../src/bytes/index.ts'
import {
  keysetDigest,
  parseKeyset,
  parseReceipt,
  type SessionDocument,
  sessionId,
  statement,
  statementReportData,
  verifyReceipt,
} from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'

/** The constants of the aci/1 test vectors (spec/test-vectors.md of the reference repository). */
const receiptKey = '8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394'
const e2eeKey = '5dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef22'
const digest = 'sha256:53a5cd44b30dcc51999754c719f2628a041f174ecbf9662a6f8e898a10cd9371'
const nonce = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f'
const session = '95ad1cb4dd25445808c2e9d116caf420b05703730b506395e8fc1ca6faeae28f'
const requestHash = 'sha256:94d809bf47380d8a2eab0eb6e126d4dda9364b0b4725cdf7ead52dd70b2aa87b'
const responseHash = 'sha256:dedfffe5b14d031b8e2c01996d021a15293cb7c63b56be7e4be9e89b6f0a5f61'
const signature = 'd5b005e093bde3b577faf270b7184b09e169cacb0ecb206b103bd2581f997db03da616175454b063323a23ac1dc68f1ce506c2a6eba8aa0561d5e724f0b80c03'

// Members in another order than JCS, as any server may serve them.
const keyset = {
  tls_public_keys: [{ spki_sha256: 'c0'.repeat(32), domain: 'api.example.com' }],
  subject: 'dstack-app://example-app',
  not_after: 1800000000,
  receipt_signing_keys: [{ public_key: receiptKey, key_id: 'receipt-1', algo: 'ed25519' }],
  e2ee_public_keys: [{ key_id: 'e2ee-1', algo: 'x25519-aes-256-gcm-hkdf-sha256', public_key: e2eeKey }],
}
const unknown = { status: 'unknown' }
const sessionDocument = {
  api_version: 'aci/1',
  upstream_name: 'demo-upstream',
  endpoint: 'https://upstream.example.com',
  verifier_id: 'example/1',
  established_at: 1750000000,
  expires_at: 1750003600,
  channel_binding: [{ type: 'tls_spki_sha256', origin: 'https://upstream.example.com', spki_sha256: 'd1'.repeat(32) }],
  claims: {
    tee_attested: { status: 'asserted', source: 'hardware_proven', reason: 'example quote verified' },
    gpu_attested: unknown,
    tcb_up_to_date: unknown,
    os_known_good: unknown,
    serving_software_known_good: unknown,
    model_weights_provenance: unknown,
    extra: { tcb_status: 'UpToDate', gpu_arch: 'HOPPER' },
  },
  evidence: {
    digest: 'sha256:80d70e44d0ae1e829fd5f37c3ee4a60dfbea8d3aa18407ea3f34cf7ec91da34d',
    data: 'data:text/plain;base64,ZXhhbXBsZS1ldmlkZW5jZQ==',
  },
}
const unsigned = {
  api_version: 'aci/1',
  receipt_id: 'rcpt-0001',
  chat_id: 'chatcmpl-123',
  model: 'demo-model',
  workload_keyset_digest: digest,
  endpoint: '/v1/chat/completions',
  method: 'POST',
  served_at: 1750000000,
  event_log: [
    { type: 'request.received', body_hash: requestHash },
    { type: 'request.forwarded', body_hash: requestHash },
    { type: 'upstream.verified', result: 'verified', required: true, model_id: 'demo-model', session_id: session },
    { type: 'response.returned', body_hash: responseHash },
  ],
  key_id: 'receipt-1',
}
/** The private receipt key: the seed 32 times 0x02, as a PKCS 8 document (RFC 8410 section 7). */
const privateKey = createPrivateKey({
  key: Buffer.concat([fromHex('302e020100300506032b657004220420'), new Uint8Array(32).fill(2)]),
  format: 'der',
  type: 'pkcs8',
})
const nothingExpected = { requestHash: null, responseHash: null, clientNonce: null }

describe('the aci/1 vectors', () => {
  it('1: keyset digest, for any order of members', async () => {
    expect(await keysetDigest(parseKeyset(keyset))).toBe(digest)
  })
  it('1: a keyset without subject, or with null, has other digests', async () => {
    const { subject: _, ...without } = keyset
    const digests = [await keysetDigest(parseKeyset(without)), await keysetDigest(parseKeyset({ ...keyset, subject: null })), digest]
    expect(new Set(digests).size).toBe(3)
  })
  it('2: both statements and their report data, and the slot with zeros behind (S1)', async () => {
    expect(statement(digest, nonce)).toBe(`{"keyset_digest":"${digest}","nonce":"${nonce}","purpose":"aci.report_data.v1"}`)
    expect(toHex(await statementReportData(digest, nonce))).toBe(`df2174d28130852b413646a3786927b93e94c11d770268b65def8bdba45cb49e${'00'.repeat(32)}`)
    expect(statement(digest, null)).toBe(`{"keyset_digest":"${digest}","nonce":null,"purpose":"aci.report_data.v1"}`)
    expect(toHex((await statementReportData(digest, null)).subarray(0, 32))).toBe('0633919ca3f00e97bafaa3304278eb22420cc3ff0d19f87dfca2d3f7508150bc')
  })
  it.each([
    [digest.toUpperCase(), nonce],
    [digest.slice(7), nonce],
    [`${digest}\n`, nonce],
    [digest, nonce.toUpperCase()],
    [digest, `${nonce}00`],
    [digest, ''],
    [digest, `${nonce.slice(0, 62)}"}`],
  ])('2: a statement over %j and %j is a wrong argument', (badDigest, badNonce) => {
    expect(() => statement(badDigest, badNonce)).toThrow(TypeError)
  })
  it('3: evidence digest and session id', async () => {
    expect(await sha256Digest(utf8('example-evidence'))).toBe(sessionDocument.evidence.digest)
    expect(await sessionId(sessionDocument as unknown as SessionDocument)).toBe(session)
  })
  it('4: body hashes and signing input', async () => {
    expect(await sha256Digest(utf8('{"messages":[{"content":"hi","role":"user"}],"model":"demo-model"}'))).toBe(requestHash)
    expect(await sha256Digest(utf8('{"choices":[],"id":"chatcmpl-123"}'))).toBe(responseHash)
    expect(await jcsDigest(unsigned)).toBe('sha256:1bd328e6880a5a12b3915af95ea32111310e04ab9e21ac3d71ce268e33b965c9')
  })
  it('4: the private key gives the public key and the signature of the vectors', () => {
    expect(createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex')).toBe(receiptKey)
    expect(sign(null, utf8(jcs(unsigned)), privateKey).toString('hex')).toBe(signature)
  })
  it.each([
    ['compact', JSON.stringify({ ...unsigned, signature })],
    ['indented', JSON.stringify({ signature, ...unsigned }, null, 2)],
    ['escaped', JSON.stringify({ ...unsigned, signature }).replaceAll('receipt', '\\u0072eceipt')],
    ['JCS', jcs({ ...unsigned, signature } as Json)],
  ])('4: the receipt verifies, %s', async (_, text) => {
    const receipt = parseReceipt(text)
    const verified = await verifyReceipt(receipt, parseKeyset(keyset), digest, { requestHash, responseHash, clientNonce: null })
    expect([verified.receiptId, verified.servedAt, verified.events.length]).toEqual(['rcpt-0001', 1750000000, 4])
  })

  /** Every place in the document: each member of it and of its events. */
  const places: readonly (readonly string[])[] = [
    ...Object.keys(unsigned).map((name) => [name]),
    ...unsigned.event_log.flatMap((event, i) => Object.keys(event).map((name) => ['event_log', String(i), name])),
  ]
  it.each(places.map((place) => [place.join('.'), place] as const))('4: with another value at %s, it does not verify', async (_, place) => {
    const codes = new Set<string>()
    for (const other of [null, true, 1750000001, 'other', 'request.forwarded', `sha256:${'00'.repeat(32)}`, '00'.repeat(32), 'aci/2']) {
      const document = structuredClone({ ...unsigned, signature }) as unknown as Record<string, unknown>
      const parent = place.slice(0, -1).reduce((node, name) => node[name] as Record<string, unknown>, document)
      const name = place.at(-1) ?? ''
      if (parent[name] === other) continue
      parent[name] = other
      const run = async (): Promise<unknown> => verifyReceipt(parseReceipt(JSON.stringify(document)), parseKeyset(keyset), digest, nothingExpected)
      codes.add(await refusal(run))
    }
    for (const code of codes) expect(['receipt_malformed', 'receipt_signature_invalid', 'receipt_key_unknown']).toContain(code)
  })
  it('4: with a member added or left out of an event or of the document, it does not verify', async () => {
    const verify = (document: unknown): Promise<string> =>
      refusal(() => verifyReceipt(parseReceipt(JSON.stringify(document)), parseKeyset(keyset), digest, nothingExpected))
    const signed = { ...unsigned, signature }
    expect(await verify({ ...signed, note: 'x' })).toBe('receipt_malformed')
    expect(await verify({ ...signed, event_log: [...signed.event_log, { type: 'vendor.note' }] })).toBe('receipt_signature_invalid')
    expect(await verify({ ...signed, event_log: signed.event_log.toSpliced(1, 1) })).toBe('receipt_signature_invalid')
    const [first, second, third, last] = signed.event_log
    expect(await verify({ ...signed, event_log: [first, third, second, last] })).toBe('receipt_signature_invalid')
    expect(await verify({ ...signed, signature: signature.toUpperCase() })).toBe('receipt_malformed')
    expect(await verify({ ...signed, signature: `${signature.slice(0, -2)}04` })).toBe('receipt_signature_invalid')
  })
})
