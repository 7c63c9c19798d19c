import type { Collateral } from '../collateral.ts'
import { type Authority, issueAuthorityCrl, type Window } from './authority.ts'
import { type QeIdentityFields, qeIdentityDocument, type TcbInfoFields, tcbInfoDocument } from './documents.ts'
import { chainPem, type SignedDocument, type SimVendor, signDocument } from './vendor.ts'

/** The two documents about one kind of platform and one kind of TEE. */
export interface DocumentFields {
  readonly tcbInfo: TcbInfoFields
  readonly qeIdentity: QeIdentityFields
}

/** What the simulated vendor says about one kind of platform. */
export interface CollateralFields extends DocumentFields {
  /** Serials on the root's list and on the PCK authority's list. */
  readonly revokedByRoot: readonly Uint8Array[]
  readonly revokedByPckCa: readonly Uint8Array[]
  readonly crlNumber: number
}

/** The signed pieces of a collateral set; replace one to make a set that a verifier must refuse. */
export interface CollateralPieces {
  readonly rootCaCrl: Uint8Array
  readonly pckCrl: Uint8Array
  readonly tcbInfo: SignedDocument
  readonly qeIdentity: SignedDocument
}

/** Signs every piece, all of them valid in one window. */
export async function issuePieces(vendor: SimVendor, pckCa: Authority, fields: CollateralFields, window: Window): Promise<CollateralPieces> {
  return {
    rootCaCrl: await issueAuthorityCrl(vendor.root, fields.revokedByRoot, window, fields.crlNumber),
    pckCrl: await issueAuthorityCrl(pckCa, fields.revokedByPckCa, window, fields.crlNumber),
    ...(await issueDocuments(vendor, fields, window)),
  }
}

/** Signs the two documents alone. A TDX set shares all other pieces with the SGX set of its platform. */
export async function issueDocuments(
  vendor: SimVendor,
  fields: DocumentFields,
  window: Window,
): Promise<Pick<CollateralPieces, 'tcbInfo' | 'qeIdentity'>> {
  return {
    tcbInfo: await signDocument(tcbInfoDocument(fields.tcbInfo, window), vendor.tcbSigning),
    qeIdentity: await signDocument(qeIdentityDocument(fields.qeIdentity, window), vendor.tcbSigning),
  }
}

/** Puts the pieces together with the certificate chains that judge them. */
export function assembleCollateral(vendor: SimVendor, pckCa: Authority, pieces: CollateralPieces): Collateral {
  const signingChain = chainPem(vendor.tcbSigning, vendor.root)
  return {
    pckCrlIssuerChain: chainPem(pckCa, vendor.root),
    rootCaCrl: pieces.rootCaCrl,
    pckCrl: pieces.pckCrl,
    tcbInfoIssuerChain: signingChain,
    tcbInfo: pieces.tcbInfo.text,
    tcbInfoSignature: pieces.tcbInfo.signature,
    qeIdentityIssuerChain: signingChain,
    qeIdentity: pieces.qeIdentity.text,
    qeIdentitySignature: pieces.qeIdentity.signature,
  }
}
