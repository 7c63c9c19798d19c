import { fromBase64, toBase64 } from '../bytes/base64.ts'
import type { Json } from '../bytes/jcs.ts'
import { parseDocument } from '../bytes/json.ts'
import { Shape } from '../bytes/shape.ts'
import { maxReceiptBytes, parseReceipt, type Receipt } from '../receipt/receipt.ts'
import { maxReportBytes, type Report, reportFromJson } from '../receipt/report.ts'

/**
 * What a fraud proof can show (rule S5, spec/fraud-proof.md). Each is a contradiction between statements that the accused enclave alone can have signed:
 * two receipts with one number; two receipts that follow one predecessor; a receipt over other weights than its quote binds; an outcome that the signed
 * bytes contradict.
 */
export const fraudKinds = ['sequence_reused', 'chain_forked', 'model_contradicted', 'outcome_contradicted'] as const
export type FraudKind = (typeof fraudKinds)[number]

/** A fraud proof as parsed: nothing in it is verified. */
export interface FraudProof {
  readonly kind: FraudKind
  /** Of the accused: binds the keyset that signed. */
  readonly report: Report
  /** Two for the first two kinds, one for the others. */
  readonly receipts: readonly Receipt[]
  /** Response body, for `outcome_contradicted`; null for the others. */
  readonly response: Uint8Array | null
}

/** UTF-16 units of the longest proof: a report, two receipts, and an answer of 8 MiB in base64. */
export const maxFraudProofLength: number = 16 << 20
export const maxResponseBytes: number = 8 << 20
const version = 'veritee.fraud-proof.v1'
const shape = new Shape('fraud_proof_malformed')
const members = ['version', 'kind', 'report', 'receipts', 'response_b64']

/**
 * Reads a fraud proof: shape and number of its parts. Whether they are signed, by whom, and whether they contradict each other is for `verifyFraudProof`.
 * Throws `fraud_proof_malformed`, and the codes of the readers of reports and receipts.
 */
export function parseFraudProof(text: string): FraudProof {
  const limits = { maxLength: maxFraudProofLength, maxDepth: 18, maxValues: 1 << 18 }
  const o = shape.object(parseDocument(text, limits, 'fraud_proof_malformed', 'the fraud proof'), 'proof', members)
  shape.oneOf(o.version, 'version', [version])
  const kind = shape.oneOf(o.kind, 'kind', fraudKinds)
  const receipts = shape.array(o.receipts, 'receipts', 2).map((item, i) => receipt(item, `receipts[${i}]`))
  const wanted = kind === 'sequence_reused' || kind === 'chain_forked' ? 2 : 1
  if (receipts.length !== wanted) throw shape.refuse('receipts', `exactly ${wanted} for ${kind}`)
  return { kind, report: reportFromJson(bounded(o.report, 'report', maxReportBytes)), receipts, response: response(kind, o.response_b64) }
}

function receipt(value: unknown, at: string): Receipt {
  // The reader of receipts is strict about texts, and a receipt is the same in any encoding.
  return parseReceipt(JSON.stringify(bounded(value, at, maxReceiptBytes)))
}

function bounded(value: unknown, at: string, bytes: number): unknown {
  if (JSON.stringify(shape.record(value, at)).length > bytes) throw shape.refuse(at, `at most ${bytes} characters`)
  return value
}

function response(kind: FraudKind, value: unknown): Uint8Array | null {
  if (kind !== 'outcome_contradicted') {
    if (value !== null) throw shape.refuse('response_b64', `null for ${kind}`)
    return null
  }
  const bytes = fromBase64(shape.string(value, 'response_b64', maxFraudProofLength))
  if (bytes.length > maxResponseBytes) throw shape.refuse('response_b64', `at most ${maxResponseBytes} bytes`)
  return bytes
}

/** What a proof is made of: documents as they were served. */
export interface FraudEvidence {
  readonly kind: FraudKind
  readonly report: string
  readonly receipts: readonly string[]
  readonly response?: Uint8Array
}

/** The text of a proof over these documents. Verify it before you publish it: it is written whatever it shows. Throws `malformed_json`, `fraud_proof_malformed`. */
export function createFraudProof({ kind, report, receipts, response: body }: FraudEvidence): string {
  const document = (text: string, maxLength: number, what: string): Json =>
    parseDocument(text, { maxLength, maxDepth: 16 }, 'fraud_proof_malformed', what) as Json
  return JSON.stringify({
    version,
    kind,
    report: document(report, maxReportBytes, 'the report'),
    receipts: receipts.map((text) => document(text, maxReceiptBytes, 'a receipt')),
    response_b64: body === undefined ? null : toBase64(body),
  })
}
