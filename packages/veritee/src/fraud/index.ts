export {
  createFraudProof,
  type FraudEvidence,
  type FraudKind,
  type FraudProof,
  fraudKinds,
  maxFraudProofLength,
  parseFraudProof,
  type ShownLog,
} from './proof.ts'
export { type FraudContext, fraudDigest, type ProvenFraud, verifyFraudProof } from './verify.ts'
