import { createHash } from 'node:crypto'
import type { Trust } from 'veritee/attestation'
import { fromHex, type Json, jcsDigest, utf8 } from 'veritee/bytes'
import { VeriteeError } from 'veritee/errors'
import { auditViewOf } from 'veritee/log'
import { eventOf, type ModelEvent, parseReceipt, parseReport, type Receipt, type VerifiedReport, verifyReceipt, verifyReport } from 'veritee/receipt'
import { type AuditRecord, type Fault, faults, type Obstacle, verifyAuditRecord } from 'veritee/scoring'
import type { ExchangeRecord, ReplayReport } from '../../replay/index.ts'
import type { AuditEvidence } from './audit.ts'
import { replayReasonOf } from './reasons.ts'
import { signedFault } from './seen.ts'

/** What an audit that was made again comes to, beside what its record says. */
export interface Appeal {
  /** `same`: as the record says. `different`: otherwise, or the evidence is not that of the record. `undecided`: what is kept cannot show it. */
  readonly outcome: 'same' | 'different' | 'undecided'
  readonly recorded: Pick<AuditRecord, 'epoch' | 'index' | 'verdict' | 'reason' | 'charged'>
  /** The reason that was found now, null for a pass; where nothing was judged, undefined. */
  readonly found?: Fault | Obstacle | null
  /** Why, in words; no text of a prompt or an answer. */
  readonly why: string
  readonly replay: ReplayReport | null
}

export interface AppealOptions {
  /** The signed record, one line. */
  readonly record: string
  /** What it rests on, as the store keeps it ({@link AuditEvidence}). */
  readonly evidence: string
  readonly trust: Trust
  /** Runs an answer again; null where there are no weights for it. */
  readonly replay: (record: ExchangeRecord, model: ModelEvent) => Promise<ReplayReport | null>
}

/**
 * Makes an audit again from what was kept of it: the record's signature, the worker's evidence (as of the time of the record), that the evidence is the one the
 * record names, the worker's receipt and what it shows by itself, and the replay. It does not show what nobody can see again: timeouts, refusals, what a
 * controller delivered, and whether the record was committed to in time. Throws what `verifyAuditRecord` throws.
 */
export async function appealAudit({ record: text, evidence: kept, trust, replay }: AppealOptions): Promise<Appeal> {
  const record = await verifyAuditRecord(text)
  const { epoch, index, verdict, reason, charged } = record
  const recorded = { epoch, index, verdict, reason, charged }
  const end = (outcome: Appeal['outcome'], why: string): Appeal => ({ outcome, recorded, why, replay: null })
  const evidence = JSON.parse(kept) as AuditEvidence
  if (evidence.report === null || evidence.workerReceipt === null) return end('undecided', 'nothing that the worker signed was kept')
  let shown: { readonly report: VerifiedReport; readonly receipt: Receipt }
  try {
    shown = await signedBy(evidence.report, evidence.workerReceipt, trust, new Date(record.at * 1000))
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    return end('undecided', `what the worker signed does not verify here: ${error.code}`)
  }
  const foreign = await foreignTo(record, evidence, shown)
  if (foreign !== null) return end('different', foreign)
  const { report, receipt } = shown
  const request = utf8(evidence.request)
  const signed = await signedFault({ receipt, worker: { report }, request })
  if (signed !== null) return judged(recorded, signed, null, evidence)
  const model = eventOf(receipt, 'veritee.model')
  const exchange: ExchangeRecord = {
    receipt: evidence.workerReceipt,
    request,
    response: utf8(evidence.response),
    receiptKey: evidence.receiptKey === null ? null : fromHex(evidence.receiptKey),
    signer: { keyset: report.keyset, keysetDigest: report.keysetDigest },
  }
  const replayed = model === undefined ? null : await replay(exchange, model)
  if (replayed === null) return end('undecided', 'there are no weights here with which the answer could be run again')
  return judged(recorded, replayReasonOf(replayed), replayed, evidence)
}

async function signedBy(report: string, receipt: string, trust: Trust, at: Date): Promise<{ report: VerifiedReport; receipt: Receipt }> {
  const verified = await verifyReport(parseReport(report), 'stated', trust, at)
  const nothing = { requestHash: null, responseHash: null, clientNonce: null }
  return { report: verified, receipt: await verifyReceipt(parseReceipt(receipt), verified.keyset, verified.keysetDigest, nothing) }
}

/** Why documents that verify are not those of a record; null where they are. */
async function foreignTo(
  record: AuditRecord,
  { report: text, receiptKey }: AuditEvidence,
  { report, receipt }: { readonly report: VerifiedReport; readonly receipt: Receipt },
): Promise<string | null> {
  if (report.keysetDigest !== record.keyset) return 'the evidence is of another keyset than the record names'
  const digest = `sha256:${createHash('sha256')
    .update(text ?? '')
    .digest('hex')}`
  if (digest !== record.attestation?.evidence) return 'the report is another one than the record names'
  const view = await auditViewOf(receipt, receiptKey === null ? null : fromHex(receiptKey)).catch(() => null)
  const found = view === null ? null : await jcsDigest(view as unknown as Json)
  return found === (record.view?.digest ?? null) ? null : 'the receipt is another one than the record names'
}

/** Faults that follow from what was kept; others were seen once, by whoever was there. */
const repeatable: ReadonlySet<string> = new Set([
  'model_mismatch',
  'replay_mismatch',
  'parameters_mismatch',
  'outcome_mismatch',
  'request_mismatch',
  'response_mismatch',
] satisfies Fault[])

function judged(recorded: Appeal['recorded'], found: Fault | Obstacle | null, replay: ReplayReport | null, { response }: AuditEvidence): Appeal {
  const told = (outcome: Appeal['outcome'], why: string): Appeal => ({ outcome, recorded, found, why, replay })
  if (found === recorded.reason) return told('same', found === null ? 'it passes again' : `it shows ${found} again`)
  // The answer is kept as text: bytes that were none are lost, and its digest with them.
  if (found === 'response_mismatch' && response.includes('\ufffd')) return told('undecided', 'the bytes of the answer were not kept')
  if (found !== null && !Object.hasOwn(faults, found)) return told('undecided', `it cannot be run again here: ${found}`)
  if (recorded.verdict !== 'pass' && recorded.verdict !== 'inconclusive' && !repeatable.has(recorded.reason ?? ''))
    return told('undecided', `nothing that was kept shows ${recorded.reason} or its absence`)
  return told('different', `the record says ${recorded.reason ?? 'pass'}, found ${found ?? 'pass'}`)
}
