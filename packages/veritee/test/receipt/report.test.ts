import { generateKeyPairSync } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { fromHex, type Json, toBase64 } from '../../src/bytes/index.ts'
import { type Keyset, parseReport, statementReportData, verifyReport } from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import {
  createEnclave,
  createOperator,
  descriptorOf,
  judgedAt,
  machine,
  nonceOf,
  type ReportChanges,
  seconds,
  sha,
  start,
  type TestEnclave,
  trust,
} from './enclaves.ts'

const nonce = nonceOf('mine')
let worker: TestEnclave
beforeAll(async () => {
  worker = await createEnclave('worker')
})

async function outcome(
  changes: ReportChanges,
  of: TestEnclave = worker,
  drawn: string | null | 'stated' = nonce,
  at: Date = judgedAt,
): Promise<string> {
  const text = await of.report(nonce, changes)
  return refusal(async () => verifyReport(parseReport(text), drawn, await trust(), at))
}
const withKeyset = async (keyset: Partial<Keyset>): Promise<string> => outcome({}, await createEnclave('worker', { keyset }))

describe('a report', () => {
  it('verifies, with what the quote binds and nothing else in the result', async () => {
    const report = await verifyReport(parseReport(await worker.report(nonce)), nonce, await trust(), judgedAt)
    expect(report).toMatchObject({ keysetDigest: worker.digest, serving: 'direct', fresh: true, descriptor: { role: 'worker' } })
    expect(report.claims.simulated).toBe(true)
    expect(report.checks.slice(-4).map(({ id, status }) => `${id} ${status}`)).toEqual([
      'report.keyset pass',
      'report.nonce pass',
      'report.window pass',
      'report.descriptor pass',
    ])
  })
  it('a nonce that the verifier did not draw proves no freshness, and the checks say so', async () => {
    const report = await verifyReport(parseReport(await worker.report(nonce)), 'stated', await trust(), judgedAt)
    expect([report.fresh, report.checks.find(({ id }) => id === 'report.nonce')?.status]).toEqual([false, 'waived'])
    const unchallenged = await verifyReport(parseReport(await worker.report(null)), null, await trust(), judgedAt)
    expect(unchallenged.fresh).toBe(false)
  })
  it('S7: a descriptor edited, or swapped for that of another service, is refused', async () => {
    const edited = descriptorOf('worker', { models: [] })
    for (const descriptor of [edited, descriptorOf('controller'), descriptorOf('worker', { operator_key: '00'.repeat(32) })])
      expect(await outcome({ descriptor: descriptor as unknown as Json })).toBe('report_descriptor_mismatch')
  })
  it('S17: an operator is told only where the descriptor names him and he signed the keyset digest', async () => {
    const [operator, other] = [createOperator(), createOperator()]
    const [his, others, next] = await Promise.all([operator, other, operator].map((one) => createEnclave('worker', { operator: one })))
    const told = async (of: TestEnclave, changes: ReportChanges = {}): Promise<string | null> =>
      (await verifyReport(parseReport(await of.report(nonce, changes)), nonce, await trust(), judgedAt)).operator
    const signatureOf = async (of: TestEnclave): Promise<Json> =>
      (JSON.parse(await of.report(nonce)) as { attestation: { evidence: { operator_signature: string } } }).attestation.evidence.operator_signature
    expect(await told(his as TestEnclave)).toBe(operator.name)
    expect(await told(worker)).toBe(null)
    const named = await createEnclave('worker', { descriptor: { operator_key: operator.name } })
    expect(await told(named)).toBe(null)
    const wrong = { evidence: { operator_signature: await signatureOf(others as TestEnclave) } }
    const ofNext = { evidence: { operator_signature: await signatureOf(next as TestEnclave) } }
    for (const [changes, of] of [
      [wrong, his],
      [wrong, named],
      [ofNext, his],
      [ofNext, worker],
    ] as const)
      expect(await outcome(changes, of)).toBe('operator_signature_invalid')
    for (const operator_signature of [null, '', 'ab', 1] as const)
      expect(await outcome({ evidence: { operator_signature } }, his)).toBe('report_malformed')
  })
  it('S7: every member of the descriptor is bound', async () => {
    const changed: { readonly [name: string]: Json } = {
      role: 'validator',
      configuration_digest: sha('other'),
      models: [],
      engine: null,
      admission: { version: 1, digest: sha('manifest'), keys: [] },
      operator_key: '11'.repeat(32),
      release: { version: '0.1.1', commit: null },
      extensions: { a: 1 },
    }
    for (const [name, value] of Object.entries(changed)) {
      const descriptor = { ...(worker.descriptor as unknown as Record<string, Json>), [name]: value }
      expect(await outcome({ descriptor }), name).toBe('report_descriptor_mismatch')
    }
  })
  it('S7: a keyset without the descriptor as its subject is refused', async () => {
    for (const subject of [null, 'dstack-app://x', `urn:veritee:service:sha256:${'00'.repeat(32)}`])
      expect(await withKeyset({ subject })).toBe('report_descriptor_mismatch')
  })
  it('S7: what stands beside the quote cannot turn a controller into a direct service, nor the reverse', async () => {
    const capabilities = (serving: string): ReportChanges => ({ report: { service_capabilities: { serving } } })
    expect(await outcome(capabilities('direct'), await createEnclave('controller'))).toBe('report_malformed')
    expect(await outcome(capabilities('aggregator'))).toBe('report_malformed')
    expect(await outcome({ report: { service_capabilities: { serving: 'direct', anything: [1, { new: true }] } } })).toBe('accepted')
  })
  it('keys beside a quote that does not bind them are refused: swapped, edited, or under another stated digest', async () => {
    const other = await createEnclave('worker')
    expect(await outcome({ keyset: other.keyset })).toBe('report_keyset_mismatch')
    expect(await outcome({ keyset: { ...worker.keyset, not_after: worker.keyset.not_after + 1 } })).toBe('report_keyset_mismatch')
    expect(await outcome({ report: { workload_keyset_digest: other.digest } })).toBe('report_keyset_mismatch')
    expect(await outcome({ keyset: other.keyset, report: { workload_keyset_digest: other.digest } })).toBe('report_nonce_mismatch')
  })
  it('a replayed report, over another nonce or none, is refused', async () => {
    expect(await outcome({}, worker, nonceOf('other'))).toBe('report_nonce_mismatch')
    expect(await outcome({}, worker, null)).toBe('report_nonce_mismatch')
    expect(await outcome({ evidence: { nonce: nonceOf('other') } }, worker, 'stated')).toBe('report_nonce_mismatch')
    expect(await outcome({ evidence: { nonce: null } }, worker, 'stated')).toBe('report_nonce_mismatch')
    expect(await outcome({ attestation: { report_data: '00'.repeat(32) } })).toBe('report_nonce_mismatch')
  })
  it('S1: bytes 32 to 63 of the report data must be zero, each of them', async () => {
    for (const at of [32, 33, 47, 63]) {
      const reportData = await statementReportData(worker.digest, nonce)
      reportData[at] = 1
      expect(await outcome({ reportData })).toBe('report_nonce_mismatch')
    }
  })
  it('S1: a quote for another purpose does not bind a keyset: the digest of user data with its own tail', async () => {
    const reportData = await statementReportData(worker.digest, nonce)
    reportData.set(fromHex(sha('veritee.legacy-attest.v1').slice(7)), 32)
    expect(await outcome({ reportData })).toBe('report_nonce_mismatch')
  })
  it('a nonce of another form is a wrong argument of the caller', async () => {
    await expect(outcome({}, worker, 'ABC')).rejects.toThrow(TypeError)
  })
  it('S15: a root that the caller does not trust is refused', async () => {
    const { intelSgxRootCa } = await import('../../src/attestation/index.ts')
    const text = await worker.report(nonce)
    expect(await refusal(() => verifyReport(parseReport(text), nonce, { roots: [intelSgxRootCa] }, judgedAt))).toBe('chain_untrusted')
  })
  it('a tee_type that is not the quote’s is refused', async () => {
    expect(await outcome({ attestation: { tee_type: 'tdx' } })).toBe('report_malformed')
  })
})

describe('the window of a keyset', () => {
  it.each([
    ['a day and five minutes', 86_400 + 300, 'accepted'],
    ['a second more', 86_400 + 301, 'keyset_expired'],
    ['a year', 365 * 86_400, 'keyset_expired'],
    ['a second', 1, 'accepted'],
    ['nothing', 0, 'keyset_expired'],
    ['less than nothing', -1, 'keyset_expired'],
  ])('S25: with %s left it is %#', async (_, left, expected) => {
    expect(await withKeyset({ not_after: seconds(judgedAt) + left })).toBe(expected)
  })
  it('S25: is judged at the given time', async () => {
    expect(await outcome({}, worker, nonce, new Date(start.getTime() + 86_400_000))).toBe('keyset_expired')
  })
})

describe('rules of keysets', () => {
  const [key] = [nonceOf('key')]
  const named = (key_id: string, public_key: string, algo = 'ed25519'): Keyset['receipt_signing_keys'][number] => ({ key_id, algo, public_key })
  it.each<[string, Partial<Keyset>]>([
    ['one key for receipts and E2EE', { receipt_signing_keys: [named('a', key)], e2ee_public_keys: [named('b', key, 'x25519')] }],
    ['the same in capitals', { receipt_signing_keys: [named('a', key)], e2ee_public_keys: [named('b', key.toUpperCase(), 'x25519')] }],
    ['one key under two ids', { receipt_signing_keys: [named('a', key), named('b', key)] }],
    ['one id for two keys', { receipt_signing_keys: [named('a', key), named('a', nonceOf('second'))] }],
    ['an upper-case TLS digest', { tls_public_keys: [{ spki_sha256: 'AB'.repeat(32) }] }],
    ['too many keys', { tls_public_keys: Array.from({ length: 17 }, (_, i) => ({ spki_sha256: nonceOf(`${i}`) })) }],
    ['a fraction of a second', { not_after: seconds(judgedAt) + 0.5 }],
  ])('refuses %s', async (_, changes) => {
    const keyset = { ...worker.keyset, ...changes }
    expect(await outcome({ keyset })).toBe('report_malformed')
  })
  it('refuses a receipt or E2EE key that is a TLS key too, which only its digest shows', async () => {
    const ed25519 = generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'der' })
    const x25519 = generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' })
    const tls = (spki: Uint8Array): Partial<Keyset> => ({ tls_public_keys: [{ spki_sha256: sha(spki).slice(7) }] })
    const raw = (spki: Buffer): string => spki.subarray(-32).toString('hex')
    expect(await withKeyset({ ...tls(ed25519), receipt_signing_keys: [named('a', raw(ed25519))] })).toBe('report_malformed')
    expect(await withKeyset({ ...tls(x25519), e2ee_public_keys: [named('a', raw(x25519), 'x25519')] })).toBe('report_malformed')
    expect(await withKeyset({ ...tls(x25519), e2ee_public_keys: [named('a', raw(ed25519), 'x25519')] })).toBe('accepted')
  })
  it('ignores entries of algorithms it does not know', async () => {
    expect(await withKeyset({ receipt_signing_keys: [named('a', key), named('b', 'whatever', 'ml-dsa-65')] })).toBe('accepted')
  })
})

describe('hostile reports', () => {
  it.each<[string, ReportChanges, string]>([
    ['another version', { report: { api_version: 'aci/2' } }, 'report_malformed'],
    ['no capabilities', { report: { service_capabilities: null } }, 'report_malformed'],
    ['an unknown way of serving', { report: { service_capabilities: { serving: 'proxy' } } }, 'report_malformed'],
    ['another kind of hardware', { attestation: { tee_type: 'sev_snp' } }, 'report_malformed'],
    ['report data of 64 bytes', { attestation: { report_data: '00'.repeat(64) } }, 'report_malformed'],
    ['evidence with a member more', { evidence: { extra: 1 } }, 'report_malformed'],
    ['a nonce in capitals', { evidence: { nonce: 'AB'.repeat(32) } }, 'report_malformed'],
    ['a quote that is no base64', { evidence: { quote_b64: 'A' } }, 'malformed_encoding'],
    ['a quote that is no text', { evidence: { quote_b64: 7 } }, 'report_malformed'],
    ['an empty quote', { evidence: { quote_b64: '' } }, 'quote_malformed'],
    ['a quote of zeros', { evidence: { quote_b64: toBase64(new Uint8Array(4000)) } }, 'quote_unsupported'],
    ['a quote past its bound', { evidence: { quote_b64: 'A'.repeat(65_540) } }, 'report_malformed'],
    ['no collateral', { evidence: { collateral: {} } }, 'collateral_missing'],
    [
      'a fraction in the extensions, which has no canonical form',
      { descriptor: { ...(descriptorOf('worker') as object), extensions: { a: 0.5 } } },
      'report_malformed',
    ],
    ['the same deep inside', { descriptor: { ...(descriptorOf('worker') as object), extensions: { a: [{ b: 2 ** 60 }] } } }, 'report_malformed'],
    ['a descriptor with a member more', { descriptor: { ...(descriptorOf('worker') as object), debug: true } }, 'report_malformed'],
    ['a descriptor of an unknown role', { descriptor: { ...(descriptorOf('worker') as object), role: 'admin' } }, 'report_malformed'],
    [
      'a descriptor of another version',
      { descriptor: { ...(descriptorOf('worker') as object), version: 'veritee.descriptor.v2' } },
      'report_malformed',
    ],
  ])('%s', async (_, changes, code) => {
    expect(await outcome(changes)).toBe(code)
  })
  it.each(['', '[]', 'null', '{"api_version":"aci/1","api_version":"aci/1"}', '{'.repeat(20), ' '.repeat((1 << 20) + 1)])(
    '%#: what is no report at all',
    async (text) => {
      expect(await refusal(() => parseReport(text))).toBe('report_malformed')
    },
  )
  it('trailing bytes behind the quote do not change what is bound', async () => {
    const platform = await machine()
    const text = await worker.report(nonce)
    const report = JSON.parse(text) as { attestation: { evidence: { quote_b64: string } } }
    const quote = Buffer.from(report.attestation.evidence.quote_b64, 'base64')
    report.attestation.evidence.quote_b64 = toBase64(Buffer.concat([quote, Buffer.from('tail')]))
    const verified = await verifyReport(parseReport(JSON.stringify(report)), nonce, { roots: [platform.root] }, judgedAt)
    expect(verified.claims.trailingBytes).toBe(4)
  })
})
