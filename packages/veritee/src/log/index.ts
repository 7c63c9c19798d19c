export { type AddCheckpoint, addCheckpointText, maxAddCheckpointLength, parseAddCheckpoint, parseCosignatures } from './add-checkpoint.ts'
export { anchoredNonce, type NonceAnchor } from './anchor.ts'
export { type AuditView, auditView, auditViewOf, type LogPromise, type ViewedReceipt, viewedParameters } from './audit-view.ts'
export { type ChainFault, chainFaults } from './chain.ts'
export { type Checkpoint, checkpointText, parseCheckpoint, signCheckpoint } from './checkpoint.ts'
export { cosign, verifyCosignature } from './cosignature.ts'
export { type ForkEvidence, forkText, verifyFork } from './fork.ts'
export { inclusionProof, verifyInclusionProof } from './inclusion.ts'
export {
  isOf,
  type KeyType,
  type NoteSigner,
  noteSigner,
  parseVerifierKey,
  signNote,
  type VerifierKey,
  verifierKey,
  verifierKeyText,
  verifyNote,
} from './key.ts'
export { maxNoteLength, type Note, type NoteSignature, noteText, parseNote, parseSignatureLine, signatureLine } from './note.ts'
export { type GetLogFile, getConsistency, getInclusion, tilesFrom } from './offer.ts'
export { type LogRange, maxRangeLeaves, readLogRange, type VerifiedRange, verifyLogRange } from './range.ts'
export { isPromiseDue, type LoggedReceipt, type OfferedInclusion, verifyInclusion } from './receipt-inclusion.ts'
export { parseSeen, seenText } from './seen.ts'
export {
  type ChainHead,
  type LogStatement,
  logEntry,
  maxLogStatementLength,
  parseLogStatement,
  type SignedLogStatement,
  signLogStatement,
  verifyLogStatement,
} from './statement.ts'
export { entryBundle, maxEntryBytes, parseEntryBundle, parseTilePath, type Tile, tileHashes, tilePath, tileWidth, widthIn } from './tile.ts'
export { type ReadTile, TileTree } from './tile-tree.ts'
export { type LoggedEntry, parseTlogProof, type TlogProof, tlogProofText, verifyTlogProof } from './tlog-proof.ts'
export { TreeEdge } from './tree-edge.ts'
export { type LogPolicy, type LogTrust, parseLogTrust } from './trust.ts'
export {
  advance,
  cosignatureTimes,
  type SeenCheckpoint,
  type SignedCheckpoint,
  type VerifiedCheckpoint,
  verifyCheckpoint,
  verifyCheckpointOfLog,
  type WitnessedCheckpoint,
} from './verify.ts'
