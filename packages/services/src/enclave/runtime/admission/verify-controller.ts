import { randomBytes } from 'node:crypto'
import { judgePlatform, verifyOperator } from 'veritee/admission'
import { fetchText, policyWithReleases, RejectedError, type Transport } from 'veritee/client'
import { policyFor, releasedUntil } from 'veritee/policy'
import { evaluateReport, maxReportBytes, parseReport, type VerifiedReport, verifyReport } from 'veritee/receipt'
import type { AdmissionRules, Demands } from './rules.ts'

/** How long one verification of a controller is good, at most. Whoever relies on it verifies again before. */
const verifiedSeconds = 3600

export interface VerifiedController {
  readonly report: VerifiedReport
  /** Unix seconds from which it has to be verified again: an hour after, as the policy says, or with the end of its keys, of the manifest or of the release statement. */
  readonly until: number
}

/**
 * Verifies a controller over `transport` (rule S13): a report over a fresh nonce, evaluated as a controller's. The channel may be plain, since the keys that count are in
 * the evidence; that the other side holds them is for whoever relies on the channel. Throws every code of `verifyReport`, `RejectedError`, `admission_platform`,
 * `operator_signature_missing`, `admission_manifest_expired`, those of release statements (`HeldReleases.judging`), and what the transport throws.
 */
export async function verifyController(transport: Transport, rules: AdmissionRules, now: () => Date): Promise<VerifiedController> {
  const nonce = randomBytes(32).toString('hex')
  const attestedAt = now()
  const text = await fetchText(transport, { method: 'GET', path: `/v1/aci/attestation?nonce=${nonce}` }, maxReportBytes)
  const { asking } = await rules.current()
  // What the controller shows is held from now on, and judges it below.
  await policyWithReleases(transport, asking, rules.releases.held)
  return verifyControllerReport(text, { nonce, attestedAt, rules, now })
}

/** The same for a report that was brought, judged by release statements that were given or are held. `attestedAt`: when the nonce was drawn. */
export async function verifyControllerReport(
  text: string,
  options: { readonly nonce: string; readonly attestedAt: Date; readonly rules: AdmissionRules; readonly now: () => Date },
): Promise<VerifiedController> {
  const { nonce, attestedAt, rules, now } = options
  const demands = await rules.current()
  const report = await verifyReport(parseReport(text), nonce, demands.trust, now())
  await judgeController(demands, report, attestedAt, now())
  const section = policyFor(demands.policy, 'controller')
  const { maxAttestationAge } = section
  const age = maxAttestationAge === 'any' ? verifiedSeconds : Math.min(verifiedSeconds, maxAttestationAge)
  const seconds = Math.floor(attestedAt.getTime() / 1000)
  const ends = Math.min(demands.manifest?.manifest.expires ?? Number.MAX_SAFE_INTEGER, releasedUntil(report.claims, section))
  return { report, until: Math.min(seconds + age, report.keyset.not_after, ends) }
}

/** Judges what was verified by what is demanded of controllers at this moment. Throws as {@link verifyController}. */
export async function judgeController(demands: Demands, report: VerifiedReport, attestedAt: Date, at: Date): Promise<void> {
  // The channel that will be relied on: TLS to which the other side brings a key of this keyset.
  const context = { role: 'controller', at, attestedAt, channel: 'attested' } as const
  const verdict = evaluateReport(report, policyFor(demands.policy, 'controller'), context)
  if (verdict.error !== null) throw new RejectedError(verdict.error.code, verdict.error.message, verdict)
  await verifyOperator(report.descriptor.operator_key, report.keysetDigest, null)
  if (demands.manifest !== null) await judgePlatform(demands.manifest.manifest, report.claims)
}
