import { type AuditRecord, auditRecordFromJson, auditVersion, type WorkerId } from 'veritee/scoring'
import type { Seen } from './strategies.ts'

/** 32 bytes hex: a name for the n-th of a kind. */
export function name(kind: number, n: number): string {
  return kind.toString(16).padStart(2, '0') + n.toString(16).padStart(62, '0')
}

export const digest = (kind: number, n: number): string => `sha256:${name(kind, n)}`

export const network = 'fleet'
export const logOrigin = 'fleet/log'
export const weightsOf = (level: 1 | 2): string => digest(0xd0, level)
export const calibration: string = digest(0xe1, 0)
const engine = digest(0xe2, 0)
/** Signatures are not looked at here: packages/veritee/test/scoring verifies them, and scoring never sees them. */
const unsigned = '00'.repeat(64)

export interface Audited {
  readonly validator: string
  readonly epoch: number
  readonly index: number
  readonly at: number
  readonly worker: WorkerId
  readonly keyset: string
  readonly level: 1 | 2
  /** Operator of the controller between. */
  readonly controller: string
  /** Of the audit, among all: names its receipt. */
  readonly receipt: number
  readonly tokens: number
  readonly firstMs: number
  /** Milliseconds of a token. */
  readonly tokenMs: number
}

/** The record of a probe that found `seen`: built as a document and read by the reader of the format, which refuses what contradicts itself. */
export function recordOf(audited: Audited, seen: Exclude<Seen, { is: 'nothing' }>): AuditRecord {
  const fault = seen.is === 'mismatch' ? 'replay_mismatch' : seen.is === 'pass' ? null : seen.reason
  const passed = seen.is === 'pass'
  const slower = passed ? (seen.slower ?? 1) : 1
  const tokens = passed ? audited.tokens * (seen.tokens ?? 1) : audited.tokens
  const first = Math.round(audited.firstMs * slower)
  const total = first + Math.round(tokens * audited.tokenMs * slower)
  const rejected = fault === 'attestation_rejected'
  const shown = seen.is === 'unattributable' ? null : view(audited)
  return auditRecordFromJson({
    ...common(audited, 'probe', shown),
    path: [audited.controller],
    attestation: rejected
      ? { verdict: 'rejected', code: 'policy_tcb_status', evidence: digest(0xe3, 0), collateral: digest(0xe4, 0) }
      : { verdict: 'accepted', code: null, evidence: digest(0xe3, 0), collateral: digest(0xe4, 0) },
    replay: passed || seen.is === 'mismatch' ? replay(audited.level, tokens, passed) : null,
    timings: {
      worker: passed ? { first_ms: seen.signedFirstMs ?? first, total_ms: total } : null,
      validator: { first_ms: first, total_ms: total },
    },
    output_tokens: tokens,
    verdict: seen.is === 'mismatch' ? 'fail' : seen.is,
    reason: fault,
    charged: seen.is === 'mismatch' || seen.is === 'fail' ? 'worker' : seen.is === 'unattributable' ? 'controller' : null,
  })
}

/** What another validator finds who replays the same answer at level 1. */
export function confirmationOf(audited: Audited, same: boolean): AuditRecord {
  return auditRecordFromJson({
    ...common(audited, 'confirmation', view(audited)),
    path: [],
    attestation: { verdict: 'accepted', code: null, evidence: digest(0xe3, 0), collateral: digest(0xe4, 0) },
    replay: replay(1, audited.tokens, same),
    timings: null,
    output_tokens: audited.tokens,
    verdict: same ? 'pass' : 'fail',
    reason: same ? null : 'replay_mismatch',
    charged: same ? null : 'worker',
  })
}

/** The audit view of an organic receipt, chosen by a seed: it stands in the log, and nothing is replayed. */
export function organicOf(audited: Audited): AuditRecord {
  return auditRecordFromJson({
    ...common(audited, 'organic', view(audited)),
    path: [],
    attestation: { verdict: 'accepted', code: null, evidence: digest(0xe3, 0), collateral: digest(0xe4, 0) },
    replay: null,
    timings: null,
    output_tokens: audited.tokens,
    verdict: 'pass',
    reason: null,
    charged: null,
  })
}

function common({ validator, epoch, index, at, worker, keyset, level }: Audited, kind: AuditRecord['kind'], shown: AuditRecord['view']): object {
  return {
    version: auditVersion,
    network,
    validator,
    epoch,
    index,
    at,
    kind,
    worker,
    keyset,
    model: { name: `model at level ${level}`, weights: weightsOf(level) },
    view: shown,
    canary: null,
    signature: unsigned,
  }
}

function view({ receipt }: Audited): NonNullable<AuditRecord['view']> {
  return { digest: digest(0xe5, receipt), log: { origin: logOrigin, index: receipt, leaf: name(0xe6, receipt) } }
}

function replay(level: 1 | 2, total: number, passed: boolean): AuditRecord['replay'] {
  return {
    level,
    outcome: passed ? 'pass' : 'fail',
    engine,
    calibration: level === 2 ? calibration : null,
    tokens: { total, equal: passed ? total : total >> 1, near: level === 2 ? (passed ? total : total >> 1) : null },
  }
}
