export { auditRecordFromJson, parseAuditRecord } from './audit/parse.ts'
export { type Fault, type FaultClass, faults, type Obstacle, obstacles } from './audit/reasons.ts'
export {
  type AuditedAttestation,
  type AuditedReplay,
  type AuditedView,
  type AuditKind,
  type AuditRecord,
  auditVersion,
  maxAuditRecordLength,
  maxRecordsPerEpoch,
  maxRecordTokens,
  type Timing,
  type UnsignedAuditRecord,
  type WorkerId,
} from './audit/record.ts'
export { signAuditRecord, type VerifiedAuditRecord, verifyAuditRecord } from './audit/sign.ts'
export {
  type ConfirmationRequest,
  confirmationRequestVersion,
  maxConfirmationRequestLength,
  parseConfirmationRequest,
  signConfirmationRequest,
  type UnsignedConfirmationRequest,
  verifyConfirmationRequest,
} from './confirmation/request.ts'
export {
  type Canaries,
  type CanaryOpening,
  canaryCommitment,
  commitmentEntry,
  recordsCommitment,
  recordsFileCommitment,
  recordsText,
  seedOfCanaries,
} from './epoch/commitments.ts'
export type { Accusation, Duties, EpochLog, Roster, Rounds } from './epoch/documents.ts'
export { type Missed, missedDuty, verifyRange } from './epoch/duties.ts'
export {
  type EpochSignature,
  parseEpochSignatures,
  parseManifest as parseEpochManifest,
  type ReadFile,
  signaturesText as epochSignaturesText,
} from './epoch/files.ts'
export { readEpochParts } from './epoch/parts.ts'
export { rosterOf } from './epoch/roster.ts'
export { type EpochCheck, type EpochContext, type EpochVerdict, readFrom, type VerifiedAccusation, verifyEpoch } from './epoch/verify.ts'
export { type EpochParts, openCanaries, type ValidatorPart, type WrittenEpoch, writeEpoch } from './epoch/write.ts'
export type { NetworkScores } from './network/combine.ts'
export type { Conviction, Ground, ProvenKeyset } from './network/convictions.ts'
export { formatNano } from './numbers/decimal.ts'
export { divideShares } from './numbers/shares.ts'
export { parseScoringPolicy } from './policy/parse.ts'
export {
  epochWindow,
  maxScoringPolicyLength,
  type PolicyLog,
  type PolicyModel,
  type PolicyValidator,
  type ScoringPolicy,
  type SignedScoringPolicy,
} from './policy/policy.ts'
export { signScoringPolicy, type VerifiedScoringPolicy, verifyScoringPolicy } from './policy/verify.ts'
export type { NotCounted, OperatorScore, ValidatorScores, WorkerScore } from './rules/validator.ts'
export { type EpochInput, type EpochScores, scoreEpoch } from './score.ts'
export { scoresToJson } from './scores-json.ts'
export { parseState, stateToJson } from './state/json.ts'
export { emptyState, type ScoringState, workerKey } from './state/state.ts'
