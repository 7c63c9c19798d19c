import type { QuoteClaims } from '../attestation/claims.ts'
import type { Trust } from '../attestation/index.ts'
import { sha256Digest } from '../bytes/digest.ts'
import { jcs } from '../bytes/jcs.ts'
import { fail } from '../errors.ts'
import { verifyLogStatement } from '../log/statement.ts'
import { parseLogTrust } from '../log/trust.ts'
import { policyFor } from '../policy/parse.ts'
import type { Policy, Role } from '../policy/policy.ts'
import type { Verdict } from '../policy/verdict.ts'
import { evaluateReport } from '../receipt/evaluate-report.ts'
import { ReceiptKeys } from '../receipt/keyset.ts'
import { verifyReceipt } from '../receipt/receipt.ts'
import { verifyReport } from '../receipt/report.ts'
import { findContradiction } from './contradiction.ts'
import type { FraudKind, FraudProof } from './proof.ts'

export interface FraudContext {
  readonly trust: Trust
  /** Whose enclaves count at all: a proof against an enclave that the policy does not accept convicts nobody. */
  readonly policy: Policy
  readonly at: Date
}

/** Who is convicted, of what, and by which evidence. */
export interface ProvenFraud {
  readonly kind: FraudKind
  /** What contradicts what, without content. */
  readonly contradiction: string
  readonly accused: {
    readonly role: Role
    readonly keysetDigest: string
    /** The operator whom the keyset names and who signed its digest; null where one of the two is missing. Whom a ban is for (rule S17). */
    readonly operatorKey: string | null
    /** Whom the keyset names, signed or not: no more than a claim of whoever configured it. */
    readonly namedOperator: string | null
    /** The machine, as the quote's certificate names it: what `platformId` of `veritee/admission` makes the name in a network of. */
    readonly platform: Pick<QuoteClaims['platform'], 'ppid' | 'platformInstanceId'>
  }
  readonly simulated: boolean
  /** What it is about: digests of receipts, and of what is signed where that is a chain head. */
  readonly receipts: readonly string[]
  /** Over the accused's evidence, at {@link judgedAt}. */
  readonly verdict: Verdict
  /** When the evidence was judged: the caller's time, or the end of the keyset where that is over. */
  readonly judgedAt: Date
}

/**
 * Verifies a fraud proof offline (rule S5, spec/fraud-proof.md), in this order: the report's quote is genuine and binds the keyset and its descriptor; the
 * policy's section for the role in the descriptor accepts the enclave; every receipt and statement is signed by a receipt key of that keyset and names it; they
 * contradict each other, or the log that the section names, in the way that the proof says.
 *
 * A keyset that is over by `at` is judged as of its last second, which the quote fixes and nobody chooses: what was signed under it stays signed.
 * How old the attestation is and which weights are listed does not matter here, and is waived.
 *
 * It does not ask who hands the proof over, nor when; nor does it decide what follows from it. Where it throws, nobody is convicted: a document that
 * anybody could have made is held against nobody.
 *
 * Throws every code of `verifyReport`, the `policy_*` code of a rejected enclave, `policy_role_missing`, `receipt_signature_invalid`, `receipt_key_unknown`,
 * `receipt_keyset_mismatch`, `keyset_expired`, `audit_view_keyset_mismatch`, `audit_view_signature_invalid`, of a promise those of `verifyCheckpoint`, `log_range_invalid`
 * and `receipt_key_mismatch`, and `fraud_not_shown` for genuine statements that agree.
 */
export async function verifyFraudProof(proof: FraudProof, { trust, policy, at }: FraudContext): Promise<ProvenFraud> {
  const judgedAt = new Date(Math.min(at.getTime(), proof.report.keyset.not_after * 1000 - 1000))
  const report = await verifyReport(proof.report, 'stated', trust, judgedAt)
  const { role, operator_key: namedOperator } = report.descriptor
  const section = { ...policyFor(policy, role), maxAttestationAge: 'any' as const, models: 'any' as const }
  const verdict = evaluateReport(report, section, { role, at: judgedAt, attestedAt: null, channel: 'stored' })
  if (verdict.error !== null) throw fail(verdict.error.code, `the accused is not accepted by the policy: ${verdict.error.message}`)
  const keys = new ReceiptKeys(report.keyset)
  for (const receipt of proof.receipts)
    await verifyReceipt(receipt, keys, report.keysetDigest, { requestHash: null, responseHash: null, clientNonce: null })
  for (const statement of proof.statements) await verifyLogStatement(statement, keys, report.keysetDigest)
  const log = section.log === 'any' ? null : await parseLogTrust(section.log)
  const { sentence, about } = await findContradiction(proof, report.descriptor, log)
  const { ppid, platformInstanceId } = report.claims.platform
  return {
    kind: proof.kind,
    contradiction: sentence,
    accused: { role, keysetDigest: report.keysetDigest, operatorKey: report.operator, namedOperator, platform: { ppid, platformInstanceId } },
    simulated: report.claims.simulated,
    receipts: about,
    verdict,
    judgedAt,
  }
}

/**
 * What a proof is about, for counting it once: digest over the kind, the accused keyset and what it is about, in whatever order. Two proofs of one contradiction have
 * one digest, whatever evidence of the keyset, and whatever part of a log, they carry.
 */
export function fraudDigest({ kind, accused, receipts }: Pick<ProvenFraud, 'kind' | 'accused' | 'receipts'>): Promise<string> {
  return sha256Digest(new TextEncoder().encode(jcs({ kind, keyset: accused.keysetDigest, receipts: [...receipts].sort() })))
}
