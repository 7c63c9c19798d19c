import { createHash } from 'node:crypto'
import { type Json, jcs, jcsDigest } from 'veritee/bytes'
import { eventOf, type ModelEvent, parseReceipt } from 'veritee/receipt'
import {
  auditVersion,
  type ConfirmationRequest,
  epochWindow,
  faults,
  parseConfirmationRequest,
  type ScoringPolicy,
  type UnsignedAuditRecord,
} from 'veritee/scoring'
import type { ExchangeRecord, ReplayReport } from '../../replay/index.ts'
import { type Audited, auditedReplay, toldTokens } from '../audit/audit.ts'
import { ofOthers } from '../audit/exchange.ts'
import { replayReasonOf } from '../audit/reasons.ts'
import { confirmedUntil } from './accept.ts'
import { type HandedOverContext, verifyHandedOver } from './handed-over.ts'

export interface ConfirmContext extends HandedOverContext {
  readonly policy: ScoringPolicy
  /** Of this validator, 32 bytes hex. */
  readonly validator: string
  readonly now: () => Date
  /** Runs an answer again by no calibration; null where this validator has no weights for it. */
  readonly replay: (record: ExchangeRecord, model: ModelEvent) => Promise<ReplayReport | null>
}

/**
 * Runs an answer again that another validator handed over, and says in a record of this validator's own what came of it (spec/confirmation.md, "Confirming"): the same mismatch or another, none, or nothing.
 * The request was verified when it was kept, and is again: what no longer verifies, since another manifest came into force, is not run, nor is any from the time on when records have to be complete.
 */
export async function confirmAnswer(context: ConfirmContext, index: number, text: string): Promise<Audited> {
  const { policy, now, replay } = context
  const request = parseConfirmationRequest(text)
  const handed = await verifyHandedOver(request, context).catch(ofOthers)
  if (handed === null) return unconfirmed(context, index, text)
  const late = now().getTime() / 1000 >= confirmedUntil(policy, request.epoch)
  const report = late ? null : await replay(handed.exchange, handed.model)
  const found = report === null ? null : await auditedReplay({ report, calibration: null }, handed.receipt)
  const record: UnsignedAuditRecord = {
    ...(await headOf(context, index, request, handed.weights)),
    attestation: { verdict: 'accepted', code: null, ...evidenceDigests(request.exchange.report) },
    replay: found?.level === 1 ? found : null,
    ...verdictOf(report, found?.level === 1),
  }
  return { record, evidence: kept(request.exchange, report) }
}

/** The record of a request of which nothing came. */
export async function unconfirmed(context: ConfirmContext, index: number, text: string): Promise<Audited> {
  const request = parseConfirmationRequest(text)
  const record: UnsignedAuditRecord = {
    ...(await headOf(context, index, request, null)),
    attestation: null,
    replay: null,
    ...nothing('not_confirmable'),
  }
  return { record, evidence: kept(request.exchange, null) }
}

async function headOf(
  { policy, validator, now }: ConfirmContext,
  index: number,
  { epoch, worker, keyset, view, exchange }: ConfirmationRequest,
  weights: string | null,
): Promise<Omit<UnsignedAuditRecord, 'attestation' | 'replay' | 'verdict' | 'reason' | 'charged'>> {
  const receipt = parseReceipt(exchange.receipt)
  const model = eventOf(receipt, 'veritee.model')
  if (model === undefined) throw new TypeError('confirmAnswer: expected a request that was verified when it was kept')
  return {
    version: auditVersion,
    network: policy.network,
    validator,
    epoch,
    index,
    at: Math.min(epochWindow(policy, epoch).closes - 1, Math.floor(now().getTime() / 1000)),
    kind: 'confirmation',
    worker,
    keyset,
    model: { name: model.name, weights: weights ?? (await jcsDigest(model.files as unknown as Json)) },
    path: [],
    view: { digest: view, log: null },
    timings: null,
    output_tokens: toldTokens(eventOf(receipt, 'veritee.inference')?.completion_tokens),
    canary: null,
  }
}

const nothing = (why: UnsignedAuditRecord['reason']) => ({ verdict: 'inconclusive', reason: why, charged: null }) as const

/** What of a replay counts here: the tokens at level 1. Another fault is what whoever asked did not ask about, and may have made. */
function verdictOf(report: ReplayReport | null, level1: boolean): Pick<UnsignedAuditRecord, 'verdict' | 'reason' | 'charged'> {
  const reason = report === null ? 'replay_unavailable' : replayReasonOf(report)
  if (reason !== null && reason !== 'replay_mismatch') return nothing(Object.hasOwn(faults, reason) ? 'not_confirmable' : reason)
  if (!level1) return nothing('engine_not_replayable')
  return reason === null ? { verdict: 'pass', reason, charged: null } : { verdict: 'fail', reason, charged: 'worker' }
}

function evidenceDigests(report: string): { readonly evidence: string; readonly collateral: string } {
  const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`
  const { attestation } = JSON.parse(report) as { readonly attestation: { readonly evidence: { readonly collateral: Json } } }
  return { evidence: sha256(report), collateral: sha256(jcs(attestation.evidence.collateral)) }
}

function kept(
  { request, response, report, receipt, receipt_key }: ConfirmationRequest['exchange'],
  replay: ReplayReport | null,
): Audited['evidence'] {
  return { request, response, contentType: '', report, workerReceipt: receipt, receiptKey: receipt_key, replay }
}
