import { fromBase64, toBase64 } from '../bytes/base64.ts'
import { concatAll } from '../bytes/bytes.ts'
import { fromHex, toHex } from '../bytes/hex.ts'
import type { Json } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { leavesOf } from '../bytes/merkle.ts'
import { Shape } from '../bytes/shape.ts'
import { maxNoteLength } from '../log/note.ts'
import { type LogRange, maxRangeLeaves } from '../log/range.ts'
import { maxLogStatementLength, parseLogStatement, type SignedLogStatement } from '../log/statement.ts'
import { maxReceiptBytes, parseReceipt, type Receipt } from '../receipt/receipt.ts'
import { maxReportBytes, type Report, reportFromJson } from '../receipt/report.ts'

/**
 * What a fraud proof can show (rule S5, spec/fraud-proof.md). Each is a contradiction between statements that the accused enclave alone can have signed, or, in
 * the last, between such a statement and a log that witnesses have seen: two receipts in one place of the chain; two that follow one predecessor; other weights
 * than its quote binds; an outcome that the signed bytes contradict; a receipt that was to be in the log and was left out of it.
 */
export const fraudKinds = ['sequence_reused', 'chain_forked', 'model_contradicted', 'outcome_contradicted', 'promise_broken'] as const
export type FraudKind = (typeof fraudKinds)[number]

/** How many signed statements each kind is made of. */
const counts: Readonly<Record<FraudKind, number>> = {
  sequence_reused: 2,
  chain_forked: 2,
  model_contradicted: 1,
  outcome_contradicted: 1,
  promise_broken: 2,
}

/** A fraud proof as parsed: nothing in it is verified. */
export interface FraudProof {
  readonly kind: FraudKind
  /** Of the accused: binds the keyset that signed. */
  readonly report: Report
  readonly receipts: readonly Receipt[]
  /** What it signed for a log: audit views and chain heads. With the receipts as many as the kind takes. */
  readonly statements: readonly SignedLogStatement[]
  /** Response body, for `outcome_contradicted`; null for the others. */
  readonly response: Uint8Array | null
  /** For `promise_broken`; null for the others. */
  readonly log: ShownLog | null
}

/** A part of a log, and what is needed to look for a receipt in it. */
export interface ShownLog {
  readonly range: LogRange
  /** Of the nonce of the receipt, 32 bytes, where the range does not begin with the log; null where it does. */
  readonly salt: Uint8Array | null
  /** `X-Veritee-Receipt-Key` of the receipt, 32 bytes; null where it commits to none. */
  readonly receiptKey: Uint8Array | null
}

/** UTF-16 units of the longest proof: a report, two receipts, and 8 MiB of an answer or of leaves in base64. */
export const maxFraudProofLength: number = 16 << 20
export const maxResponseBytes: number = 8 << 20
const version = 'veritee.fraud-proof.v2'
const shape = new Shape('fraud_proof_malformed')

/**
 * Reads a fraud proof: shape and number of its parts. Whether they are signed, by whom, and whether they contradict each other is for `verifyFraudProof`.
 * Throws `fraud_proof_malformed`, and the codes of the readers of reports, receipts and statements.
 */
export function parseFraudProof(text: string): FraudProof {
  const limits = { maxLength: maxFraudProofLength, maxDepth: 18, maxValues: 1 << 18 }
  const members = ['version', 'kind', 'report', 'receipts', 'statements', 'response_b64', 'log']
  const o = shape.object(parseDocument(text, limits, 'fraud_proof_malformed', 'the fraud proof'), 'proof', members)
  shape.oneOf(o.version, 'version', [version])
  const kind = shape.oneOf(o.kind, 'kind', fraudKinds)
  // The readers are strict about texts, and a receipt or statement is the same in any encoding.
  const receipts = shape.array(o.receipts, 'receipts', 2).map((item, i) => parseReceipt(bounded(item, `receipts[${i}]`, maxReceiptBytes)))
  const statements = shape
    .array(o.statements, 'statements', 2)
    .map((item, i) => parseLogStatement(bounded(item, `statements[${i}]`, maxLogStatementLength)))
  if (receipts.length + statements.length !== counts[kind]) throw shape.refuse('receipts and statements', `${counts[kind]} for ${kind}`)
  // What is over bytes of an answer, and what was promised, is a receipt; what was logged is not.
  if ((kind === 'outcome_contradicted' || kind === 'promise_broken') && receipts.length !== 1) throw shape.refuse('receipts', `one for ${kind}`)
  return {
    kind,
    report: reportFromJson(JSON.parse(bounded(o.report, 'report', maxReportBytes))),
    receipts,
    statements,
    response: kind === 'outcome_contradicted' ? responseFromJson(o.response_b64) : absent(o.response_b64, 'response_b64', kind),
    log: kind === 'promise_broken' ? logFromJson(o.log) : absent(o.log, 'log', kind),
  }
}

function bounded(value: unknown, at: string, characters: number): string {
  const text = JSON.stringify(shape.record(value, at))
  if (text.length > characters) throw shape.refuse(at, `at most ${characters} characters`)
  return text
}

function absent(value: unknown, at: string, kind: FraudKind): null {
  if (value !== null) throw shape.refuse(at, `null for ${kind}`)
  return null
}

function responseFromJson(value: unknown): Uint8Array {
  const bytes = fromBase64(shape.string(value, 'response_b64', maxFraudProofLength))
  if (bytes.length > maxResponseBytes) throw shape.refuse('response_b64', `at most ${maxResponseBytes} bytes`)
  return bytes
}

function logFromJson(value: unknown): ShownLog {
  const o = shape.object(value, 'log', ['checkpoint', 'before', 'leaves_b64', 'receipt_key'])
  const before = o.before === null ? null : shape.object(o.before, 'log.before', ['size', 'roots', 'salt'])
  const size = before === null ? 0 : shape.integer(before.size, 'log.before.size')
  const roots = before === null ? [] : shape.array(before.roots, 'log.before.roots', 53)
  // As many as the full subtrees of that size.
  if (before !== null && (size === 0 || roots.length !== size.toString(2).replaceAll('0', '').length))
    throw shape.refuse('log.before', 'a size above 0 with its full subtrees')
  const bytes = fromBase64(shape.string(o.leaves_b64, 'log.leaves_b64', maxFraudProofLength))
  if (bytes.length % 32 !== 0 || bytes.length > 32 * maxRangeLeaves)
    throw shape.refuse('log.leaves_b64', `at most ${maxRangeLeaves} hashes of 32 bytes`)
  return {
    range: {
      checkpoint: shape.string(o.checkpoint, 'log.checkpoint', maxNoteLength),
      before: { size, roots: roots.map((root, i) => fromHex(shape.hex(root, `log.before.roots[${i}]`, 32))) },
      leaves: leavesOf(bytes),
    },
    salt: before === null ? null : fromHex(shape.hex(before.salt, 'log.before.salt', 32)),
    receiptKey: o.receipt_key === null ? null : fromHex(shape.hex(o.receipt_key, 'log.receipt_key', 32)),
  }
}

/** What a proof is made of: documents as they were served. */
export interface FraudEvidence {
  readonly kind: FraudKind
  readonly report: string
  readonly receipts: readonly string[]
  /** Audit views and chain heads, signed. */
  readonly statements?: readonly string[]
  readonly response?: Uint8Array
  readonly log?: ShownLog
}

/** The text of a proof over these documents. Verify it before you publish it: it is written whatever it shows. Throws `malformed_json`, `fraud_proof_malformed`. */
export function createFraudProof({ kind, report, receipts, statements = [], response: body, log }: FraudEvidence): string {
  const document = (text: string, maxLength: number, what: string): Json =>
    parseDocument(text, { maxLength, maxDepth: 16 }, 'fraud_proof_malformed', what) as Json
  return JSON.stringify({
    version,
    kind,
    report: document(report, maxReportBytes, 'the report'),
    receipts: receipts.map((text) => document(text, maxReceiptBytes, 'a receipt')),
    statements: statements.map((text) => document(text, maxLogStatementLength, 'a statement')),
    response_b64: body === undefined ? null : toBase64(body),
    log: log === undefined ? null : logToJson(log),
  })
}

function logToJson({ range: { checkpoint, before, leaves }, salt, receiptKey }: ShownLog): Json {
  return {
    checkpoint,
    before: salt === null ? null : { size: before.size, roots: before.roots.map(toHex), salt: toHex(salt) },
    leaves_b64: toBase64(concatAll(leaves)),
    receipt_key: receiptKey === null ? null : toHex(receiptKey),
  }
}
