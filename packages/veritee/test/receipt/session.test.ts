import { beforeAll, describe, expect, it } from 'vitest'
import { type Json, toBase64, utf8 } from '../../src/bytes/index.ts'
import { claimNames, parseSession, type SessionDocument, sessionEvidence, sessionId } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { createEnclave, nonceOf, sha, type TestEnclave } from './enclaves.ts'
import { sessionOf } from './scenario.ts'

let worker: TestEnclave
let document: SessionDocument
let id: string
beforeAll(async () => {
  worker = await createEnclave('worker')
  document = await sessionOf(worker)
  id = await sessionId(document)
})

const parse = (value: unknown, as = id): Promise<string> => refusal(() => parseSession(typeof value === 'string' ? value : JSON.stringify(value), as))
/** A document that is its own: what a careless or lying controller could publish under its rightful id. */
const published = async (changes: { readonly [name: string]: Json }): Promise<string> => {
  const value = { ...document, ...changes } as unknown as SessionDocument
  return parse(value, await sessionId(value))
}

describe('a session record', () => {
  it('gives its evidence and the nonce of the controller, in any encoding', async () => {
    const session = await parseSession(JSON.stringify(document, null, 2), id)
    expect([session.id, session.nonce, session.report.keysetDigest]).toEqual([id, nonceOf('controller challenge'), worker.digest])
    expect(await parse(Object.fromEntries(Object.entries(document).reverse()))).toBe('accepted')
  })
  it('every field is under the id', async () => {
    const edits: { readonly [name: string]: Json } = {
      upstream_name: 'other',
      endpoint: null,
      verifier_id: 'other/1',
      established_at: document.established_at + 1,
      expires_at: document.expires_at + 1,
      identity: { workload_keyset_digest: sha('x') },
      channel_binding: [],
      evidence: { ...document.evidence, digest: sha('x') },
      claims: { ...document.claims, extra: {} } as unknown as Json,
    }
    for (const [name, value] of Object.entries(edits)) expect(await parse({ ...document, [name]: value }), name).toBe('session_mismatch')
    for (const name of claimNames)
      expect(
        await parse({ ...document, claims: { ...document.claims, [name]: { status: 'asserted', source: 'hardware_proven', reason: 'r' } } }),
      ).toBe('session_mismatch')
    expect(await parse(document, nonceOf('another id'))).toBe('session_mismatch')
  })
  it('evidence swapped for that of another worker does not hash to its digest', async () => {
    const other = await sessionOf(await createEnclave('worker'))
    expect(await published({ evidence: { digest: document.evidence.digest, data: other.evidence.data } })).toBe('session_mismatch')
  })
  it('evidence of another form is refused', async () => {
    const evidence = async (text: string, type = 'application/vnd.veritee.worker-evidence+json'): Promise<Json> => ({
      digest: sha(text),
      data: `data:${type};base64,${toBase64(utf8(text))}`,
    })
    const report = await worker.report(nonceOf('n'))
    const whole = `{"nonce":"${nonceOf('n')}","report":${report}}`
    expect(await published({ evidence: await evidence(whole) })).toBe('accepted')
    expect(await published({ evidence: await evidence(whole, 'text/plain') })).toBe('session_mismatch')
    expect(await published({ evidence: await evidence('example-evidence') })).toBe('session_mismatch')
    expect(await published({ evidence: await evidence(`{"nonce":"${nonceOf('n')}","nonce":"x","report":${report}}`) })).toBe('session_mismatch')
    expect(await published({ evidence: await evidence(`{"nonce":"${nonceOf('other')}","report":${report}}`) })).toBe('session_mismatch')
    expect(await published({ evidence: await evidence(`{"nonce":null,"report":${report}}`) })).toBe('session_mismatch')
    expect(await published({ evidence: await evidence(`{"nonce":"${nonceOf('n')}","report":{}}`) })).toBe('report_malformed')
    const data = document.evidence.data
    expect(await published({ evidence: { digest: document.evidence.digest, data: `${data.slice(0, -4)}A===` } })).toBe('malformed_encoding')
    expect(await published({ evidence: { digest: document.evidence.digest, data: `${data} ` } })).toBe('malformed_encoding')
  })
  it('its own evidence is over exact bytes', async () => {
    const made = await sessionEvidence('{"a":1}', nonceOf('n'))
    expect(made.digest).toBe(sha(`{"nonce":"${nonceOf('n')}","report":{"a":1}}`))
  })
  it.each<[string, unknown]>([
    ['api_version', 'aci/2'],
    ['upstream_name', null],
    ['endpoint', 7],
    ['established_at', -1],
    ['expires_at', 1.5],
    ['identity', {}],
    ['identity', { workload_keyset_digest: 'x' }],
    ['identity', { workload_keyset_digest: sha('x'), signing_address: 'y' }],
    ['channel_binding', {}],
    ['channel_binding', Array.from({ length: 17 }, () => ({ type: 'tls_spki_sha256', origin: 'o', spki_sha256: nonceOf('x') }))],
    ['channel_binding', [{ type: 'e2ee_public_key_sha256', provider: 'p', algorithm: 'a', public_key_sha256: nonceOf('x') }]],
    ['claims', {}],
    ['evidence', { digest: sha('x') }],
    ['surprise', 1],
  ])('refuses a %s of %j', async (name, value) => {
    expect(await parse({ ...document, [name]: value })).toBe('session_mismatch')
  })
  it.each<[string, Json]>([
    ['an unknown status', { status: 'proven', source: 'hardware_proven', reason: 'r' }],
    ['a claim without source', { status: 'asserted', reason: 'r' }],
    ['an unknown source', { status: 'asserted', source: 'me', reason: 'r' }],
    ['an unknown claim that has a reason', { status: 'unknown', reason: 'r' }],
    ['text for a claim', 'asserted'],
  ])('refuses %s, also under its own id', async (_, claim) => {
    expect(await published({ claims: { ...document.claims, tee_attested: claim } as unknown as Json })).toBe('session_mismatch')
  })
  it.each(['', 'null', '[]', '{"a":1,"a":1}', ' '.repeat((1 << 21) + 1)])('%#: refuses what is no session', async (text) => {
    expect(await parse(text)).toBe('session_mismatch')
  })
})
