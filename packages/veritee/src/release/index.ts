export { type AcceptedPolicy, acceptRelease } from './accept.ts'
export { type ReleaseDocument, releaseEntry, withReleases } from './demanded.ts'
export { maxReleaseLength, parseRelease, type ReleasedEnclave, type ReleaseStatement, type SignedRelease } from './statement.ts'
export { type ReleaseTrust, signRelease, type VerifiedRelease, verifyRelease } from './verify.ts'
