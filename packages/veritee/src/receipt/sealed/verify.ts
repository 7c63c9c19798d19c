import type { Check } from '../../attestation/claims.ts'
import { sha256Digest } from '../../bytes/digest.ts'
import { fail } from '../../errors.ts'
import type { EvidencePolicy } from '../../policy/policy.ts'
import { passed } from '../../policy/verdict.ts'
import { checkSessionBinding, citedSession } from '../cited-session.ts'
import { evaluateReport, type ReportContext } from '../evaluate-report.ts'
import { checkModel, checkStream, type Exchange, inferenceOutcomeOf, outcomeOf, readRequest, type VerifiedExchange } from '../exchange.ts'
import { checkPromise } from '../promise.ts'
import { eventOf, parseReceipt, type Receipt, receiptDigest, upstreamOf, verifyReceipt } from '../receipt.ts'
import type { VerifiedReport } from '../report.ts'
import type { Session } from '../session.ts'
import { checkTransport, type SealedTransport } from './transport.ts'

/** What the requester holds of one exchange that the controller could not read. */
export interface SealedExchange extends Exchange {
  readonly transport: SealedTransport
  /** The session that the request named. */
  readonly sessionId: string
  /** The path that was sealed with the body. */
  readonly path: string
  /** Digests of the encrypted bodies as they went over the wire, framing included. */
  readonly wire: { readonly requestHash: string; readonly responseHash: string }
}

export interface SealedRecords {
  /** The controller's. */
  readonly receipt: string
  readonly session: { readonly text: string }
  readonly workerReceipt: string
  /** Null for a complete exchange. */
  readonly workerPrefixProof: string | null
}

/** The worker as the requester verified it before it sealed, over a nonce of its own. */
export interface SealedWorker {
  readonly report: VerifiedReport
  readonly policy: EvidencePolicy
  readonly attestedAt: Date
}

/**
 * Verifies one answer of a worker to which the body was sealed (rule S4, spec/ehbp-binding.md), given the controller verified before.
 *
 * In order: the controller's receipt over the encrypted bytes, with the nonce echoed, naming the session and the encapsulated key, and nothing of the content;
 * the session it cites is the one that was named, and its evidence binds the worker's keyset; the worker's report under the policy; the worker's receipt is the one
 * that the controller cites, over the restored body and the opened answer, of this exchange and path; the weights that ran are those the quote binds and the policy lists.
 *
 * Each receipt promises the log that the section of its role names; that of the controller is `controllerSection`, without which nothing is demanded of its receipt.
 *
 * Does not fetch anything, and does not verify the controller itself. Throws every `receipt_*` code, `session_mismatch`, `policy_*`, `log_promise_missing`.
 */
export async function verifySealedExchange(
  exchange: SealedExchange,
  records: SealedRecords,
  controller: VerifiedReport,
  worker: SealedWorker,
  at: Date,
  controllerSection?: Pick<EvidencePolicy, 'log'>,
): Promise<VerifiedExchange> {
  const receipt = await verifyReceipt(parseReceipt(records.receipt), controller.keyset, controller.keysetDigest, {
    requestHash: exchange.wire.requestHash,
    responseHash: exchange.complete ? exchange.wire.responseHash : null,
    clientNonce: exchange.clientNonce,
  })
  checkOpaque(receipt, exchange)
  const checks: Check[] = [passed('receipt', 'signed by the service over the encrypted bytes, which it passed on unread')]
  const session = await sessionOf(receipt, records.session.text, exchange.sessionId, worker.report)
  checks.push(passed('session', `content address ${session.id}`))

  const context: ReportContext = { role: 'worker', at, attestedAt: worker.attestedAt, channel: 'attested' }
  const verdict = evaluateReport(worker.report, worker.policy, context)
  if (verdict.error !== null) throw fail(verdict.error.code, `the worker is not accepted: ${verdict.error.message}`)
  checks.push(passed('worker.evidence', `verified on this machine, over its own nonce: ${worker.report.keysetDigest}`))

  const own = await workerReceipt(exchange, records, receipt, worker.report)
  checks.push(passed('worker.receipt', 'signed by the worker over the opened bytes of this exchange'))
  const model = checkModel(own, worker.report, worker.policy, checks, readRequest(exchange.requestBody))
  checkPromise(receipt, controllerSection, 'service', checks)
  checkPromise(own, worker.policy, 'worker', checks)
  const inferenceOutcome = inferenceOutcomeOf(own)
  return {
    outcome: outcomeOf(exchange, inferenceOutcome),
    simulated: controller.claims.simulated || worker.report.claims.simulated,
    receipt,
    session,
    worker: { report: worker.report, receipt: own, verdict },
    model,
    inferenceOutcome,
    checks,
  }
}

function checkOpaque(receipt: Receipt, { transport, sessionId, wire }: SealedExchange): void {
  const opaque = eventOf(receipt, 'veritee.opaque')
  if (opaque === undefined)
    throw fail('receipt_transport_mismatch', 'expected the controller to have passed the body on unread, found no event veritee.opaque')
  if (opaque.enc !== transport.enc) throw fail('receipt_transport_mismatch', `enc: expected ${transport.enc}, found ${opaque.enc}`)
  if (opaque.session_id !== sessionId)
    throw fail('session_mismatch', `expected the session ${sessionId} that the request named, found ${opaque.session_id}`)
  // Whoever names the model, or opened the body, has read it.
  if (receipt.model !== null || eventOf(receipt, 'veritee.transport') !== undefined)
    throw fail('receipt_transport_mismatch', 'expected nothing of the content in the receipt of a controller that cannot read it')
  const forwarded = eventOf(receipt, 'request.forwarded')?.body_hash
  if (forwarded !== wire.requestHash)
    throw fail(
      'receipt_request_mismatch',
      `expected the encrypted bytes ${wire.requestHash} to have been forwarded unchanged, found ${forwarded ?? 'none'}`,
    )
}

async function sessionOf(receipt: Receipt, text: string, sessionId: string, worker: VerifiedReport): Promise<Session> {
  const upstream = upstreamOf(receipt)
  if (upstream?.result !== 'verified')
    throw fail('policy_receipt', `expected a verified worker, found ${upstream?.reason ?? 'no upstream.verified event'}`)
  if (!upstream.required) throw fail('policy_receipt', 'expected a worker whose verification was required, found best effort')
  if (upstream.session_id !== sessionId)
    throw fail('session_mismatch', `expected the session ${sessionId} that the request named, found ${upstream.session_id}`)
  const session = await citedSession(receipt, text)
  if (session.report.keysetDigest !== worker.keysetDigest)
    throw fail('session_mismatch', `expected the session's evidence to bind ${worker.keysetDigest}, found ${session.report.keysetDigest}`)
  checkSessionBinding(session, worker)
  return session
}

async function workerReceipt(exchange: SealedExchange, records: SealedRecords, receipt: Receipt, report: VerifiedReport): Promise<Receipt> {
  const cited = eventOf(receipt, 'veritee.upstream_receipt')
  if (cited?.result !== 'match')
    throw fail(
      'receipt_upstream_mismatch',
      `expected the controller to have matched the worker's statement, found ${cited?.result ?? 'no such event'}: ${cited?.reason ?? ''}`,
    )
  const parsed = parseReceipt(records.workerReceipt)
  const digest = await receiptDigest(parsed)
  if (digest !== cited.digest) throw fail('receipt_upstream_mismatch', `expected the worker's receipt ${cited.digest}, found ${digest}`)
  const own = await verifyReceipt(parsed, report.keyset, report.keysetDigest, {
    requestHash: await sha256Digest(exchange.requestBody),
    responseHash: exchange.complete ? exchange.responseHash : null,
    clientNonce: exchange.clientNonce,
  })
  checkTransport(own, exchange.transport, exchange.clientNonce)
  if (own.endpoint !== exchange.path) throw fail('receipt_transport_mismatch', `expected a receipt of ${exchange.path}, found one of ${own.endpoint}`)
  await checkStream(exchange, own, records.workerPrefixProof)
  return own
}
