import type { Fault, Obstacle } from './reasons.ts'

export const auditKinds = ['probe', 'organic', 'canary', 'confirmation'] as const
export type AuditKind = (typeof auditKinds)[number]

/** Who a worker is (rule S17): enclave keys come and go, this stays. */
export type WorkerId = {
  /** Ed25519, 32 bytes hex. */
  readonly operator: string
  /** The machine's name in this network, 32 bytes hex: `platformId` of `veritee/admission`. */
  readonly platform: string
  /** Which of several workers of one operator on one machine. */
  readonly slot: number
}

/** The verdict on the worker's evidence. Digests are of evidence and collateral as the validator keeps them; they hold no content. */
export type AuditedAttestation =
  | { readonly verdict: 'accepted'; readonly code: null; readonly evidence: string; readonly collateral: string }
  | { readonly verdict: 'rejected'; readonly code: string; readonly evidence: string; readonly collateral: string | null }
  | { readonly verdict: 'unavailable'; readonly code: string; readonly evidence: null; readonly collateral: null }

/**
 * The audit view of the receipt, and where it stands in the log; `log` null where it was not found there. `digest` is null exactly for organic traffic whose view
 * nobody gives out: the leaf that was chosen is known all the same.
 */
export type AuditedView = {
  readonly digest: string | null
  readonly log: { readonly origin: string; readonly index: number; readonly leaf: string } | null
}

/** What came of running the answer again. */
export type AuditedReplay = {
  /** 1: every token equal. 2: near enough by the calibration. */
  readonly level: 1 | 2
  readonly outcome: 'pass' | 'fail' | 'inconclusive'
  /** Digest of the JCS form of the engine that replayed, as in the descriptor: build and CPU variant. */
  readonly engine: string
  /** Of the calibration, at level 2. */
  readonly calibration: string | null
  /** Tokens of the answer, those chosen again, and at level 2 those that are near. */
  readonly tokens: { readonly total: number; readonly equal: number; readonly near: number | null }
}

/** Milliseconds from the request to the first byte of the answer, and to its end. */
export type Timing = { readonly first_ms: number; readonly total_ms: number }

/** The signed record of one audit, without its signature. Normative: spec/audit-record.md. */
export type UnsignedAuditRecord = {
  readonly version: 'veritee.audit.v1'
  readonly network: string
  /** Ed25519, 32 bytes hex: who signs. */
  readonly validator: string
  readonly epoch: number
  /** Of this validator in this epoch, from 0, without gaps. */
  readonly index: number
  /** When the audit ended, Unix seconds. */
  readonly at: number
  readonly kind: AuditKind
  /** null where it is not known which worker was to answer. */
  readonly worker: WorkerId | null
  readonly keyset: string | null
  readonly model: { readonly name: string; readonly weights: string } | null
  /** Operators of the controllers between, the one whose channel the validator pinned first; empty for a direct connection. */
  readonly path: readonly string[]
  readonly attestation: AuditedAttestation | null
  readonly view: AuditedView | null
  readonly replay: AuditedReplay | null
  /** `worker` is what it signed; `validator` what its own clock showed. */
  readonly timings: { readonly worker: Timing | null; readonly validator: Timing } | null
  readonly output_tokens: number
  /** Digest of the commitment that the opening of a canary opens. */
  readonly canary: string | null
  readonly verdict: 'pass' | 'fail' | 'inconclusive' | 'unattributable'
  readonly reason: Fault | Obstacle | null
  /** Against whom this record alone counts (rules S5 and S19); scoring may move it from controllers to a worker that fails on two paths. */
  readonly charged: 'worker' | 'controller' | null
}

/** As it is written and published. */
export type AuditRecord = UnsignedAuditRecord & { readonly signature: string }

export const auditVersion = 'veritee.audit.v1'
export const maxAuditRecordLength: number = 8192
export const maxRecordsPerEpoch: number = 1_000_000
/** Tokens that a record tells of one answer. */
export const maxRecordTokens: number = 1 << 24
