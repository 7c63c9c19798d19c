import { fail } from 'veritee/errors'
import { type FraudContext, parseFraudProof, verifyFraudProof } from 'veritee/fraud'
import type { EpochContext } from 'veritee/scoring'
import { accusedOf } from '../epoch/conclude.ts'

/** Judges the fraud proofs of a bundle by the evidence that counts in this network. */
export function proofJudge(evidence: Omit<FraudContext, 'at'>): NonNullable<EpochContext['verifyProof']> {
  return async (text, { salt, at }) => {
    const accused = await accusedOf(await verifyFraudProof(parseFraudProof(text), { ...evidence, at }), salt)
    if (accused === null) throw fail('fraud_not_shown', 'the accused names no operator: there is nobody to convict')
    return accused
  }
}
