import type { Check, TcbStatus } from '../../attestation/index.ts'
import type { ErrorCode, ErrorKind } from '../../errors.ts'
import type { Role, VerdictTcb } from '../../policy/index.ts'
import type { EngineFacts, ModelEvent, Outcome } from '../../receipt/index.ts'

/**
 * What came of verifying one answer, on this machine. The JSON form is the value as it stands (spec/proof.md, normative): no member is optional, no member is a
 * secret, a prompt or an answer. Digests of short bodies can be guessed from: a proof is for whoever made the request.
 *
 * It is a result, not evidence: somebody else verifies the receipts and reports themselves (an evidence bundle), not this.
 */
export interface Proof {
  readonly version: 'veritee.proof.v1'
  /**
   * `verified`: exactly these bytes, whole. `verified-prefix`: exactly these bytes, of an answer that went on, or that broke off at the worker.
   * `rejected`: something is not genuine, or not wanted; do not use the answer. `unproven`: what would prove it could not be had; do not rely on it.
   */
  readonly status: ProofStatus
  /** True where any enclave that took part is simulated: then nothing here says anything about hardware. */
  readonly simulated: boolean
  /** RFC 3339, UTC: this machine's clock when it judged. */
  readonly provenAt: string
  /** Path of the request. */
  readonly endpoint: string
  /** Who was asked. It was verified before anything was sent. */
  readonly service: ProvenEnclave
  /** Who ran the model behind a controller; null where the service did it itself, and where the proof did not get that far. */
  readonly worker: ProvenEnclave | null
  /** Which weights ran; null where the proof did not get that far. */
  readonly model: ProvenModel | null
  readonly bytes: ProvenBytes
  /** What the worker signed of how its inference ended; null where it says nothing, and where the proof did not get that far. */
  readonly outcome: Outcome | null
  readonly receipts: { readonly service: ProvenReceipt | null; readonly worker: ProvenReceipt | null }
  /** The session that the receipt cites; null for a service that answers itself. */
  readonly session: string | null
  /** Every check taken, in order, with what it was of. */
  readonly checks: readonly ProvenCheck[]
  /** The checks that the policy waived, or that could not be made: exactly those of `checks` with this status. */
  readonly waived: readonly ProvenCheck[]
  /** What an accepting verdict does not hide. */
  readonly warnings: readonly string[]
  /** Null exactly for `verified` and `verified-prefix`. */
  readonly error: ProofError | null
}

export const proofStatuses = ['verified', 'verified-prefix', 'rejected', 'unproven'] as const
export type ProofStatus = (typeof proofStatuses)[number]

/** One enclave whose evidence was verified here, and accepted. */
export interface ProvenEnclave {
  readonly role: Role
  /** Scheme, host and port that was talked to; null for a worker, which is behind its controller. */
  readonly origin: string | null
  readonly keysetDigest: string
  readonly tee: 'sgx' | 'tdx'
  readonly measurement: SgxMeasurement | TdxMeasurement
  readonly debug: boolean
  readonly simulated: boolean
  readonly tcb: VerdictTcb & { readonly status: TcbStatus }
  /** Platform family, 6 bytes hex. */
  readonly fmspc: string
  /** `any`: the machine's owner could have opened it. */
  readonly physical: 'trusted-site' | 'any'
  /** Ed25519 key of the operator that the descriptor names. */
  readonly operatorKey: string | null
  readonly release: { readonly version: string; readonly commit: string | null }
  readonly engine: EngineFacts | null
  /** When the nonce that its quote binds was drawn: RFC 3339. */
  readonly attestedAt: string
  /** True where this machine drew that nonce; false where it is the controller's word. */
  readonly fresh: boolean
  /** How this machine talks to it: see `Channel` of `veritee/receipt`. A worker behind a controller is `relayed`, or `sealed` where bodies are encrypted to it. */
  readonly channel: 'attested' | 'loopback' | 'sealed' | 'relayed'
}

export interface SgxMeasurement {
  readonly mrenclave: string
  readonly mrsigner: string
  readonly isvProdId: number
  readonly isvSvn: number
}

export interface TdxMeasurement {
  readonly mrtd: string
  readonly rtmr0: string
  readonly rtmr1: string
  readonly rtmr2: string
  readonly rtmr3: string
  readonly mrseam: string
}

export interface ProvenModel {
  readonly name: string
  readonly files: ModelEvent['files']
  readonly format: ModelEvent['format']
  readonly sealed: boolean
  /** `provider_asserted`: the weights are somebody's word. */
  readonly provenance: ModelEvent['provenance']
}

export interface ProvenBytes {
  /** Digest of the request body as sent (before encryption, where it was encrypted). */
  readonly request: string
  /** Digest of the response body as received (after decryption). */
  readonly response: string
  readonly responseLength: number
  /** Whole events of a stream; null for a plain body. */
  readonly events: number | null
  /** False where the body was not read to its end. */
  readonly complete: boolean
  /** The nonce of this request, which the receipts echo. */
  readonly clientNonce: string
  /** To whose attested key the bodies were encrypted; null where TLS alone protected them. */
  readonly encryptedTo: 'controller' | 'worker' | null
}

export interface ProvenReceipt {
  readonly id: string
  /** `sha256:` over the JCS form of the whole receipt. */
  readonly digest: string
  /** RFC 3339: the clock of the enclave's host. */
  readonly servedAt: string
}

export interface ProvenCheck extends Check {
  readonly of: 'service' | 'worker' | 'answer'
}

/** Why there is no proof, and what to do. */
export interface ProofError {
  readonly code: ErrorCode
  /** Who must act: docs/reference/errors.md. */
  readonly kind: ErrorKind
  readonly message: string
  /** Both null where the message does not tell them apart. */
  readonly expected: string | null
  readonly found: string | null
  readonly next: string
}
