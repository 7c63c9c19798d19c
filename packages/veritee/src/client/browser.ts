/** The client as browsers have it: everything but what needs Node. */
export { type Answer, type AskOptions, ask, chatBody } from './ask.ts'
export { connect } from './connect.ts'
export type { Connection } from './connection/connection.ts'
export type { ConnectionOptions, ProofListener } from './connection/options.ts'
export { epochFilesAt, type SiteBounds, type SiteOptions } from './epoch-files.ts'
export { type CollateralSource, type ConnectOptions, checkStillVerified, establish, type Service } from './establish.ts'
export type { SeenDocuments } from './exchange/documents.ts'
export type { Mode } from './exchange/holding.ts'
export type { ProofEvidence } from './exchange/proving.ts'
export { fetchText, readBody } from './fetch-text.ts'
export {
  type Inclusion,
  type InclusionEvidence,
  type InclusionOptions,
  type InclusionStatus,
  included,
  type ReceiptInclusion,
} from './inclusion/included.ts'
export { logFilesAt } from './inclusion/log-files.ts'
export { memorySeen, type SeenKeep } from './inclusion/seen.ts'
export { ClientError, ConfigurationError, RejectedError, typedError, UnavailableError, UntrustedError } from './proof/errors.ts'
export { explain } from './proof/explain.ts'
export {
  type Proof,
  type ProofError,
  type ProofStatus,
  type ProvenBytes,
  type ProvenCheck,
  type ProvenEnclave,
  type ProvenModel,
  type ProvenReceipt,
  proofStatuses,
} from './proof/proof.ts'
export { policyWithReleases, releasesPath } from './releases/offered.ts'
export type { Transport, TransportRequest, TransportResponse } from './transport.ts'
export { webTransport } from './web-transport.ts'
