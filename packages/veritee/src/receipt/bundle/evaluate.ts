import type { Check } from '../../attestation/claims.ts'
import { type ErrorCode, errorTexts, VeriteeError } from '../../errors.ts'
import { evaluate, evaluateGenuineness } from '../../policy/evaluate.ts'
import { policyFor } from '../../policy/parse.ts'
import type { Policy, Role } from '../../policy/policy.ts'
import { type Finding, failed, passed, type Verdict, waived } from '../../policy/verdict.ts'
import { evaluateReport } from '../evaluate-report.ts'
import { checkModel, readRequest } from '../exchange.ts'
import { maxKeysetSeconds } from '../keyset.ts'
import { checkPromise } from '../promise.ts'
import { eventOf, upstreamOf } from '../receipt.ts'
import type { VerifiedReport } from '../report.ts'
import type { VerifiedBundledExchange } from './exchange.ts'
import type { VerifiedBundle } from './verify.ts'

/** A policy and the role that the service must have: chosen by the caller, never by the evidence. */
export interface BundlePolicy {
  readonly policy: Policy
  readonly role: Role
}

/**
 * Judges a verified bundle. With a policy: the service under the section of its role, the worker under `worker`, and the weights that ran under the
 * section of workers; each receipt must promise the log that its section names. A bundle that does not show the worker is refused by a policy that has a section for workers. With null only genuineness is judged, of service and worker alike, and the code in them is not (rule S14).
 *
 * `at` is the time of `verifyBundle`. Never throws for a rejection; throws `policy_role_missing`.
 */
export function evaluateBundle(verified: VerifiedBundle, wanted: BundlePolicy | null, at: Date): Verdict {
  const { claims, checks, report, exchange, exchangeChecks } = verified
  if (wanted === null) {
    const verdict = evaluateGenuineness(claims, checks)
    const worker = exchange?.worker ?? null
    return worker === null
      ? extended(verdict, exchangeChecks, [])
      : withWorker(verdict, exchangeChecks, evaluateGenuineness(worker.report.claims, []), [])
  }
  const section = policyFor(wanted.policy, wanted.role)
  if (report === null) return evaluate(claims, section, at, checks)
  const verdict = evaluateReport(report, section, {
    role: wanted.role,
    at,
    attestedAt: report.fresh ? noEarlierThan(report) : null,
    channel: 'stored',
  })
  if (exchange === null) return verdict
  const served = [...servedFindings(exchange, report), modelFinding(exchange, report, wanted), ...promiseFindings(exchange, wanted)]
  const told = { ...verdict, warnings: [...verdict.warnings, ...partWarnings(exchange)] }
  if (exchange.worker === null) return extended(told, exchangeChecks, served)
  const { session, report: worker } = exchange.worker
  const attestedAt = new Date(session.document.established_at * 1000)
  const judged = evaluateReport(worker, policyFor(wanted.policy, 'worker'), { role: 'worker', at, attestedAt, channel: 'attested' })
  return withWorker(told, exchangeChecks, judged, served)
}

/** When a nonce was drawn is not in a report; no earlier than its keyset was made, which is known, so that the attestation is at most that old. */
function noEarlierThan({ keyset }: VerifiedReport): Date {
  return new Date((keyset.not_after - maxKeysetSeconds) * 1000)
}

/** Behind a controller, a worker must have been verified, and that was required; and its receipt must have matched (aci/1 section 9.3, rule S10). */
function servedFindings({ receipt }: VerifiedBundledExchange, service: VerifiedReport): Finding<ErrorCode>[] {
  if (service.serving === 'direct') return []
  const id = 'receipt.upstream'
  const upstream = upstreamOf(receipt)
  if (upstream?.result !== 'verified' || !upstream.required)
    return [failed(id, 'policy_receipt', `expected a worker whose verification was required and passed, found ${upstream?.result ?? 'none'}`)]
  const cited = eventOf(receipt, 'veritee.upstream_receipt')?.result ?? 'none'
  return [
    cited === 'match'
      ? passed(id, 'the controller verified the worker and its receipt')
      : failed(id, 'receipt_upstream_mismatch', `expected a matching worker's receipt, found ${cited}`),
  ]
}

/** The weights that ran, by the receipt of whoever ran them: bound by its keyset, hashed while loading, on the policy's list, and of the model that a request in the bundle names. */
function modelFinding(
  { receipt, requestBody, worker }: VerifiedBundledExchange,
  service: VerifiedReport,
  { policy }: BundlePolicy,
): Finding<ErrorCode> {
  const id = 'model'
  const { role } = service.descriptor
  if (service.serving === 'direct' && role !== 'worker')
    return failed(id, 'policy_role', `expected the receipt of a worker or a controller, found that of a ${role}`)
  const ran = service.serving === 'direct' ? { receipt, report: service } : worker
  // What the controller's own receipt says of weights is its word; and whoever made the bundle may have left out the worker that failed.
  if (ran === null || ran.receipt === null)
    return policy.roles.worker === undefined
      ? waived(id, 'the policy demands nothing of workers, and the bundle does not show which weights ran')
      : failed(id, 'receipt_missing', "the policy demands something of workers: expected the worker's evidence and receipt in the bundle")
  const checks: Check[] = []
  try {
    checkModel(ran.receipt, ran.report, policyFor(policy, 'worker'), checks, requestBody && readRequest(requestBody))
    return passed(id, checks.map(({ detail }) => detail).join())
  } catch (error) {
    if (!(error instanceof VeriteeError) || error.kind === 'configuration') throw error
    return failed(id, error.code, error.message)
  }
}

/** Each receipt promises the log that the section of its role names (rule S21). A worker's receipt that is not there is missed by {@link modelFinding}. */
function promiseFindings({ receipt, worker }: VerifiedBundledExchange, { policy, role }: BundlePolicy): Finding[] {
  const checks: Check[] = []
  try {
    checkPromise(receipt, policyFor(policy, role), 'service', checks)
    if (worker?.receipt != null) checkPromise(worker.receipt, policyFor(policy, 'worker'), 'worker', checks)
    return checks
  } catch (error) {
    if (!(error instanceof VeriteeError)) throw error
    return [...checks, failed('log', error.code, error.message)]
  }
}

/** Whoever ran the model says that it did not come to its end: what was returned is a part (rule S9). */
function partWarnings({ receipt, worker }: VerifiedBundledExchange): string[] {
  const outcome = eventOf(worker?.receipt ?? receipt, 'veritee.inference')?.outcome
  return outcome === 'aborted' || outcome === 'error' ? [`the answer is a part: its receipt says ${outcome}`] : []
}

/** Adds what was established of the worker: one finding, and the warnings of its own verdict. */
function withWorker(
  verdict: Verdict,
  exchangeChecks: VerifiedBundle['exchangeChecks'],
  worker: Verdict,
  more: readonly Finding<ErrorCode>[],
): Verdict {
  const id = worker.scope === 'policy' ? 'worker.policy' : 'worker.genuine'
  const { error } = worker
  const finding = error === null ? passed(id, 'accepted') : failed(id, error.code, `the worker is not accepted: ${error.message}`)
  const warnings = worker.warnings.map((warning) => `worker: ${warning}`)
  const joined = extended(verdict, exchangeChecks, [finding, ...more])
  return { ...joined, simulated: verdict.simulated || worker.simulated, warnings: [...verdict.warnings, ...warnings] }
}

function extended(verdict: Verdict, exchangeChecks: VerifiedBundle['exchangeChecks'], findings: readonly Finding<ErrorCode>[]): Verdict {
  const checks = [...verdict.checks, ...exchangeChecks, ...findings.map(({ id, status, detail }) => ({ id, status, detail }))]
  const failure = findings.find(({ status }) => status === 'fail')
  const code = failure?.code ?? 'policy_receipt'
  const error = verdict.error ?? (failure === undefined ? null : { code, message: `${errorTexts[code]}: ${failure.detail}` })
  return { ...verdict, checks, error, verdict: error === null ? 'accepted' : 'rejected' }
}
