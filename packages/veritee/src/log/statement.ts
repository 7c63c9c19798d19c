import * as crypto from '#crypto'
import type { Verified } from '../attestation/claims.ts'
import { utf8 } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import { type Json, jcs } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import type { MaybePromise } from '../crypto/types.ts'
import { fail } from '../errors.ts'
import type { ReceiptKeys } from '../receipt/keyset.ts'
import { type AuditView, auditViewFromJson, type LogPromise, promiseFromJson } from './audit-view.ts'

/** How many receipts an enclave has signed under its keyset, and which was the last (rule S21): what is missing in the log before it shows. */
export type ChainHead = {
  readonly version: 'veritee.chain-head.v1'
  readonly log: LogPromise
  readonly workload_keyset_digest: string
  readonly key_id: string
  /** Unix seconds. */
  readonly at: number
  readonly receipts: number
  /** Digest of the last; null where there is none. */
  readonly last: string | null
}

/** What an enclave signs for the log. */
export type LogStatement = AuditView | ChainHead

export interface SignedLogStatement {
  readonly statement: LogStatement
  /** 64 bytes. */
  readonly signature: Uint8Array
  /** What is signed, and what the entry is the hash of. */
  readonly message: Uint8Array
}

export const maxLogStatementLength: number = 16_384
const shape = new Shape('audit_view_malformed')

/** A prefix that no receipt begins with, then JCS. */
function messageOf(statement: LogStatement): Uint8Array {
  return utf8(`${statement.version}\n${jcs(statement as unknown as Json)}`)
}

/** The entry of a log: SHA-256 over what is signed, 32 bytes (rule S6: the log itself tells nothing but that). Its RFC 6962 leaf is the hash of these bytes. */
export function logEntry(statement: LogStatement): MaybePromise<Uint8Array> {
  return crypto.sha256(messageOf(statement))
}

/** The text that is sent: JCS with a member `signature` more. `sign` is with the receipt key of the keyset named. */
export async function signLogStatement(statement: LogStatement, sign: (message: Uint8Array) => MaybePromise<Uint8Array>): Promise<string> {
  return jcs({ ...statement, signature: toHex(await sign(messageOf(statement))) } as unknown as Json)
}

/** Reads a statement of at most 16,384 characters: shape only. Throws `audit_view_malformed`. */
export function parseLogStatement(text: string): SignedLogStatement {
  const value = parseDocument(text, { maxLength: maxLogStatementLength, maxDepth: 6 }, 'audit_view_malformed', 'the statement for the log')
  const { signature, ...members } = shape.record(value, 'statement')
  const statement = members.version === 'veritee.chain-head.v1' ? chainHead(members) : auditViewFromJson(members)
  return { statement, signature: fromHex(shape.hex(signature, 'signature', 64)), message: messageOf(statement) }
}

function chainHead(value: unknown): ChainHead {
  const o = shape.object(value, 'head', ['version', 'log', 'workload_keyset_digest', 'key_id', 'at', 'receipts', 'last'])
  const receipts = shape.integer(o.receipts, 'receipts')
  if ((o.last === null) !== (receipts === 0)) throw shape.refuse('last', 'null exactly where there are no receipts')
  return {
    version: shape.oneOf(o.version, 'version', ['veritee.chain-head.v1']),
    log: promiseFromJson(o.log, shape),
    workload_keyset_digest: shape.digest(o.workload_keyset_digest, 'workload_keyset_digest'),
    key_id: shape.string(o.key_id, 'key_id', 128),
    at: shape.integer(o.at, 'at'),
    receipts,
    last: o.last === null ? null : shape.digest(o.last, 'last'),
  }
}

/**
 * Verifies that a statement is of the keyset (whose digest is `keysetDigest`, from a verified report): it names it, and a receipt key of it signed.
 * It does not say that the statement is in a log, nor that it is true. Throws `audit_view_keyset_mismatch`, `receipt_key_unknown`, `audit_view_signature_invalid`.
 */
export async function verifyLogStatement(signed: SignedLogStatement, keys: ReceiptKeys, keysetDigest: string): Promise<Verified<SignedLogStatement>> {
  const { statement, signature, message } = signed
  if (statement.workload_keyset_digest !== keysetDigest)
    throw fail('audit_view_keyset_mismatch', `expected a statement of ${keysetDigest}, found one of ${statement.workload_keyset_digest}`)
  if (!(await keys.verify(statement.key_id, signature, message)))
    throw fail('audit_view_signature_invalid', `the signature does not verify under key ${statement.key_id}`)
  return signed as Verified<SignedLogStatement>
}
