import type { Collateral } from '../collateral.ts'
import { type Authority, issueAuthorityCrl, type Window } from './authority.ts'
import { qeIdentityDocument, type SimQeLevel, type SimTcbLevel, tcbInfoDocument } from './documents.ts'
import { chainPem, type SignedDocument, type SimVendor, signDocument } from './vendor.ts'

/** What the simulated vendor says about one kind of platform. */
export interface CollateralFields {
  readonly fmspc: string
  readonly pceId: string
  readonly evaluationDataNumber: number
  readonly tcbLevels: readonly SimTcbLevel[]
  readonly qeMrsigner: string
  readonly qeIsvProdId: number
  readonly qeLevels: readonly SimQeLevel[]
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
  const { fmspc, pceId, evaluationDataNumber } = fields
  const tcbInfo = tcbInfoDocument({ fmspc, pceId, evaluationDataNumber, levels: fields.tcbLevels }, window)
  const qeIdentity = qeIdentityDocument(
    { mrsigner: fields.qeMrsigner, isvProdId: fields.qeIsvProdId, evaluationDataNumber, levels: fields.qeLevels },
    window,
  )
  return {
    rootCaCrl: await issueAuthorityCrl(vendor.root, fields.revokedByRoot, window, fields.crlNumber),
    pckCrl: await issueAuthorityCrl(pckCa, fields.revokedByPckCa, window, fields.crlNumber),
    tcbInfo: await signDocument(tcbInfo, vendor.tcbSigning),
    qeIdentity: await signDocument(qeIdentity, vendor.tcbSigning),
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
