import { errorTable } from '../../errors.ts'
import { evaluate, evaluateGenuineness, failed, passed } from '../../policy/evaluate.ts'
import { policyFor } from '../../policy/parse.ts'
import type { Policy, Role } from '../../policy/policy.ts'
import type { Finding, Verdict } from '../../policy/verdict.ts'
import { evaluateReport } from '../evaluate-report.ts'
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
 * section of whoever ran them. With null only genuineness is judged, of service and worker alike, and the code in them is not (rule S14).
 *
 * `at` is the time of `verifyBundle`. Never throws for a rejection; throws `policy_role_missing`, `policy_unsupported`.
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
  // Only who drew the nonce knows that the report is of now.
  const verdict = evaluateReport(report, section, { role: wanted.role, at, attestedAt: report.fresh ? at : null, channel: 'stored' })
  if (exchange === null) return verdict
  const served = [...servedFindings(exchange, report), modelFinding(exchange, report, wanted)]
  if (exchange.worker === null) return extended(verdict, exchangeChecks, served)
  const { session, report: worker } = exchange.worker
  const attestedAt = new Date(session.document.established_at * 1000)
  const judged = evaluateReport(worker, policyFor(wanted.policy, 'worker'), { role: 'worker', at, attestedAt, channel: 'attested' })
  return withWorker(verdict, exchangeChecks, judged, served)
}

/** Behind a controller, a worker must have been verified, and that was required; and its receipt must have matched (aci/1 section 9.3, rule S10). */
function servedFindings({ receipt }: VerifiedBundledExchange, service: VerifiedReport): Finding[] {
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

function modelFinding({ model, worker }: VerifiedBundledExchange, service: VerifiedReport, { policy, role }: BundlePolicy): Finding {
  const id = 'model.policy'
  const here = service.serving === 'direct'
  // Whoever ran the weights is not in the bundle: the controller's own word would be all there is.
  if (!here && (worker === null || worker.receipt === null)) return { id, status: 'waived', detail: 'the bundle does not show which weights ran' }
  if (model === null) return failed(id, 'policy_models', 'expected a receipt that names the weights that ran')
  if (model.provenance !== 'hashed_while_loading')
    return failed(id, 'policy_models', `expected weights hashed while loading, found ${model.provenance}`)
  const { models } = policyFor(policy, here ? role : 'worker')
  if (models === 'any') return { id, status: 'waived', detail: model.name }
  const listed = Object.hasOwn(models, model.name) ? models[model.name]?.join() : undefined
  return listed === model.files.map((file) => file.sha256).join()
    ? passed(id, model.name)
    : failed(id, 'policy_models', `model ${JSON.stringify(model.name)} is not listed with these weights`)
}

/** Adds what was established of the worker: one finding, and the warnings of its own verdict. */
function withWorker(verdict: Verdict, exchangeChecks: VerifiedBundle['exchangeChecks'], worker: Verdict, more: readonly Finding[]): Verdict {
  const id = worker.scope === 'policy' ? 'worker.policy' : 'worker.genuine'
  const { error } = worker
  const finding = error === null ? passed(id, 'accepted') : failed(id, error.code, `the worker is not accepted: ${error.message}`)
  const warnings = worker.warnings.map((warning) => `worker: ${warning}`)
  const joined = extended(verdict, exchangeChecks, [finding, ...more])
  return { ...joined, simulated: verdict.simulated || worker.simulated, warnings: [...verdict.warnings, ...warnings] }
}

function extended(verdict: Verdict, exchangeChecks: VerifiedBundle['exchangeChecks'], findings: readonly Finding[]): Verdict {
  const checks = [...verdict.checks, ...exchangeChecks, ...findings.map(({ id, status, detail }) => ({ id, status, detail }))]
  const failure = findings.find(({ status }) => status === 'fail')
  const code = failure?.code ?? 'policy_receipt'
  const error = verdict.error ?? (failure === undefined ? null : { code, message: `${errorTable[code][1]}: ${failure.detail}` })
  return { ...verdict, checks, error, verdict: error === null ? 'accepted' : 'rejected' }
}
