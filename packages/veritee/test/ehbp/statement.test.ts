import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/bytes/index.ts'
import {
  type ExpectedStatement,
  type Keyset,
  parseReceipt,
  parseStatement,
  type SealedStatement,
  statementText,
  verifySealedStatement,
} from '../../src/receipt/index.ts'
import { refusal } from '../bytes/refusal.ts'
import { sha } from '../receipt/enclaves.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const other = generateKeyPairSync('ed25519').privateKey
const digest = sha('keyset')
const keyset: Keyset = {
  not_after: 0,
  receipt_signing_keys: [
    { key_id: 'receipt-1', algo: 'ed25519', public_key: publicKey.export({ type: 'spki', format: 'der' }).subarray(-32).toString('hex') },
  ],
  e2ee_public_keys: [],
  tls_public_keys: [],
}
const statement: SealedStatement = {
  api_version: 'veritee.sealed-exchange.v1',
  receipt_id: 'rcpt-1',
  receipt_digest: sha('receipt'),
  workload_keyset_digest: digest,
  key_id: 'receipt-1',
  enc: 'e1'.repeat(32),
  client_nonce: 'c1'.repeat(32),
  session_id: 'd1'.repeat(32),
  request_hash: sha('request'),
  response_hash: sha('response'),
  prompt_tokens: 3,
  completion_tokens: 4,
  outcome: 'complete',
}
const expected: ExpectedStatement = {
  receiptId: 'rcpt-1',
  enc: statement.enc,
  clientNonce: statement.client_nonce,
  sessionId: 'd1'.repeat(32),
  requestHash: statement.request_hash,
  responseHash: statement.response_hash,
}

function signed(changes: object = {}, key: KeyObject = privateKey): string {
  const told = { ...statement, ...changes } as SealedStatement
  return JSON.stringify({ ...told, signature: sign(null, utf8(statementText(told)), key).toString('hex') })
}
const verify = (text: string, changes: Partial<ExpectedStatement> = {}): Promise<string> =>
  refusal(() => verifySealedStatement(text, keyset, digest, { ...expected, ...changes }))

describe('the statement of a worker about an exchange that a controller could not read', () => {
  it('is read and verified', async () => {
    expect(await verifySealedStatement(signed(), keyset, digest, expected)).toEqual(statement)
    expect(parseStatement(signed()).statement).toEqual(statement)
    const uncounted = signed({ prompt_tokens: null, completion_tokens: null, client_nonce: null, outcome: 'refused' })
    expect(await verify(uncounted, { clientNonce: null })).toBe('accepted')
  })

  it('the digest of the answer is not compared where the answer was left early', async () => {
    expect(await verify(signed({ response_hash: sha('longer') }), { responseHash: null })).toBe('accepted')
  })

  it.each([
    ['another signer', signed({}, other), 'receipt_signature_invalid'],
    ['a key id that the keyset does not have', signed({ key_id: 'receipt-2' }), 'receipt_key_unknown'],
    ['a field changed after signing', signed().replace('"prompt_tokens":3', '"prompt_tokens":2'), 'receipt_signature_invalid'],
    ['another keyset', signed({ workload_keyset_digest: sha('other') }), 'receipt_keyset_mismatch'],
    ['another receipt', signed({ receipt_id: 'rcpt-2' }), 'receipt_transport_mismatch'],
    ['S4: another enc', signed({ enc: 'aa'.repeat(32) }), 'receipt_transport_mismatch'],
    ['S4: another session', signed({ session_id: 'aa'.repeat(32) }), 'receipt_transport_mismatch'],
    ['S4: no session', signed({ session_id: null }), 'receipt_transport_mismatch'],
    ['S10: another nonce', signed({ client_nonce: 'aa'.repeat(32) }), 'receipt_transport_mismatch'],
    ['S10: another request', signed({ request_hash: sha('other') }), 'receipt_request_mismatch'],
    ['S10: another answer', signed({ response_hash: sha('other') }), 'receipt_response_mismatch'],
    ['S5: another kind of document', signed({ api_version: 'aci/1' }), 'receipt_malformed'],
    ['a fraction of a token', signed().replace('"prompt_tokens":3', '"prompt_tokens":0.5'), 'receipt_malformed'],
    ['a negative count', signed().replace('"completion_tokens":4', '"completion_tokens":-4'), 'receipt_malformed'],
    ['an unknown outcome', signed().replace('"complete"', '"fine"'), 'receipt_malformed'],
    ['an unknown member', signed().replace('"enc"', '"more":1,"enc"'), 'receipt_malformed'],
    ['a member twice', signed().replace('"enc"', '"outcome":"complete","enc"'), 'receipt_malformed'],
    ['no signature', JSON.stringify(statement), 'receipt_malformed'],
    ['a bare digest', signed({ receipt_digest: 'aa'.repeat(32) }), 'receipt_malformed'],
    ['a statement of more than 4,096 characters', `${signed()}${' '.repeat(4096)}`, 'receipt_malformed'],
    ['no JSON', 'x', 'receipt_malformed'],
  ])('refused: %s', async (_why, text, code) => {
    expect(await verify(text)).toBe(code)
  })

  it('S5: is no receipt, and no receipt is one', async () => {
    expect(await refusal(async () => parseReceipt(signed()))).toBe('receipt_malformed')
  })
})
