/**
 * A simulated SGX platform and its vendor, for tests, demos and machines without the hardware.
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
export { assembleCollateral, type CollateralFields, type CollateralPieces, issuePieces } from './collateral.ts'
export { qeIdentityDocument, type SimQeLevel, type SimTcbLevel, tcbInfoDocument, type UnsignedDocument } from './documents.ts'
export { createSimPlatform, enclaveReport, type SimEnclave, type SimPlatform, type SimPlatformOptions, type SimStanding } from './platform.ts'
export { assembleQuote, type QuoteParts, qeReportData, type SgxReportFields, sgxReport } from './quote.ts'
export { createQuotingEnclave, type QuotingEnclave, type QuotingEnclaveFields } from './quoting-enclave.ts'
export { type SgxExtensionFields, sgxExtension, sgxExtensionOid } from './sgx-extension.ts'
export { chainPem, createSimVendor, type SignedDocument, type SimVendor, signDocument, type VendorAlterations } from './vendor.ts'
