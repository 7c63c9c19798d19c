export { type Bundle, type BundledExchange, maxBundleLength, parseBundle } from './bundle/bundle.ts'
export { type BundleParts, createBundle } from './bundle/create.ts'
export { type BundlePolicy, evaluateBundle } from './bundle/evaluate.ts'
export type { VerifiedBundledExchange } from './bundle/exchange.ts'
export { type DrawnNonces, type VerifiedBundle, verifyBundle } from './bundle/verify.ts'
export { type ServingConstraints, type SplicedRequest, spliceConstraints } from './constraints.ts'
export { type Content, contentText, maxContentLength, parseContent } from './content.ts'
export { type DescribedModel, descriptorSubject, type EngineFacts, parseDescriptor, type ServiceDescriptor, type WeightFile } from './descriptor.ts'
export { type Channel, evaluateReport, type ReportContext } from './evaluate-report.ts'
export type { ChoicesEvent, InferenceEvent, ModelEvent, Outcome, ReceiptEvent, StreamEvent, UpstreamReceiptEvent } from './events.ts'
export {
  type Exchange,
  type ExchangeOptions,
  type ExchangeRecords,
  requestLimits,
  type VerifiedExchange,
  verifyExchange,
  WorkerFault,
} from './exchange.ts'
export { applyRewrite } from './external/apply-rewrite.ts'
export {
  type Capability,
  capabilities,
  type DescribedExternalEngine,
  type ExternalEngine,
  type ExternalEngineEvent,
  type ExternalProvenance,
  externalEnginesExtension,
  externalEnginesOf,
} from './external/event.ts'
export { type RewriteEvent, type RewriteOperation, responsesToChat } from './external/rewrite.ts'
export { chatOfResponses } from './external/translate.ts'
export { outcomes } from './inference-members.ts'
export { checkKeysetWindow, type Keyset, keysetDigest, maxKeysetSeconds, parseKeyset, ReceiptKeys } from './keyset.ts'
export {
  eventOf,
  maxReceiptBytes,
  parseReceipt,
  type Receipt,
  type ReceiptCore,
  type ReceiptExpectation,
  receiptDigest,
  type UnsignedReceipt,
  upstreamOf,
  verifyReceipt,
  verifyReceiptCore,
} from './receipt.ts'
export { checkReceiptKey, receiptKeyCommitment } from './receipt-key.ts'
export { maxReportBytes, parseReport, type Report, reportFromJson, type VerifiedReport, verifyReport } from './report.ts'
export type { OpaqueEvent, TransportEvent } from './sealed/event.ts'
export { type ExpectedStatement, parseStatement, type SealedStatement, statementText, verifySealedStatement } from './sealed/statement.ts'
export { checkTransport, type SealedTransport } from './sealed/transport.ts'
export { type SealedExchange, type SealedRecords, type SealedWorker, verifySealedExchange } from './sealed/verify.ts'
export {
  type Claim,
  type ClaimName,
  claimNames,
  maxSessionBytes,
  parseSession,
  type Session,
  type SessionClaims,
  type SessionDocument,
  sessionEvidence,
  sessionId,
} from './session.ts'
export { statement, statementReportData } from './statement.ts'
export { EventSplitter, maxEventBytes, maxStreamEvents, type PrefixProof, parsePrefixProof, StreamTree, verifyPrefix } from './stream.ts'
