export { evaluate, evaluateGenuineness } from './evaluate.ts'
export { parsePolicy, policyFor } from './parse.ts'
export { type Any, type EvidencePolicy, type Identity, type Policy, type Role, roles } from './policy.ts'
export type { Verdict, VerdictTcb } from './verdict.ts'
