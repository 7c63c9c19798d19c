export { createVerifierCache, type VerifierCache } from './cache/verifier-cache.ts'
export { type CheckId, checkIds, VerificationError } from './checks.ts'
export {
  type Check,
  type PlatformClaims,
  type QuoteClaims,
  type SgxClaims,
  type TcbClaims,
  type TcbLevelResult,
  type TcbStatus,
  type TdxClaims,
  tcbStatuses,
  type Verified,
} from './claims.ts'
export { type Collateral, type CollateralJson, collateralFromJson, collateralToJson, formatCollateral, parseCollateral } from './collateral.ts'
export { type Certificate, parseCertificate } from './pki/certificate.ts'
export { type Crl, parseCrl } from './pki/crl.ts'
export type { BasicConstraints, Extension } from './pki/extensions.ts'
export type { Name } from './pki/name.ts'
export { parsePem } from './pki/pem.ts'
export { parseSgxExtension, type SgxExtension } from './pki/sgx-extension.ts'
export type { CertificationData } from './quote/certification.ts'
export { parseQuote, type Quote } from './quote/quote.ts'
export { intelSgxRootCa, type Root } from './roots/intel.ts'
export type { SgxReport } from './sgx/report.ts'
export { parseQeIdentity, type QeIdentity } from './tcb/qe-identity.ts'
export { parseTcbInfo, type TcbInfo } from './tcb/tcb-info.ts'
export type { TdReport } from './tdx/report.ts'
export { type Trust, type VerifiedQuote, type VerifyOptions, verifyQuote } from './verify.ts'
