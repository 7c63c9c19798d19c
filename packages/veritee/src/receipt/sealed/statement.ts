import * as crypto from '#crypto'
import { utf8 } from '../../bytes/bytes.ts'
import { fromHex } from '../../bytes/hex.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import { parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { fail } from '../../errors.ts'
import { type Outcome, outcomes } from '../inference-members.ts'
import { type Keyset, receiptKey } from '../keyset.ts'

/** What a worker tells a controller that could not read an exchange (spec/ehbp-binding.md): enough to tie its own receipt to the worker's, and to count tokens. */
export type SealedStatement = {
  readonly api_version: 'veritee.sealed-exchange.v1'
  readonly receipt_id: string
  readonly receipt_digest: string
  readonly workload_keyset_digest: string
  readonly key_id: string
  readonly enc: string
  readonly client_nonce: string | null
  readonly session_id: string | null
  readonly request_hash: string
  readonly response_hash: string
  readonly prompt_tokens: number | null
  readonly completion_tokens: number | null
  readonly outcome: Outcome
}

export const maxStatementLength: number = 4096
const shape = new Shape('receipt_malformed')
const members = [
  'api_version',
  'receipt_id',
  'receipt_digest',
  'workload_keyset_digest',
  'key_id',
  'enc',
  'client_nonce',
  'session_id',
  'request_hash',
  'response_hash',
  'prompt_tokens',
  'completion_tokens',
  'outcome',
  'signature',
]

/** The text that is signed, and what `signature` is put into. */
export function statementText(statement: SealedStatement): string {
  return jcs(statement as unknown as Json)
}

/** What the controller knows of the exchange. */
export interface ExpectedStatement {
  readonly receiptId: string
  readonly enc: string
  readonly clientNonce: string | null
  readonly sessionId: string
  readonly requestHash: string
  /** Null where the answer was not read to its end. */
  readonly responseHash: string | null
}

/** Reads a statement: shape only. Throws `receipt_malformed`. */
export function parseStatement(text: string): { readonly statement: SealedStatement; readonly signature: Uint8Array } {
  const value = parseDocument(text, { maxLength: maxStatementLength, maxDepth: 2 }, 'receipt_malformed', 'the statement')
  const o = shape.object(value, 'statement', members)
  const count = (name: string): number | null => (o[name] === null ? null : shape.integer(o[name], name))
  const statement: SealedStatement = {
    api_version: shape.oneOf(o.api_version, 'api_version', ['veritee.sealed-exchange.v1']),
    receipt_id: shape.string(o.receipt_id, 'receipt_id', 128),
    receipt_digest: shape.digest(o.receipt_digest, 'receipt_digest'),
    workload_keyset_digest: shape.digest(o.workload_keyset_digest, 'workload_keyset_digest'),
    key_id: shape.string(o.key_id, 'key_id', 128),
    enc: shape.hex(o.enc, 'enc', 32),
    client_nonce: o.client_nonce === null ? null : shape.hex(o.client_nonce, 'client_nonce', 32),
    session_id: o.session_id === null ? null : shape.hex(o.session_id, 'session_id', 32),
    request_hash: shape.digest(o.request_hash, 'request_hash'),
    response_hash: shape.digest(o.response_hash, 'response_hash'),
    prompt_tokens: count('prompt_tokens'),
    completion_tokens: count('completion_tokens'),
    outcome: shape.oneOf(o.outcome, 'outcome', outcomes),
  }
  return { statement, signature: fromHex(shape.hex(o.signature, 'signature', 64)) }
}

/**
 * Reads and verifies a statement against the keyset of a worker: shape, signature by a receipt key of the keyset, the keyset named, and that it is of this exchange.
 * Throws `receipt_malformed`, `receipt_key_unknown`, `receipt_signature_invalid`, `receipt_keyset_mismatch`, `receipt_transport_mismatch`, `receipt_request_mismatch`,
 * `receipt_response_mismatch`.
 */
export async function verifySealedStatement(
  text: string,
  keyset: Keyset,
  keysetDigest: string,
  expected: ExpectedStatement,
): Promise<SealedStatement> {
  const { statement, signature } = parseStatement(text)
  const key = receiptKey(keyset, statement.key_id)
  if (!(await crypto.verifyEd25519(fromHex(key), signature, utf8(statementText(statement)))))
    throw fail('receipt_signature_invalid', `statement about ${statement.receipt_id}: the signature does not verify under key ${statement.key_id}`)
  if (statement.workload_keyset_digest !== keysetDigest)
    throw fail('receipt_keyset_mismatch', `expected ${keysetDigest}, found ${statement.workload_keyset_digest}`)
  same('receipt_id', expected.receiptId, statement.receipt_id)
  same('enc', expected.enc, statement.enc)
  same('client_nonce', expected.clientNonce, statement.client_nonce)
  same('session_id', expected.sessionId, statement.session_id)
  if (statement.request_hash !== expected.requestHash)
    throw fail('receipt_request_mismatch', `expected the encrypted request ${expected.requestHash}, found ${statement.request_hash}`)
  if (expected.responseHash !== null && statement.response_hash !== expected.responseHash)
    throw fail('receipt_response_mismatch', `expected the encrypted answer ${expected.responseHash}, found ${statement.response_hash}`)
  return statement
}

function same(name: string, expected: string | null, found: string | null): void {
  if (found !== expected) throw fail('receipt_transport_mismatch', `${name}: expected ${expected ?? 'none'}, found ${found ?? 'none'}`)
}
