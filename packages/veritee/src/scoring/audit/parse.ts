import { networkName } from '../../admission/manifest.ts'
import { type Json, jcs } from '../../bytes/jcs.ts'
import { parseCanonical, parseDocument } from '../../bytes/json.ts'
import { Shape } from '../../bytes/shape.ts'
import { type Fault, faultNames, type Obstacle, obstacles } from './reasons.ts'
import {
  type AuditedAttestation,
  type AuditedReplay,
  type AuditedView,
  type AuditRecord,
  auditKinds,
  auditVersion,
  maxAuditRecordLength,
  maxRecordsPerEpoch,
  maxRecordTokens,
  type Timing,
  type WorkerId,
} from './record.ts'
import { checkSense } from './sense.ts'

const shape = new Shape('audit_record_malformed')
const members = [
  'version',
  'network',
  'validator',
  'epoch',
  'index',
  'at',
  'kind',
  'worker',
  'keyset',
  'model',
  'path',
  'attestation',
  'view',
  'replay',
  'timings',
  'output_tokens',
  'canary',
  'verdict',
  'reason',
  'charged',
  'signature',
] as const
const reasons: readonly (Fault | Obstacle)[] = [...faultNames, ...obstacles]
/** A day: whatever takes longer was cut off before. */
const maxMilliseconds = 86_400_000
export const maxEpoch: number = 2 ** 32 - 1

/**
 * Reads an audit record (spec/audit-record.md): strict JSON in its JCS form, closed, bounded, and in agreement with itself (a pass has evidence, a fault has
 * somebody who is charged with it). The signature is not verified: see `verifyAuditRecord`. Throws `audit_record_malformed`.
 */
export function parseAuditRecord(text: string): AuditRecord {
  const limits = { maxLength: maxAuditRecordLength, maxDepth: 5, integersOnly: true } as const
  const canonical = parseCanonical(text, limits)
  if (canonical !== undefined) return auditRecordFromJson(canonical)
  const value = parseDocument(text, limits, 'audit_record_malformed', 'the audit record')
  const record = auditRecordFromJson(value)
  // One record has one text, so that changing a byte of it is always changing the record.
  if (jcs(value as Json) !== text) throw shape.refuse('record', 'its canonical form (JCS)')
  return record
}

/** {@link parseAuditRecord} of a value that was parsed already; its text is not looked at. */
export function auditRecordFromJson(value: unknown): AuditRecord {
  const o = shape.object(value, 'record', members)
  const kind = shape.oneOf(o.kind, 'kind', auditKinds)
  const record: AuditRecord = {
    version: shape.oneOf(o.version, 'version', [auditVersion]),
    network: networkName(o.network, 'network', shape),
    validator: shape.hex(o.validator, 'validator', 32),
    epoch: shape.integer(o.epoch, 'epoch', maxEpoch),
    index: shape.integer(o.index, 'index', maxRecordsPerEpoch - 1),
    at: shape.integer(o.at, 'at'),
    kind,
    worker: o.worker === null ? null : workerIdFromJson(o.worker, 'worker', shape),
    keyset: o.keyset === null ? null : shape.digest(o.keyset, 'keyset'),
    model: o.model === null ? null : model(o.model),
    path: shape.array(o.path, 'path', 4).map((operator, i) => shape.hex(operator, `path[${i}]`, 32)),
    attestation: o.attestation === null ? null : attestation(o.attestation),
    view: o.view === null ? null : view(o.view),
    replay: o.replay === null ? null : replay(o.replay),
    timings: o.timings === null ? null : timings(o.timings),
    output_tokens: shape.integer(o.output_tokens, 'output_tokens', maxRecordTokens),
    canary: o.canary === null ? null : shape.digest(o.canary, 'canary'),
    verdict: shape.oneOf(o.verdict, 'verdict', ['pass', 'fail', 'inconclusive', 'unattributable']),
    reason: o.reason === null ? null : shape.oneOf(o.reason, 'reason', reasons),
    charged: o.charged === null ? null : shape.oneOf(o.charged, 'charged', ['worker', 'controller']),
    signature: shape.hex(o.signature, 'signature', 64),
  }
  checkSense(record, shape)
  return record
}

/** Reads `{"operator", "platform", "slot"}`. */
export function workerIdFromJson(value: unknown, at: string, by: Shape): WorkerId {
  const o = by.object(value, at, ['operator', 'platform', 'slot'])
  return {
    operator: by.hex(o.operator, `${at}.operator`, 32),
    platform: by.hex(o.platform, `${at}.platform`, 32),
    slot: by.integer(o.slot, `${at}.slot`, 65_535),
  }
}

function model(value: unknown): { readonly name: string; readonly weights: string } {
  const o = shape.object(value, 'model', ['name', 'weights'])
  return { name: shape.string(o.name, 'model.name', 256), weights: shape.digest(o.weights, 'model.weights') }
}

function attestation(value: unknown): AuditedAttestation {
  const o = shape.object(value, 'attestation', ['verdict', 'code', 'evidence', 'collateral'])
  const verdict = shape.oneOf(o.verdict, 'attestation.verdict', ['accepted', 'rejected', 'unavailable'])
  const digest = (name: 'evidence' | 'collateral'): string => shape.digest(o[name], `attestation.${name}`)
  const code = (): string => {
    const found = shape.string(o.code, 'attestation.code', 64)
    if (!/^[a-z][a-z0-9_]*$/.test(found)) throw shape.refuse('attestation.code', 'an error code')
    return found
  }
  const absent = (name: 'code' | 'evidence' | 'collateral'): null => {
    if (o[name] !== null) throw shape.refuse(`attestation.${name}`, `null where the verdict is ${verdict}`)
    return null
  }
  if (verdict === 'accepted') return { verdict, code: absent('code'), evidence: digest('evidence'), collateral: digest('collateral') }
  if (verdict === 'unavailable') return { verdict, code: code(), evidence: absent('evidence'), collateral: absent('collateral') }
  return { verdict, code: code(), evidence: digest('evidence'), collateral: o.collateral === null ? null : digest('collateral') }
}

function view(value: unknown): AuditedView {
  const o = shape.object(value, 'view', ['digest', 'log'])
  const digest = o.digest === null ? null : shape.digest(o.digest, 'view.digest')
  if (o.log === null) return { digest, log: null }
  const log = shape.object(o.log, 'view.log', ['origin', 'index', 'leaf'])
  return {
    digest,
    log: {
      origin: shape.string(log.origin, 'view.log.origin', 256),
      index: shape.integer(log.index, 'view.log.index'),
      leaf: shape.hex(log.leaf, 'view.log.leaf', 32),
    },
  }
}

function replay(value: unknown): AuditedReplay {
  const o = shape.object(value, 'replay', ['level', 'outcome', 'engine', 'calibration', 'tokens'])
  if (o.level !== 1 && o.level !== 2) throw shape.refuse('replay.level', '1 or 2')
  const t = shape.object(o.tokens, 'replay.tokens', ['total', 'equal', 'near'])
  const total = shape.integer(t.total, 'replay.tokens.total', maxRecordTokens)
  return {
    level: o.level,
    outcome: shape.oneOf(o.outcome, 'replay.outcome', ['pass', 'fail', 'inconclusive']),
    engine: shape.digest(o.engine, 'replay.engine'),
    calibration: o.calibration === null ? null : shape.digest(o.calibration, 'replay.calibration'),
    tokens: {
      total,
      equal: shape.integer(t.equal, 'replay.tokens.equal', total),
      near: t.near === null ? null : shape.integer(t.near, 'replay.tokens.near', total),
    },
  }
}

function timings(value: unknown): { readonly worker: Timing | null; readonly validator: Timing } {
  const o = shape.object(value, 'timings', ['worker', 'validator'])
  return { worker: o.worker === null ? null : timing(o.worker, 'timings.worker'), validator: timing(o.validator, 'timings.validator') }
}

function timing(value: unknown, at: string): Timing {
  const o = shape.object(value, at, ['first_ms', 'total_ms'])
  const total = shape.integer(o.total_ms, `${at}.total_ms`, maxMilliseconds)
  return { first_ms: shape.integer(o.first_ms, `${at}.first_ms`, total), total_ms: total }
}
