import { VeriteeError } from 'veritee/errors'
import {
  createFraudProof,
  type FraudContext,
  type FraudEvidence,
  fraudDigest,
  type ProvenFraud,
  parseFraudProof,
  verifyFraudProof,
} from 'veritee/fraud'
import { eventOf, parseReceipt, receiptDigest } from 'veritee/receipt'
import type { SeenReceipt } from '../store/epoch-store.ts'
import type { AuditEvidence } from './audit.ts'
import { type OmissionLog, omissionOf } from './omission.ts'

/** A proof that verifies, as anybody would verify it. */
export interface FoundFraud {
  /** Of what it is about: two proofs of one contradiction have one. */
  readonly digest: string
  readonly text: string
  readonly proven: ProvenFraud
}

/** The worker's receipt of an audit, by which later ones are compared; null where none came that its own keyset signed. */
export async function seenReceiptOf({ report, workerReceipt }: Pick<AuditEvidence, 'report' | 'workerReceipt'>): Promise<SeenReceipt | null> {
  if (report === null || workerReceipt === null) return null
  const receipt = parseReceipt(workerReceipt)
  const chain = eventOf(receipt, 'veritee.chain')
  if (chain === undefined) return null
  const { sequence, previous } = chain
  return { keyset: receipt.keysetDigest, sequence, previous, digest: await receiptDigest(receipt), receipt: workerReceipt, report }
}

/**
 * Tries every way in which what an audit saw may contradict itself: alone, with other receipts of the same keyset, and with what stands beside it in the log; and, where it was not found in
 * the log that it promised (`omittedFrom`), with that. `others`: further reports of its keyset, by which its operator may be known where the one that came does not name him. What comes back has been verified with the very function that others use (rule S5); nothing else is ever called a proof.
 */
export async function findFraud(
  evidence: AuditEvidence,
  rivals: readonly SeenReceipt[],
  context: FraudContext,
  omittedFrom: OmissionLog | null,
  others: readonly string[] = [],
): Promise<readonly FoundFraud[]> {
  const omission = omittedFrom === null ? null : await omissionOf(evidence, omittedFrom)
  const tries = [...ofReceipt(evidence, rivals), ...ofView(evidence), ...(omission === null ? [] : [omission])]
  const reports = [...others, ...rivals.map(({ report }) => report)]
  const found = new Map<string, FoundFraud>()
  for (const one of tries) {
    const fraud = await proofOf(one, reports, context)
    if (fraud !== null) found.set(fraud.digest, fraud)
  }
  return [...found.values()]
}

/**
 * The proof over the report that came, or, where that names no operator, over another of the same keyset that does: the operator's signature is under no quote, so that whoever passed the report on may
 * have left it out (rule S17). Null where nothing is shown.
 */
async function proofOf(evidence: FraudEvidence, others: readonly string[], context: FraudContext): Promise<FoundFraud | null> {
  let found: FoundFraud | null = null
  for (const report of new Set([evidence.report, ...others])) {
    const text = createFraudProof({ ...evidence, report })
    try {
      const proven = await verifyFraudProof(parseFraudProof(text), context)
      if (found === null || proven.accused.operatorKey !== null) found = { digest: await fraudDigest(proven), text, proven }
      if (proven.accused.operatorKey !== null) return found
    } catch (error) {
      if (!(error instanceof VeriteeError)) throw error
      // What the first does not show, no other does.
      if (error.code === 'fraud_not_shown') return found
    }
  }
  return found
}

const ofTwo = ['sequence_reused', 'chain_forked'] as const

function ofReceipt({ report, workerReceipt, response }: AuditEvidence, rivals: readonly SeenReceipt[]): FraudEvidence[] {
  if (report === null || workerReceipt === null) return []
  return [
    { kind: 'model_contradicted', report, receipts: [workerReceipt] },
    { kind: 'outcome_contradicted', report, receipts: [workerReceipt], response: new TextEncoder().encode(response) },
    ...rivals.flatMap(({ receipt }) => ofTwo.map((kind): FraudEvidence => ({ kind, report, receipts: [receipt, workerReceipt] }))),
  ]
}

/** Of organic traffic there is the audit view only (rule S6). */
function ofView({ report, view, beside = [] }: AuditEvidence): FraudEvidence[] {
  if (report === null || view === undefined) return []
  return [
    { kind: 'model_contradicted', report, receipts: [], statements: [view] },
    ...beside.flatMap((other) => ofTwo.map((kind): FraudEvidence => ({ kind, report, receipts: [], statements: [view, other] }))),
  ]
}
