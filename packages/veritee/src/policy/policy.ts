import type { TcbStatus, Verified } from '../attestation/claims.ts'
import type { ReleasedCode } from './released.ts'

/** The literal that waives a check. Every waived check is listed in the verdict. */
export type Any = 'any'

export const roles = ['controller', 'worker', 'broker', 'validator'] as const
export type Role = (typeof roles)[number]

/** Which code is wanted. MRSIGNER alone would accept every program that key ever signed, so it never stands alone (rule S14). */
export type Identity =
  | { readonly mrenclave: string }
  | { readonly mrsigner: string; readonly isvProdId: number; readonly minIsvSvn: number }
  | {
      readonly mrtd: string
      readonly rtmr0: string | Any
      readonly rtmr1: string | Any
      readonly rtmr2: string | Any
      readonly rtmr3: string | Any
      readonly mrseam: string | Any
    }

/** `found & mask` must equal `value`. Lower-case hex of the field's length. */
export interface MaskedValue {
  readonly mask: string
  readonly value: string
}

export interface TdxPolicy {
  /** 8 bytes. */
  readonly attributes: MaskedValue | Any
  /** 8 bytes. */
  readonly xfam: MaskedValue | Any
  readonly septVeDisable: 'require' | Any
  /** 48 bytes each. */
  readonly mrServiceTd: readonly string[] | Any
}

export interface TcbPolicy {
  /** Never Revoked, NotSupported or Unrecognized. */
  readonly statuses: readonly TcbStatus[]
  /** Advisories that are tolerated; one that applies and is not listed is a rejection. */
  readonly advisories: readonly string[] | Any
  readonly minTcbEvaluationDataNumber: number | Any
  /** Seconds after tcbDate during which OutOfDate and OutOfDateConfigurationNeeded are accepted although not listed. 0: none. */
  readonly gracePeriod: number
}

export interface AllowDeny {
  readonly allow: readonly string[] | Any
  readonly deny: readonly string[]
}

export interface PlatformPolicy {
  /** 6 bytes each. */
  readonly fmspc: AllowDeny
  /** 16 bytes each. */
  readonly ppid: AllowDeny
  readonly dynamicPlatform: 'refuse' | Any
  readonly cachedKeys: 'refuse' | Any
  readonly smt: 'refuse' | Any
}

/** Whose statements of which product say which code is good (spec/release-statement.md), and for how long after `issued`, in seconds. */
export interface ReleasePolicy {
  readonly product: string
  /** Ed25519, 32 bytes each. */
  readonly keys: readonly string[]
  readonly threshold: number
  readonly maxReleaseAge: number
  /** The log that a statement must be in. */
  readonly log: LogDemand | Any
}

/** A transparency log with its witnesses; keys are verifier keys, which reading a policy leaves unread. */
export interface LogDemand {
  readonly origin: string
  readonly key: string
  readonly witnesses: readonly string[]
  readonly quorum: number
}

/** What a relying party wants of one role. Every field is required; spec/policy.md is normative. */
export interface EvidencePolicy {
  readonly tee: readonly ('sgx' | 'tdx')[] | Any
  readonly simulated: 'refuse' | 'allow'
  readonly physical: 'trusted-site' | Any
  readonly debug: 'refuse' | Any
  /** One of these; or `released`: whatever the statements that `release` demands name for this role. */
  readonly identity: readonly Identity[] | 'released'
  /** SGX ATTRIBUTES, 16 bytes. */
  readonly attributes: MaskedValue | Any
  readonly tdx: TdxPolicy | Any
  readonly tcb: TcbPolicy
  readonly platform: PlatformPolicy
  /** Seconds since the oldest issue date of signed collateral. */
  readonly maxCollateralAge: number | Any
  /** Seconds since the nonce was bound. */
  readonly maxAttestationAge: number | Any
  /** Model name to the SHA-256 of its weight files, in the order of the descriptor. */
  readonly models: { readonly [name: string]: readonly string[] } | Any
  readonly engine: readonly { readonly build: string; readonly cpuVariant: string | Any }[] | Any
  /**
   * An engine in another process than the worker (rule S2): never; where engine and weights lie on a measured mount; or wherever, with weights that are
   * somebody's word. Absent, as in every policy written before it existed: `refuse`. Under SGX it is always refused.
   */
  readonly externalEngine?: 'refuse' | 'measured' | Any
  /** Ed25519 public keys, 32 bytes. */
  readonly operator: readonly string[] | Any
  readonly release: ReleasePolicy | Any
  readonly log: LogDemand | Any
  /** `attested`: TLS to a key of the keyset. `loopback`: plain HTTP is accepted too, on a loopback address only. */
  readonly channel: 'attested' | 'loopback'
  /** Statements that were verified for this section; no part of a document. Without any, a section that demands `release` accepts nothing. */
  readonly released?: readonly Verified<ReleasedCode>[]
}

/** A policy document: one section for each role it speaks of. Evidence of one role never satisfies the section of another. */
export interface Policy {
  readonly version: 'veritee.policy.v1'
  readonly roles: { readonly [R in Role]?: EvidencePolicy }
}
