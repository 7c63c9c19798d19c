/**
 * Collateral in the common JSON form, as parsed (shape only; nothing is verified).
 * The signed texts are kept exactly as received: signatures are over their UTF-8 bytes.
 */
export interface Collateral {
  /** PEM, leaf to root in any order. */
  readonly pckCrlIssuerChain: string
  /** DER. */
  readonly rootCaCrl: Uint8Array
  readonly pckCrl: Uint8Array
  readonly tcbInfoIssuerChain: string
  readonly tcbInfo: string
  /** 64 bytes r || s. */
  readonly tcbInfoSignature: Uint8Array
  readonly qeIdentityIssuerChain: string
  readonly qeIdentity: string
  readonly qeIdentitySignature: Uint8Array
}
