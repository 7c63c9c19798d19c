/**
 * A simulated SGX and TDX platform and its vendor, for tests, demos and machines without the hardware.
 * Evidence made here verifies only under the root made with it, and every verdict over it says SIMULATED.
 */
export {
  type Alteration,
  type Authority,
  type CertificateProfile,
  caProfile,
  issueAuthority,
  issueAuthorityCrl,
  leafProfile,
  simulatedName,
  type Window,
} from './authority.ts'
export {
  assembleCollateral,
  type CollateralFields,
  type CollateralPieces,
  type DocumentFields,
  issueDocuments,
  issuePieces,
} from './collateral.ts'
export {
  type QeIdentityFields,
  qeIdentityDocument,
  type SimModuleIdentity,
  type SimQeLevel,
  type SimTcbLevel,
  type SimTdxModule,
  type TcbInfoFields,
  tcbInfoDocument,
  type UnsignedDocument,
} from './documents.ts'
export { createSimPlatform, enclaveReport, type SimEnclave, type SimPlatform, type SimPlatformOptions, type SimQuoteForm } from './platform.ts'
export {
  assembleQuote,
  type BodyKind,
  type CertificationFields,
  chainCertification,
  leafCertification,
  type PlatformIdentity,
  platformCertification,
  type QuoteBody,
  type QuoteParts,
  qeReportData,
  type SgxReportFields,
  sgxReport,
} from './quote.ts'
export { createQuotingEnclave, type QuotingEnclave, type QuotingEnclaveFields } from './quoting-enclave.ts'
export { type SgxExtensionFields, sgxExtension, sgxExtensionOid } from './sgx-extension.ts'
export type { SimStanding } from './standing.ts'
export { type SimTd, type TdBodyKind, tdReport } from './td-report.ts'
export { chainPem, createSimVendor, type SignedDocument, type SimVendor, signDocument, type VendorAlterations } from './vendor.ts'
