import type { Check } from '../attestation/claims.ts'
import type { Collateral, Trust, VerifyOptions } from '../attestation/index.ts'
import { sha256Digest } from '../bytes/digest.ts'
import { type ErrorCode, fail, VeriteeError } from '../errors.ts'
import { policyFor } from '../policy/parse.ts'
import type { EvidencePolicy, Policy } from '../policy/policy.ts'
import { passed, type Verdict, waived } from '../policy/verdict.ts'
import { checkSessionBinding, citedSession } from './cited-session.ts'
import { type SplicedRequest, spliceConstraints } from './constraints.ts'
import { evaluateReport } from './evaluate-report.ts'
import type { ModelEvent, Outcome } from './events.ts'
import { checkReceiptEngine, checkRewrite } from './external/judge.ts'
import { checkPromise } from './promise.ts'
import { eventOf, parseReceipt, type Receipt, receiptDigest, upstreamOf, verifyReceipt } from './receipt.ts'
import { type VerifiedReport, verifyReport } from './report.ts'
import { checkTransport, type SealedTransport } from './sealed/transport.ts'
import type { parseSession, Session } from './session.ts'
import { type PrefixProof, parsePrefixProof, type StreamTree, verifyPrefix } from './stream.ts'

/** Bounds of a request body, the same on both sides so that both splice alike. */
export const requestLimits: { readonly maxLength: number; readonly maxDepth: number; readonly maxValues: number } = {
  maxLength: 8 << 20,
  maxDepth: 64,
  maxValues: 1 << 18,
}

/** A request as the service reads it. */
export type ReadRequest = () => SplicedRequest

/** Reads a request where it is first needed, and once: what is forwarded, which model is asked for and what a patch is applied to are all of one reading. Throws as `spliceConstraints`. */
export function readRequest(body: Uint8Array): ReadRequest {
  let read: SplicedRequest | null = null
  return () => {
    read ??= spliceConstraints(body, requestLimits)
    return read
  }
}

/** What the requester holds of one exchange: its own bytes, never re-serialised. */
export interface Exchange {
  readonly requestBody: Uint8Array
  /** SHA-256 digest of the response body bytes as received. */
  readonly responseHash: string
  /** The events received whole, for a stream; null for a plain body. */
  readonly stream: StreamTree | null
  /** False where the requester stopped before the end. */
  readonly complete: boolean
  readonly clientNonce: string
  /** Where the service itself opened an encrypted body; null or absent where nothing was encrypted. Behind a controller that could not read it: `verifySealedExchange`. */
  readonly transport?: SealedTransport | null
}

/** The documents that go with it, as texts. The last four are null for a direct service or a complete exchange. */
export interface ExchangeRecords {
  readonly receipt: string
  readonly prefixProof: string | null
  readonly session: { readonly id: string; readonly text: string } | null
  readonly workerReceipt: string | null
  readonly workerPrefixProof: string | null
}

/**
 * A fault that the worker's own genuine evidence or signed receipt shows: it can be held against that worker. Every other failure may be the
 * doing of whoever stood between, and is thrown as a plain error.
 */
export class WorkerFault extends VeriteeError {
  override readonly name = 'WorkerFault'
  /** Keyset digest of the worker. */
  readonly worker: string
  constructor(worker: string, code: ErrorCode, message: string) {
    super(code, message)
    this.worker = worker
  }
}

/**
 * Rejections over what the worker's quote does not bind: collateral and the operator's signature lie beside the quote, and the time of attestation is the controller's word.
 * A controller could bring them about for an honest worker, so they are held against nobody (rules S5, S19).
 */
const ofTheController: ReadonlySet<ErrorCode> = new Set([
  'policy_tcb_status',
  'policy_advisory',
  'policy_evaluation_number',
  'policy_collateral_age',
  'policy_attestation_age',
  'policy_operator_unsigned',
])

export interface ExchangeOptions extends VerifyOptions {
  /** For the worker's quote, in the place of what the session carries. */
  readonly workerCollateral?: Collateral
  /** `parseSession`, or the same with a memory: a session is its hash, and reads the same for ever. */
  readonly readSession?: typeof parseSession
}

/** A verified answer: who served it, with which weights, over which bytes, and what was waived. */
export interface VerifiedExchange {
  readonly outcome: 'verified' | 'verified-prefix'
  readonly simulated: boolean
  readonly receipt: Receipt
  readonly session: Session | null
  readonly worker: { readonly report: VerifiedReport; readonly receipt: Receipt; readonly verdict: Verdict } | null
  readonly model: ModelEvent
  readonly inferenceOutcome: Outcome | null
  readonly checks: readonly Check[]
}

/**
 * Verifies one answer against the receipts (aci/1 section 9.3 and rules S9, S10), given a service verified before.
 *
 * In order: the service's receipt over the bytes sent and received, with the nonce echoed; behind a controller, the session it cites, the worker
 * evidence in it under the policy's worker section, the worker's receipt, that both receipts speak of the same bytes, and that the request
 * forwarded is the request sent less the ACI constraints; the weights that ran are those the worker's keyset binds, and those the policy lists;
 * each receipt promises the log that the section of its role names.
 *
 * Does not fetch anything and does not verify the service itself (see `verifyReport`, `evaluateReport`).
 * Throws every `receipt_*` code, `session_mismatch`, `policy_*` where the worker is rejected, `log_promise_missing`, and the codes of `verifyReport`.
 */
export async function verifyExchange(
  exchange: Exchange,
  records: ExchangeRecords,
  service: VerifiedReport,
  policy: Policy,
  trust: Trust,
  at: Date,
  options: ExchangeOptions = {},
): Promise<VerifiedExchange> {
  const request = readRequest(exchange.requestBody)
  const receipt = await verifyReceipt(parseReceipt(records.receipt), service.keyset, service.keysetDigest, {
    requestHash: await sha256Digest(exchange.requestBody),
    responseHash: exchange.complete ? exchange.responseHash : null,
    clientNonce: exchange.clientNonce,
  })
  checkTransport(receipt, exchange.transport ?? null, exchange.clientNonce)
  await checkStream(exchange, receipt, records.prefixProof)
  const checks: Check[] = [passed('receipt', `signed by the service over ${exchange.complete ? 'exactly' : 'a stream that begins with'} these bytes`)]
  if (service.serving === 'direct') {
    const model = checkModel(receipt, service, policyFor(policy, 'worker'), checks, request)
    // A broker or validator was judged under its own section, which says nothing about answering (rule S7).
    if (service.descriptor.role !== 'worker')
      throw fail('policy_role', `expected a worker or a controller to answer, found a ${service.descriptor.role}`)
    checkPromise(receipt, policy.roles.worker, 'service', checks)
    await addRewrite(checks, receipt, request)
    const inferenceOutcome = inferenceOutcomeOf(receipt)
    const outcome = outcomeOf(exchange, inferenceOutcome)
    return { outcome, simulated: service.claims.simulated, receipt, session: null, worker: null, model, inferenceOutcome, checks }
  }
  const upstream = await verifyUpstream(exchange, request, records, receipt, policyFor(policy, 'worker'), trust, at, checks, options)
  const model = workerModel(upstream.worker, policyFor(policy, 'worker'), checks, request)
  // The service was judged under the section of its role.
  checkPromise(receipt, policy.roles[service.descriptor.role], 'service', checks)
  checkPromise(upstream.worker.receipt, policy.roles.worker, 'worker', checks)
  await addRewrite(checks, upstream.worker.receipt, request)
  const inferenceOutcome = inferenceOutcomeOf(upstream.worker.receipt)
  const simulated = service.claims.simulated || upstream.worker.report.claims.simulated
  return { outcome: outcomeOf(exchange, inferenceOutcome), simulated, receipt, ...upstream, model, inferenceOutcome, checks }
}

/** What the worker says of the inference; null where none ran. */
export function inferenceOutcomeOf(receipt: Receipt): Outcome | null {
  return (eventOf(receipt, 'veritee.inference') ?? eventOf(receipt, 'veritee.external_engine'))?.outcome ?? null
}

async function addRewrite(checks: Check[], receipt: Receipt, request: ReadRequest): Promise<void> {
  if (eventOf(receipt, 'veritee.rewrite') === undefined) return
  const check = await checkRewrite(receipt, request().forwarded, requestLimits)
  if (check !== null) checks.push(check)
}

/** What the worker says was aborted is a part of an answer, however cleanly it ended on its way here (rule S9). */
export function outcomeOf(exchange: Exchange, inferenceOutcome: Outcome | null): VerifiedExchange['outcome'] {
  return exchange.complete && inferenceOutcome !== 'aborted' ? 'verified' : 'verified-prefix'
}

/** A whole stream must have the signed tree; a part of one needs the proof that it is a prefix. Throws `receipt_stream_mismatch`, `receipt_missing`. */
export async function checkStream(exchange: Exchange, receipt: Receipt, proofText: string | null): Promise<void> {
  const signed = eventOf(receipt, 'veritee.stream')
  if (exchange.stream === null) {
    if (!exchange.complete) throw fail('receipt_stream_mismatch', 'expected the whole body: a part of a plain response cannot be verified')
    return
  }
  if (signed === undefined) throw fail('receipt_stream_mismatch', 'expected the receipt to commit to the stream of events, found none')
  const whole: PrefixProof = { prefix: signed.events, consistency: [] }
  if (!exchange.complete && proofText === null) throw fail('receipt_missing', 'expected a prefix proof for a stream that was left early')
  await verifyPrefix(exchange.stream, signed, exchange.complete || proofText === null ? whole : parsePrefixProof(proofText))
}

async function verifyUpstream(
  exchange: Exchange,
  request: ReadRequest,
  records: ExchangeRecords,
  receipt: Receipt,
  policy: EvidencePolicy,
  trust: Trust,
  at: Date,
  checks: Check[],
  options: ExchangeOptions,
): Promise<{ session: Session; worker: { report: VerifiedReport; receipt: Receipt; verdict: Verdict } }> {
  const upstream = upstreamOf(receipt)
  if (upstream?.result !== 'verified')
    throw fail('policy_receipt', `expected a verified worker, found ${upstream?.reason ?? 'no upstream.verified event'}`)
  // aci/1 section 9.3, point 5: a result that was not required is informational.
  if (!upstream.required) throw fail('policy_receipt', 'expected a worker whose verification was required, found best effort')
  if (records.session === null || records.session.id !== upstream.session_id)
    throw fail('session_mismatch', `expected the session ${upstream.session_id} that the receipt cites`)
  const { workerCollateral, readSession, ...verifying } = options
  const session = await citedSession(receipt, records.session.text, readSession)
  checks.push(passed('session', `content address ${session.id}`))

  // The controller drew the nonce, not this verifier: the evidence binds keys, and its age is what the controller says.
  const own = workerCollateral === undefined ? session.report : { ...session.report, collateral: workerCollateral }
  const report = await verifyReport(own, 'stated', trust, at, verifying)
  checkSessionBinding(session, report)
  const attestedAt = new Date(session.document.established_at * 1000)
  const verdict = evaluateReport(report, policy, { role: 'worker', at, attestedAt, channel: 'attested' })
  if (verdict.error !== null) {
    const { code, message } = verdict.error
    const refusal = `the worker is not accepted: ${message}`
    // Anybody can name a worker. It is at fault only where its own receipt shows that it served this request.
    const served = await verifyWorkerReceipt(exchange, request, records, receipt, report).then(
      () => true,
      () => false,
    )
    throw served && !ofTheController.has(code) ? new WorkerFault(report.keysetDigest, code, refusal) : fail(code, refusal)
  }
  checks.push(passed('worker.evidence', `re-verified on this machine: ${report.keysetDigest}`))

  const worker = await verifyWorkerReceipt(exchange, request, records, receipt, report)
  checks.push(passed('worker.receipt', 'signed by the worker over the same bytes'))
  return { session, worker: { report, receipt: worker, verdict } }
}

async function verifyWorkerReceipt(
  exchange: Exchange,
  request: ReadRequest,
  records: ExchangeRecords,
  receipt: Receipt,
  report: VerifiedReport,
): Promise<Receipt> {
  const cited = eventOf(receipt, 'veritee.upstream_receipt')
  if (cited?.result !== 'match')
    throw fail(
      'receipt_upstream_mismatch',
      `expected the controller to have matched the worker's receipt, found ${cited?.result ?? 'no such event'}: ${cited?.reason ?? ''}`,
    )
  if (records.workerReceipt === null) throw fail('receipt_missing', "expected the worker's receipt")
  const parsed = parseReceipt(records.workerReceipt)
  const digest = await receiptDigest(parsed)
  if (digest !== cited.digest) throw fail('receipt_upstream_mismatch', `expected the worker's receipt ${cited.digest}, found ${digest}`)
  const forwarded = await sha256Digest(request().forwarded)
  const forwardedStated = eventOf(receipt, 'request.forwarded')?.body_hash
  if (forwardedStated !== forwarded)
    throw fail(
      'receipt_request_mismatch',
      `expected request.forwarded ${forwarded}, recomputed from the bytes sent, found ${forwardedStated ?? 'none'}`,
    )
  const worker = await verifyReceipt(parsed, report.keyset, report.keysetDigest, {
    requestHash: forwarded,
    responseHash: exchange.complete ? exchange.responseHash : null,
    clientNonce: exchange.clientNonce,
  })
  // From the controller on, it went over TLS to the attested key.
  checkTransport(worker, null, exchange.clientNonce)
  await checkStream(exchange, worker, records.workerPrefixProof)
  return worker
}

function workerModel(
  worker: { report: VerifiedReport; receipt: Receipt },
  policy: EvidencePolicy,
  checks: Check[],
  request: ReadRequest,
): ModelEvent {
  try {
    return checkModel(worker.receipt, worker.report, policy, checks, request)
  } catch (error) {
    throw error instanceof VeriteeError ? new WorkerFault(worker.report.keysetDigest, error.code, error.message) : error
  }
}

/**
 * The weights that ran: stated in the signed receipt, bound by the quote through the descriptor, and on the policy's list; what passed is added
 * to `checks`. The receipt must have been verified. An engine of another process is judged too (see `checkReceiptEngine`). With the request, which the receipt was
 * verified over, the model is also the one that was asked for: a policy may list a small one beside a large one.
 * Throws `policy_models`, `policy_engine`, `report_malformed`, `receipt_request_mismatch`.
 */
export function checkModel(
  receipt: Receipt,
  report: VerifiedReport,
  policy: EvidencePolicy,
  checks: Check[],
  request: ReadRequest | null,
): ModelEvent {
  const model = receipt.events.find((event): event is ModelEvent => event.type === 'veritee.model')
  if (model === undefined) throw fail('policy_models', "expected the worker's receipt to name the weights that ran")
  const bound = report.descriptor.models.find((entry) => entry.name === model.name)
  const same =
    bound !== undefined &&
    bound.files.length === model.files.length &&
    bound.files.every((file, i) => file.sha256 === model.files[i]?.sha256 && file.size === model.files[i]?.size) &&
    bound.format === model.format &&
    bound.sealed === model.sealed &&
    bound.chat_template_digest === model.chat_template_digest
  if (!same) throw fail('policy_models', `expected model ${JSON.stringify(model.name)} with the weights the quote binds`)
  const engine = checkReceiptEngine(receipt, model, report, policy)
  if (policy.models !== 'any') {
    const wanted = Object.hasOwn(policy.models, model.name) ? policy.models[model.name] : undefined
    if (wanted === undefined || wanted.join() !== model.files.map((file) => file.sha256).join())
      throw fail('policy_models', `model ${JSON.stringify(model.name)} is not listed with these weights`)
  }
  const asked = request === null ? model.name : request().value.model
  if (asked !== model.name)
    throw fail('receipt_request_mismatch', `expected an answer of the model that was asked for, found one of ${JSON.stringify(model.name)}`)
  // Without files, whoever runs the engine knows which weights answered, and nobody else.
  const files = model.files.map((file) => file.sha256).join(', ')
  checks.push(files === '' ? waived('model', `${model.name}: weights NOT KNOWN to the worker`) : passed('model', `${model.name}: ${files}`))
  if (engine !== null) checks.push(engine)
  return model
}
