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
  type Timing,
  type UnsignedAuditRecord,
  type WorkerId,
} from './audit/record.ts'
export { signAuditRecord, type VerifiedAuditRecord, verifyAuditRecord } from './audit/sign.ts'
