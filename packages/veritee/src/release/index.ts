export { type AcceptedPolicy, acceptRelease } from './accept.ts'
export { maxReleaseLength, parseRelease, type ReleasedEnclave, type ReleaseStatement, type SignedRelease } from './statement.ts'
export { judgeRelease, type ReleaseTrust, type RunningCode, signRelease, type VerifiedRelease, verifyRelease } from './verify.ts'
