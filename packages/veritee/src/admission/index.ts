export {
  type AdmissionManifest,
  type ManifestPlatforms,
  type ManifestSignature,
  manifestPolicy,
  maxAdmissionManifestLength,
  parseAdmissionManifest,
  type SignedAdmissionManifest,
} from './manifest.ts'
export { signOperatorStatement, verifyOperator } from './operator.ts'
export { type AdmittedPlatform, judgePlatform, operatorId, platformId } from './platform.ts'
export { type AdmissionTrust, parseAdmissionTrust } from './trust.ts'
export { checkManifestWindow, checkSuccession, signAdmissionManifest, type VerifiedManifest, verifyAdmissionManifest } from './verify.ts'
