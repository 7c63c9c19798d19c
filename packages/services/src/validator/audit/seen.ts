import type { Trust } from 'veritee/attestation'
import { type Json, sha256Digest } from 'veritee/bytes'
import { type AuditView, auditViewOf } from 'veritee/log'
import {
  eventOf,
  parseReceipt,
  parseReport,
  parseSession,
  type Receipt,
  requestLimits,
  spliceConstraints,
  upstreamOf,
  type VerifiedReport,
  verifyReceipt,
  verifyReport,
} from 'veritee/receipt'
import type { Fault } from 'veritee/scoring'
import type { NamedReports } from '../named-reports.ts'
import { type Exchanged, ofOthers } from './exchange.ts'

/** What came of an exchange and is believed: what is signed, by whom evidence that verifies here says. */
export interface Seen extends Pick<Exchanged, 'request' | 'answer'> {
  readonly worker: { readonly report: VerifiedReport; readonly text: string } | null
  /** Whose worker it is: who signed for its keyset, in this report or in one that was seen before; null where nobody did. */
  readonly operator: string | null
  /** The worker's receipt, where it is signed by the keyset of that report. */
  readonly receipt: Receipt | null
  readonly receiptKey: Uint8Array | null
  readonly view: AuditView | null
}

/** The worker is known from evidence that verifies here, its receipt by its signature; none of that is judged under a policy, which was done before. */
export async function look(
  { request, answer, seen, service }: Exchanged,
  operators: readonly string[],
  { trust, now, named }: { readonly trust: Trust; readonly now: () => Date; readonly named: NamedReports | null },
): Promise<Seen> {
  const direct = operators.length === 0
  const { receiptKey } = seen
  // Asked directly, or sealed to: over a nonce of this machine. Else as the session of its controller has it.
  const fresh = direct ? service : seen.worker
  const worker = fresh === null ? await ofSession(seen.session, seen.receipt, trust, now()) : await overNonce(fresh, trust, now())
  const receiptText = direct ? seen.receipt : seen.workerReceipt
  const receipt = worker === null || receiptText === null ? null : await genuine(receiptText, worker.report)
  const view = receipt === null ? null : await auditViewOf(receipt, receiptKey).catch(ofOthers)
  if (worker !== null) await named?.note(worker.report, worker.text)
  const operator = worker === null ? null : (worker.report.operator ?? (await named?.operatorOf(worker.report.keysetDigest, trust, now())) ?? null)
  return { request, answer, worker, operator, receipt, receiptKey, view }
}

async function overNonce({ report, nonce }: { readonly report: string; readonly nonce: string }, trust: Trust, at: Date): Promise<Seen['worker']> {
  try {
    return { report: await verifyReport(parseReport(report), nonce, trust, at), text: report }
  } catch (error) {
    return ofOthers(error)
  }
}

async function ofSession(session: string | null, receipt: string | null, trust: Trust, at: Date): Promise<Seen['worker']> {
  if (session === null || receipt === null) return null
  try {
    const upstream = upstreamOf(parseReceipt(receipt))
    if (upstream?.result !== 'verified') return null
    const { document, report } = await parseSession(session, upstream.session_id)
    const verified = await verifyReport(report, 'stated', trust, at)
    const { data } = document.evidence
    const evidence = JSON.parse(Buffer.from(data.slice(data.indexOf(',') + 1), 'base64').toString('utf8')) as { readonly report: Json }
    return { report: verified, text: JSON.stringify(evidence.report) }
  } catch (error) {
    return ofOthers(error)
  }
}

async function genuine(text: string, report: VerifiedReport): Promise<Receipt | null> {
  const nothing = { requestHash: null, responseHash: null, clientNonce: null }
  try {
    return await verifyReceipt(parseReceipt(text), report.keyset, report.keysetDigest, nothing)
  } catch (error) {
    return ofOthers(error)
  }
}

/** A fault that the worker's receipt for this very request shows by itself, whatever became of the answer on its way. */
export async function signedFault({
  receipt,
  worker,
  request,
}: {
  readonly receipt: Receipt | null
  readonly worker: { readonly report: VerifiedReport } | null
  readonly request: Uint8Array
}): Promise<Fault | null> {
  if (receipt === null || worker === null) return null
  const { forwarded, value } = spliceConstraints(request, requestLimits)
  const sent = await sha256Digest(forwarded)
  const model = eventOf(receipt, 'veritee.model')
  if (model === undefined || eventOf(receipt, 'request.received')?.body_hash !== sent) return null
  // Another model that it announces is none that was asked for.
  if ((value as { readonly model?: unknown }).model !== model.name) return 'model_mismatch'
  const weights = (files: readonly { readonly sha256: string }[]): string => files.map(({ sha256: digest }) => digest).join()
  return worker.report.descriptor.models.some(({ name, files }) => name === model.name && weights(files) === weights(model.files))
    ? null
    : 'model_mismatch'
}
