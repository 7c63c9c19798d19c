import * as crypto from '#crypto'
import type { Collateral, Trust, VerifierCache } from '../attestation/index.ts'
import { toHex } from '../bytes/hex.ts'
import { fail, type VeriteeError } from '../errors.ts'
import { policyFor } from '../policy/parse.ts'
import type { Policy, Role } from '../policy/policy.ts'
import { releaseFinding } from '../policy/released.ts'
import type { Verdict } from '../policy/verdict.ts'
import { type Channel, evaluateReport } from '../receipt/evaluate-report.ts'
import { maxReportBytes, parseReport, type VerifiedReport, verifyReport } from '../receipt/report.ts'
import { HeldReleases } from '../release/held.ts'
import { fetchText } from './fetch-text.ts'
import { RejectedError } from './proof/errors.ts'
import { policyWithReleases } from './releases/offered.ts'
import type { Transport } from './transport.ts'

export interface ConnectOptions {
  /** Where a section demands release statements: with those that `withReleases` of `veritee/release` verified, or without, and then those count that the service shows and that verify. */
  readonly policy: Policy
  /** Keeps the statements that services show, and the newest that was seen. Default: one that ends with this call. */
  readonly releases?: HeldReleases
  readonly trust: Trust
  /** The role the service must have. */
  readonly role: Role
  /** The caller's clock. */
  readonly now: () => Date
  /** `Authorization` of the service's API key, where it needs one. It is never sent before the service is verified. */
  readonly apiKey?: string
  /** For controllers: what a worker gave out when it registered, so that it keeps a place in its quote queue for this challenge. */
  readonly admissionTicket?: string
  /** Spares the verifier work done before, and changes no result. */
  readonly verifierCache?: VerifierCache
  /** Fetches collateral for a quote, in the place of what came beside it (rule S25 c). */
  readonly collateral?: CollateralSource
  /** True where every body will be encrypted to a key of the keyset, so that TLS may end elsewhere; see `Channel`. */
  readonly sealed?: boolean
}

/** Gives current collateral for a quote. Throws `collateral_unavailable`. */
export type CollateralSource = (quote: Uint8Array) => Promise<Collateral>

/** A service that was verified: talk to it through {@link ask}, which sends nothing once its keyset has changed or expired. */
export interface Service {
  readonly transport: Transport
  /** With the policy by which it was judged, release statements in it. */
  readonly options: ConnectOptions
  readonly report: VerifiedReport
  readonly verdict: Verdict
  readonly channel: Channel
  /** The report as served, and the nonce it binds: what a third party needs to verify it again. */
  readonly reportText: string
  readonly nonce: string
  readonly attestedAt: Date
}

/**
 * Establishes a service's identity (aci/1 section 9.1): draws a fresh nonce, fetches the report over `transport`, verifies it under `trust`,
 * evaluates it under the policy's section for the role, and checks that the connection's TLS key is in the attested keyset. Release statements that the policy demands
 * and that it was not given are asked of the service.
 *
 * Nothing of the caller's is sent before it returns. Throws `channel_mismatch`, {@link RejectedError}, every code of `verifyReport`, of `HeldReleases.judging` and of the
 * transport, `release_statement_malformed`.
 */
export async function establish(transport: Transport, options: ConnectOptions): Promise<Service> {
  // An incomplete policy shows before anything is asked.
  policyFor(options.policy, options.role)
  const nonce = toHex(crypto.randomBytes(32))
  // The age of the attestation counts from the drawing of the nonce: a slow answer must not make it younger.
  const attestedAt = options.now()
  const reportText = await fetchText(
    transport,
    { method: 'GET', path: `/v1/aci/attestation?nonce=${nonce}`, ...ticketHeader(options) },
    maxReportBytes,
  )
  return judgeReport(transport, options, { reportText, nonce, attestedAt })
}

/** A report with the nonce that was drawn for it, and when. */
export interface ChallengedReport {
  readonly reportText: string
  readonly nonce: string
  readonly attestedAt: Date
}

/**
 * Verifies and evaluates a report over a nonce of this machine, now: the second half of {@link establish}, and all of it where the report was kept.
 * Throws as {@link establish}.
 */
export async function judgeReport(transport: Transport, given: ConnectOptions, challenged: ChallengedReport): Promise<Service> {
  const { releases = new HeldReleases({ now: given.now }) } = given
  const options = { ...given, policy: await policyWithReleases(transport, given.policy, releases) }
  const policy = policyFor(options.policy, options.role)
  const stated = parseReport(challenged.reportText)
  const own = options.collateral === undefined ? stated : { ...stated, collateral: await options.collateral(stated.quote) }
  const at = options.now()
  const cached = options.verifierCache === undefined ? {} : { cache: options.verifierCache }
  const report = await verifyReport(own, challenged.nonce, options.trust, at, cached)
  const channel = channelOf(transport, report, options.sealed === true)
  const verdict = evaluateReport(report, policy, { role: options.role, at, attestedAt: challenged.attestedAt, channel })
  if (verdict.error !== null) throw new RejectedError(verdict.error.code, verdict.error.message, verdict)
  return { transport, options, report, verdict, channel, ...challenged }
}

function ticketHeader({ admissionTicket }: ConnectOptions): { headers?: { [name: string]: string } } {
  return admissionTicket === undefined ? {} : { headers: { 'x-veritee-admission': admissionTicket } }
}

/** Throws `channel_mismatch` where TLS ends in a key outside the keyset: somebody stands between. */
function channelOf(transport: Transport, report: VerifiedReport, sealed: boolean): Channel {
  if (transport.spki === null) {
    // Headers still go over it, an API key among them: in clear they go to this machine only.
    if (sealed && (transport.loopback || transport.origin.startsWith('https:'))) return 'sealed'
    return transport.loopback ? 'loopback' : 'unattested'
  }
  const hostname = new URL(transport.origin).hostname.replace(/^\[|\]$/g, '')
  const listed = report.keyset.tls_public_keys.some(
    (key) => key.spki_sha256 === transport.spki && (key.domain === undefined || key.domain === hostname),
  )
  if (!listed)
    throw fail('channel_mismatch', `the connection ends in TLS key ${transport.spki}, which the attested keyset does not list for ${hostname}`)
  return 'attested'
}

/** Throws `keyset_changed` where a response names another keyset, `keyset_expired`, `policy_attestation_age` and `release_expired` where it is time to verify again. */
export function checkStillVerified(service: Service, statedDigest: string | null): void {
  const { report, options, attestedAt } = service
  const now = options.now()
  if (statedDigest !== null && statedDigest !== report.keysetDigest) throw keysetChanged(report.keysetDigest, statedDigest)
  if (now.getTime() >= report.keyset.not_after * 1000) throw fail('keyset_expired', 'the keyset has passed its not_after: verify the service again')
  const section = policyFor(options.policy, options.role)
  const maxAge = section.maxAttestationAge
  if (maxAge !== 'any' && now.getTime() - attestedAt.getTime() > maxAge * 1000)
    throw fail('policy_attestation_age', `verified more than ${maxAge} s ago: verify the service again`)
  const { code, detail } = releaseFinding(report.claims, section, now, null)
  if (code !== undefined) throw fail(code, detail)
}

/** `stated` is what an answer named: the service's word, shortened to what a digest can be. */
export function keysetChanged(verified: string, stated: string): VeriteeError {
  return fail('keyset_changed', `verified ${verified}, the service now names ${/^sha256:[0-9a-f]{64}$/.test(stated) ? stated : 'something else'}`)
}
