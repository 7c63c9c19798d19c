import type { Json } from '../../bytes/jcs.ts'

export const scoringPolicyVersion = 'veritee.scoring-policy.v1'
export const maxScoringPolicyLength: number = 1 << 20

export interface PolicyValidator {
  /** Ed25519, 32 bytes hex. */
  readonly key: string
  /** null where it runs nothing that is scored. */
  readonly operator: string | null
  readonly weight: bigint
}

export interface PolicyModel {
  /** Digest of the JCS form of its files in the descriptor. */
  readonly weights: string
  /** Milliseconds to the first byte that give full marks. */
  readonly firstMs: bigint
  /** Fine number. */
  readonly tokensPerSecond: bigint
  readonly level2: { readonly calibration: string; readonly p0: bigint; readonly p0Upper: bigint } | null
}

/** The member `log`, with keys as verifier keys; judged by `veritee/log`. */
export interface PolicyLog {
  readonly origin: string
  readonly key: string
  readonly witnesses: readonly string[]
  readonly quorum: number
}

/** All parameters of scoring: there are no others, and no defaults. Decimals are fine numbers. Normative: spec/scoring.md, "Policy". */
export interface ScoringPolicy {
  readonly network: string
  readonly policyVersion: number
  /** Unix seconds. */
  readonly issued: number
  readonly expires: number
  readonly epoch: { readonly genesis: number; readonly length: number }
  readonly validators: readonly PolicyValidator[]
  readonly models: readonly PolicyModel[]
  readonly log: PolicyLog | 'any'
  /** Read by whoever verifies rounds; spec/epoch.md. */
  readonly beacon: { readonly [name: string]: Json }
  readonly organic: { readonly probability: bigint }
  /** Seconds. */
  readonly halfLife: number
  readonly z: bigint
  readonly exponents: { readonly quality: number; readonly availability: number; readonly work: bigint }
  readonly speedShare: bigint
  readonly ema: { readonly up: bigint; readonly down: bigint }
  readonly sprt: { readonly p1: bigint; readonly alpha: bigint; readonly beta: bigint; readonly maxP0Upper: bigint; readonly voteEpochs: number }
  readonly confirmations: number
  readonly ban: { readonly maxExponent: number }
  readonly cap: bigint
  readonly maxInconclusive: bigint
  /** Seconds. */
  readonly repeatWindow: number
  readonly minPathRecords: number
  readonly clip: bigint
}

/** A policy as it is written; nobody has verified its signatures. */
export interface SignedScoringPolicy {
  readonly policy: ScoringPolicy
  readonly signatures: readonly { readonly key: string; readonly signature: string }[]
  /** Over the JCS form without signatures. */
  readonly digest: string
  readonly document: { readonly [name: string]: Json }
}

/** First second of an epoch, and the first after it. */
export function epochWindow({ epoch }: Pick<ScoringPolicy, 'epoch'>, number: number): { readonly opens: number; readonly closes: number } {
  const opens = epoch.genesis + number * epoch.length
  return { opens, closes: opens + epoch.length }
}
